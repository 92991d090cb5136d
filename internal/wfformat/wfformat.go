// Package wfformat reads descriptions of executed scientific workflows in WfFormat (https://wfcommons.org), versions 1.2 to 1.6: tasks, who waits for whom,
// files, sizes and runtimes. What a replay rests on is checked strictly (identifiers, dependencies, cycles, runtimes, sizes); what it does not need
// may be absent or be of any form.
package wfformat

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// MaxBytes bounds a file, unpacked.
const MaxBytes = 256 << 20

// MaxSeconds bounds the runtime of one task: some 31 years.
const MaxSeconds = 1e9

// Workflow is one execution. Tasks stand in an order in which every task comes after its parents, otherwise as in the file.
type Workflow struct {
	Name     string
	Version  string  // of the schema
	Makespan float64 // seconds the execution took where it was recorded; 0: not said
	Machines int
	Tasks    []Task
	Files    []File
}

// Task is one task of a workflow. Indices are into Workflow.Tasks and Workflow.Files, ascending and without repetition.
type Task struct {
	ID       string
	Category string  // what tasks of the same program have in common
	Seconds  float64 // runtime as recorded
	Cores    float64 // 1 where nothing is said
	Parents  []int
	Children []int
	Inputs   []int
	Outputs  []int
}

// File is a file that tasks read or write.
type File struct {
	ID        string
	SizeBytes int64
	Producer  int // the task that writes it, -1: it was there before
}

// document has the fields of all versions; which are filled says which version it is.
type document struct {
	Name          string `json:"name"`
	SchemaVersion string `json:"schemaVersion"`
	Workflow      *struct {
		// From 1.5 on.
		Specification *struct {
			Tasks []taskDocument `json:"tasks"`
			Files []fileDocument `json:"files"`
		} `json:"specification"`
		Execution *struct {
			Makespan *float64           `json:"makespanInSeconds"`
			Tasks    []taskDocument     `json:"tasks"`
			Machines []*json.RawMessage `json:"machines"`
		} `json:"execution"`
		// Until 1.4.
		Tasks       []taskDocument     `json:"tasks"`
		Jobs        []taskDocument     `json:"jobs"` // until 1.2
		Machines    []*json.RawMessage `json:"machines"`
		Makespan    *float64           `json:"makespanInSeconds"`
		OldMakespan *float64           `json:"makespan"`
	} `json:"workflow"`
}

type taskDocument struct {
	Name       string          `json:"name"`
	ID         string          `json:"id"`
	Category   string          `json:"category"`
	Parents    []string        `json:"parents"`
	Children   []string        `json:"children"`
	Inputs     []string        `json:"inputFiles"`
	Outputs    []string        `json:"outputFiles"`
	Files      []fileDocument  `json:"files"` // until 1.4
	Runtime    *float64        `json:"runtimeInSeconds"`
	OldRuntime *float64        `json:"runtime"`
	Cores      *float64        `json:"coreCount"`
	OldCores   *float64        `json:"cores"`
	Command    json.RawMessage `json:"command"`
}

type fileDocument struct {
	ID   string   `json:"id"`
	Name string   `json:"name"`
	Path string   `json:"path"`
	Link string   `json:"link"`
	Size *float64 `json:"sizeInBytes"`
	Old  *float64 `json:"size"`
}

func (f fileDocument) key() string {
	if f.ID != "" {
		return f.ID
	}
	return f.Path + f.Name
}

// Read reads a workflow, compressed by gzip or not.
func Read(r io.Reader) (*Workflow, error) {
	raw, err := limited(r)
	if err == nil && len(raw) > 1 && raw[0] == 0x1f && raw[1] == 0x8b {
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(raw)); err == nil {
			raw, err = limited(z)
		}
	}
	if err != nil {
		return nil, cloudcrowd.Errorf(cloudcrowd.Invalid, "it cannot be read: %v", err)
	}
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, cloudcrowd.Errorf(cloudcrowd.Invalid, "it is no JSON: %v at byte %d", err, syntax.Offset)
		}
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return nil, cloudcrowd.Fieldf(wrong.Field, "a JSON %s stands where WfFormat has a value of another type", wrong.Value)
		}
		return nil, cloudcrowd.Errorf(cloudcrowd.Invalid, "it is no JSON: %v", err)
	}
	return d.workflow()
}

func limited(r io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err == nil && len(raw) > MaxBytes {
		err = fmt.Errorf("it is larger than %d MiB", MaxBytes>>20)
	}
	return raw, err
}

// workflow checks a document and connects its parts.
func (d *document) workflow() (*Workflow, error) {
	if d.Workflow == nil {
		return nil, cloudcrowd.Fieldf("workflow", "it is missing: this is no WfFormat file")
	}
	w := d.Workflow
	b := builder{out: &Workflow{Name: d.Name, Version: d.SchemaVersion}, tasks: map[string]int{}, files: map[string]int{}}
	switch {
	case w.Specification != nil:
		b.path = "workflow.specification.tasks"
		if w.Execution == nil {
			return nil, cloudcrowd.Fieldf("workflow.execution", "it is missing: a workflow without runtimes cannot be replayed")
		}
		for i, f := range w.Specification.Files {
			if err := b.file(fmt.Sprintf("workflow.specification.files[%d]", i), f); err != nil {
				return nil, err
			}
		}
		executed := make(map[string]taskDocument, len(w.Execution.Tasks))
		for i, t := range w.Execution.Tasks {
			if _, twice := executed[t.ID]; twice {
				return nil, cloudcrowd.Fieldf(fmt.Sprintf("workflow.execution.tasks[%d].id", i), "task %q stands there twice", t.ID)
			}
			executed[t.ID] = t
		}
		for i, t := range w.Specification.Tasks {
			ran, ok := executed[t.ID]
			if _, twice := b.tasks[t.ID]; !ok && !twice {
				return nil, cloudcrowd.Fieldf(fmt.Sprintf("%s[%d]", b.path, i), "task %q has no entry in workflow.execution.tasks, so its runtime is not known", t.ID)
			}
			t.Runtime, t.OldRuntime, t.Cores, t.OldCores, t.Command = ran.Runtime, ran.OldRuntime, ran.Cores, ran.OldCores, ran.Command
			delete(executed, t.ID)
			if err := b.task(i, t); err != nil {
				return nil, err
			}
		}
		if len(executed) > 0 {
			return nil, cloudcrowd.Fieldf("workflow.execution.tasks", "task %q is not in workflow.specification.tasks", slices.Min(slices.Collect(maps.Keys(executed))))
		}
		b.out.Machines = len(w.Execution.Machines)
		b.out.Makespan = first(w.Execution.Makespan)
	case len(w.Tasks)+len(w.Jobs) > 0:
		b.path = "workflow.tasks"
		for i, t := range append(w.Tasks, w.Jobs...) {
			if err := b.task(i, t); err != nil {
				return nil, err
			}
		}
		b.out.Machines = len(w.Machines)
		b.out.Makespan = first(w.Makespan, w.OldMakespan)
	}
	if len(b.out.Tasks) == 0 {
		return nil, cloudcrowd.Fieldf("workflow", "it has no tasks")
	}
	if err := b.connect(); err != nil {
		return nil, err
	}
	return b.sorted()
}

func first(values ...*float64) float64 {
	for _, v := range values {
		if v != nil {
			return *v
		}
	}
	return 0
}

type builder struct {
	out   *Workflow
	path  string
	docs  []taskDocument
	tasks map[string]int // by id, and by name where names are references (until 1.4)
	files map[string]int
}

// file notes a file; the same file may be described by several tasks, the largest size counts.
func (b *builder) file(field string, f fileDocument) error {
	key := f.key()
	if key == "" {
		return cloudcrowd.Fieldf(field, "the file has no id")
	}
	size := first(f.Size, f.Old)
	if size < 0 || math.IsNaN(size) || size >= 1<<62 {
		return cloudcrowd.Fieldf(field+".sizeInBytes", "the size of file %q must be a number of bytes from 0, found %v", key, size)
	}
	i, known := b.files[key]
	if !known {
		i = len(b.out.Files)
		b.files[key] = i
		b.out.Files = append(b.out.Files, File{ID: key, Producer: -1})
	}
	b.out.Files[i].SizeBytes = max(b.out.Files[i].SizeBytes, int64(size))
	return nil
}

func (b *builder) task(i int, t taskDocument) error {
	field := fmt.Sprintf("%s[%d]", b.path, i)
	if t.ID == "" {
		t.ID = t.Name
	}
	if t.ID == "" {
		return cloudcrowd.Fieldf(field+".id", "the task has no id")
	}
	if _, twice := b.tasks[t.ID]; twice {
		return cloudcrowd.Fieldf(field+".id", "two tasks have the id %q", t.ID)
	}
	runtime := t.Runtime
	if runtime == nil {
		runtime = t.OldRuntime
	}
	if runtime == nil {
		return cloudcrowd.Fieldf(field+".runtimeInSeconds", "task %q has no runtime", t.ID)
	}
	if !(*runtime >= 0 && *runtime <= MaxSeconds) {
		return cloudcrowd.Fieldf(field+".runtimeInSeconds", "the runtime of task %q must be a number of seconds from 0 to %g, found %v", t.ID, float64(MaxSeconds), *runtime)
	}
	cores := first(t.Cores, t.OldCores)
	if cores < 0 || math.IsNaN(cores) {
		return cloudcrowd.Fieldf(field+".coreCount", "the cores of task %q must be a number above 0, found %v", t.ID, cores)
	}
	if cores == 0 {
		cores = 1
	}
	for k, f := range t.Files {
		if err := b.file(fmt.Sprintf("%s.files[%d]", field, k), f); err != nil {
			return err
		}
		if strings.EqualFold(f.Link, "input") {
			t.Inputs = append(t.Inputs, f.key())
		} else {
			t.Outputs = append(t.Outputs, f.key())
		}
	}
	b.tasks[t.ID] = i
	b.docs = append(b.docs, t)
	b.out.Tasks = append(b.out.Tasks, Task{ID: t.ID, Category: category(t), Seconds: *runtime, Cores: cores})
	return nil
}

// category is what tasks of the same program share: the field of that name, the program of the command, or the name without the number of the task.
func category(t taskDocument) string {
	if t.Category != "" {
		return t.Category
	}
	name := t.Name
	if name == "" {
		name = t.ID
	}
	trimmed := strings.TrimRight(name, "0123456789")
	if trimmed != name {
		for _, mark := range []string{"_ID", "_", "-", "."} {
			if short, ok := strings.CutSuffix(trimmed, mark); ok && short != "" {
				trimmed = short
				break
			}
		}
	}
	// A name that no number ends may still be the program's with something of the task's own: the program is the better word if the name begins with it.
	var command struct {
		Program string `json:"program"`
	}
	_ = json.Unmarshal(t.Command, &command) // a command of another form says nothing
	if p := command.Program; p != "" && strings.HasPrefix(trimmed, p) {
		return p
	}
	if trimmed == "" {
		return name
	}
	return trimmed
}

// connect resolves references. A dependency may stand at either end; a task that reads a file another one writes waits for it.
func (b *builder) connect() error {
	tasks := b.out.Tasks
	byName := map[string]int{} // -1: several tasks have the name
	for i, d := range b.docs {
		if _, twice := byName[d.Name]; twice {
			byName[d.Name] = -1
		} else {
			byName[d.Name] = i
		}
	}
	resolve := func(i int, kind string, k int, ref string) (int, error) {
		other, ok := b.tasks[ref]
		if !ok {
			if other, ok = byName[ref]; ok && other < 0 {
				ok = false
			}
		}
		field := fmt.Sprintf("%s[%d].%s[%d]", b.path, i, kind, k)
		if !ok {
			return 0, cloudcrowd.Fieldf(field, "task %q names a task that is not there: %q", tasks[i].ID, ref)
		}
		if other == i {
			return 0, cloudcrowd.Fieldf(field, "task %q waits for itself", tasks[i].ID)
		}
		return other, nil
	}
	edge := func(p, c int) {
		tasks[p].Children = append(tasks[p].Children, c)
		tasks[c].Parents = append(tasks[c].Parents, p)
	}
	for i, d := range b.docs {
		for k, ref := range d.Parents {
			p, err := resolve(i, "parents", k, ref)
			if err != nil {
				return err
			}
			edge(p, i)
		}
		for k, ref := range d.Children {
			c, err := resolve(i, "children", k, ref)
			if err != nil {
				return err
			}
			edge(i, c)
		}
		for _, key := range d.Outputs {
			f := b.reference(key)
			tasks[i].Outputs = append(tasks[i].Outputs, f)
			if b.out.Files[f].Producer < 0 {
				b.out.Files[f].Producer = i
			}
		}
		for _, key := range d.Inputs {
			tasks[i].Inputs = append(tasks[i].Inputs, b.reference(key))
		}
	}
	for i := range tasks {
		for _, f := range tasks[i].Inputs {
			if p := b.out.Files[f].Producer; p >= 0 && p != i && !slices.Contains(tasks[i].Outputs, f) {
				edge(p, i)
			}
		}
	}
	for i := range tasks {
		t := &tasks[i]
		t.Parents, t.Children, t.Inputs, t.Outputs = unique(t.Parents), unique(t.Children), unique(t.Inputs), unique(t.Outputs)
	}
	return nil
}

// reference finds a file by its id; one that is not described has no size that counts.
func (b *builder) reference(key string) int {
	f, ok := b.files[key]
	if !ok {
		f = len(b.out.Files)
		b.files[key] = f
		b.out.Files = append(b.out.Files, File{ID: key, Producer: -1})
	}
	return f
}

func unique(list []int) []int {
	slices.Sort(list)
	return slices.Compact(list)
}

// sorted brings the tasks into topological order, or names a circle.
func (b *builder) sorted() (*Workflow, error) {
	old := b.out.Tasks
	waits := make([]int, len(old))
	var order []int
	for i, t := range old {
		if waits[i] = len(t.Parents); waits[i] == 0 {
			order = append(order, i)
		}
	}
	for k := 0; k < len(order); k++ {
		for _, c := range old[order[k]].Children {
			if waits[c]--; waits[c] == 0 {
				order = append(order, c)
			}
		}
	}
	if len(order) < len(old) {
		return nil, cloudcrowd.Fieldf(b.path, "tasks wait for each other in a circle: %s", circle(old, waits))
	}
	place := make([]int, len(old))
	for k, i := range order {
		place[i] = k
	}
	move := func(list []int) []int {
		for k := range list {
			list[k] = place[list[k]]
		}
		slices.Sort(list)
		return list
	}
	tasks := make([]Task, len(old))
	for k, i := range order {
		tasks[k] = old[i]
		tasks[k].Parents, tasks[k].Children = move(tasks[k].Parents), move(tasks[k].Children)
	}
	b.out.Tasks = tasks
	for i := range b.out.Files {
		if p := b.out.Files[i].Producer; p >= 0 {
			b.out.Files[i].Producer = place[p]
		}
	}
	return b.out, nil
}

// circle walks from child to parent among those that still wait until it meets a task again.
func circle(tasks []Task, waits []int) string {
	at := slices.IndexFunc(waits, func(n int) bool { return n > 0 })
	seen := map[int]int{}
	var path []string
	for {
		if from, again := seen[at]; again {
			names := append(path[from:], path[from])
			slices.Reverse(names)
			if len(names) > 8 {
				names = append(names[:7], "…", names[len(names)-1])
			}
			return strings.Join(names, " → ")
		}
		seen[at] = len(path)
		path = append(path, tasks[at].ID)
		for _, p := range tasks[at].Parents {
			if waits[p] > 0 {
				at = p
				break
			}
		}
	}
}
