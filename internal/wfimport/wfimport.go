// Package wfimport turns a recorded workflow into a job for the platform: tasks of one category and level become a stage, whose tasks read what their parents wrote, take
// their time and write files of the recorded sizes.
package wfimport

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wfformat"
)

//go:embed program/main.go
var program []byte

// Rounds is how many rounds of the program take a second on the reference core, in the sandbox.
const Rounds = 600_000_000

// maxStages is how many stages a job may have, maxOutput what one attempt may write, maxTimeout how long it may take.
const (
	maxStages  = 200
	maxOutput  = 4 << 30
	maxTimeout = 24 * time.Hour
)

// Options say how the job differs from what was recorded.
type Options struct {
	Scale float64 // of runtimes and sizes
	Sleep bool    // instead of computing
}

// Stage is a group of tasks.
type Stage struct {
	Name  string
	After []string
	Each  string // stage whose tasks those of this one follow one by one, "" if there is none
	Tasks []int  // of the workflow, in order
}

// Stages groups the tasks of a workflow: those of one category and level, or of one level where that makes too many. A stage whose tasks each have one parent
// in another stage, all different and all of them, follows that one task by task: a chain does not wait for its neighbours.
func Stages(w *wfformat.Workflow) ([]Stage, error) {
	level := make([]int, len(w.Tasks))
	deepest := 0
	for i, t := range w.Tasks {
		for _, p := range t.Parents {
			level[i] = max(level[i], level[p]+1)
		}
		deepest = max(deepest, level[i])
	}
	if deepest >= maxStages {
		return nil, cloudcrowd.Errorf(cloudcrowd.Invalid, "%d tasks stand one after the other; a job has at most %d stages", deepest+1, maxStages)
	}
	stages, of := group(w, level, func(i int) string { return fmt.Sprintf("%04d %s", level[i], w.Tasks[i].Category) })
	if len(stages) > maxStages {
		stages, of = group(w, level, func(i int) string { return fmt.Sprintf("%04d", level[i]) })
	}
	place := make([]int, len(w.Tasks)) // in its stage
	for s := range stages {
		st := &stages[s]
		parents := map[int]bool{}
		for _, i := range st.Tasks {
			for _, p := range w.Tasks[i].Parents {
				parents[of[p]] = true
			}
		}
		for p := range stages[:s] {
			if !parents[p] {
				continue
			}
			st.After = append(st.After, stages[p].Name)
			if st.Each == "" && len(st.Tasks) > 1 {
				if order := follows(w, st.Tasks, stages[p].Tasks, of, place, p); order != nil {
					st.Each, st.Tasks = stages[p].Name, order
				}
			}
		}
		for k, i := range st.Tasks {
			place[i] = k
		}
	}
	return stages, nil
}

// group makes stages of tasks with equal keys, in the order of keys.
func group(w *wfformat.Workflow, level []int, key func(int) string) ([]Stage, []int) {
	members := map[string][]int{}
	var keys []string
	for i := range w.Tasks {
		k := key(i)
		if members[k] == nil {
			keys = append(keys, k)
		}
		members[k] = append(members[k], i)
	}
	slices.Sort(keys)
	of, used := make([]int, len(w.Tasks)), map[string]bool{"tasks": true}
	stages := make([]Stage, len(keys))
	for s, k := range keys {
		tasks := members[k]
		for _, i := range tasks {
			of[i] = s
		}
		name := stageName(level[tasks[0]], w.Tasks[tasks[0]].Category)
		for n := 2; used[name]; n++ {
			name = fmt.Sprintf("%.34s-%d", stageName(level[tasks[0]], w.Tasks[tasks[0]].Category), n)
		}
		used[name] = true
		stages[s] = Stage{Name: name, Tasks: tasks}
	}
	return stages, of
}

// stageName makes a name of the form that job files want: the category's last part.
func stageName(level int, category string) string {
	category = strings.ToLower(category[strings.LastIndexByte(category, '.')+1:])
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '-'
	}, category)
	return strings.TrimRight(fmt.Sprintf("l%d-%.32s", level, clean), "-_")
}

// follows orders tasks by their one parent each in an earlier stage; nil if they do not match it one by one.
func follows(w *wfformat.Workflow, tasks, before []int, of, place []int, stage int) []int {
	if len(tasks) != len(before) {
		return nil
	}
	order := make([]int, len(before))
	for k := range order {
		order[k] = -1
	}
	for _, i := range tasks {
		parent := -1
		for _, p := range w.Tasks[i].Parents {
			if of[p] == stage {
				if parent >= 0 {
					return nil
				}
				parent = p
			}
		}
		if parent < 0 || order[place[parent]] >= 0 {
			return nil
		}
		order[place[parent]] = i
	}
	return order
}

// row is a task in the table that the program reads; see program/main.go.
type row struct {
	ID      string   `json:"id"`
	Seconds float64  `json:"seconds"`
	Reads   []read   `json:"reads,omitempty"`
	Writes  []output `json:"writes"`
}

type read struct {
	Path string `json:"path"`
	ID   string `json:"id"`
}

type output struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// Write makes the folder of the job: job.yaml, tasks.json and the program's source.
func Write(w *wfformat.Workflow, dir string, o Options) ([]Stage, error) {
	stages, err := Stages(w)
	if err != nil {
		return nil, err
	}
	job, table, err := describe(w, stages, o)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "program"), 0o755); err != nil {
		return nil, err
	}
	for name, content := range map[string][]byte{"job.yaml": job, "tasks.json": table, "program/main.go": program, "program/go.mod": []byte("module program\n\ngo 1.26\n")} {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), content, 0o644); err != nil {
			return nil, err
		}
	}
	return stages, nil
}

// describe makes the job description and the table.
func describe(w *wfformat.Workflow, stages []Stage, o Options) (job, table []byte, err error) {
	of, place := make([]int, len(w.Tasks)), make([]int, len(w.Tasks))
	for s, st := range stages {
		for k, i := range st.Tasks {
			of[i], place[i] = s, k
		}
	}
	// Output files are numbered within their task: recorded names may not be file names. What is done without a file is still told to those who wait.
	outputs := func(i int) []int {
		list := slices.Clone(w.Tasks[i].Outputs)
		return slices.DeleteFunc(list, func(f int) bool { return w.Files[f].Producer != i })
	}
	rows := make(map[string][]row, len(stages))
	mode := "compute"
	if o.Sleep {
		mode = "sleep"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# A recorded workflow as a job: %s of %s, made by cloudcrowd import wfformat. tasks.json says what each task does.\n", plural(len(stages), "stage"), plural(len(w.Tasks), "task"))
	fmt.Fprintf(&b, "name: %s\ninputs:\n  tasks: ./tasks.json\nparams:\n  rounds: %d # of work for a second on the reference core\n  mode: %s\nstages:\n",
		quoted(fmt.Sprintf("%.150s, scaled by %g", strings.ToValidUTF8(w.Name, "?"), o.Scale)), Rounds, mode)
	for s := range stages {
		st := &stages[s]
		longest, largest := 0.0, int64(0)
		for _, i := range st.Tasks {
			t := w.Tasks[i]
			r := row{ID: t.ID, Seconds: t.Seconds * o.Scale}
			sum := int64(0)
			for k, f := range outputs(i) {
				size := int64(math.Round(float64(w.Files[f].SizeBytes) * o.Scale))
				sum += size
				r.Writes = append(r.Writes, output{fmt.Sprintf("%03d", k), size})
			}
			if len(r.Writes) == 0 {
				r.Writes = []output{{"done", 0}}
			}
			for _, p := range t.Parents {
				at := fmt.Sprintf("%s/%06d", stages[of[p]].Name, place[p])
				if st.Each == stages[of[p]].Name {
					at = st.Each
				}
				read1 := func(name string) { r.Reads = append(r.Reads, read{at + "/" + name, w.Tasks[p].ID}) }
				written := outputs(p)
				if len(written) == 0 {
					read1("done")
				}
				for k, f := range written {
					if slices.Contains(t.Inputs, f) {
						read1(fmt.Sprintf("%03d", k))
					}
				}
			}
			rows[st.Name] = append(rows[st.Name], r)
			longest, largest = math.Max(longest, r.Seconds), max(largest, sum)
		}
		fmt.Fprintf(&b, "  %s:\n", st.Name)
		if len(st.After) > 0 {
			fmt.Fprintf(&b, "    after: [%s]\n", strings.Join(st.After, ", "))
		}
		switch {
		case st.Each != "":
			fmt.Fprintf(&b, "    split: {each: %s}\n", st.Each)
		case len(st.Tasks) > 1:
			fmt.Fprintf(&b, "    split: {range: {from: 0, to: %d, size: 1}}\n", len(st.Tasks))
		}
		fmt.Fprintf(&b, "    inputs: [tasks]\n    run: {wasm: {go: ./program}, args: [-stage, %s, -task, \"{{index}}\", -rounds, \"{{rounds}}\", -mode, \"{{mode}}\"]}\n", st.Name)
		if need := largest + largest/8 + 1<<20; need > 256<<20 {
			if need > maxOutput {
				return nil, nil, cloudcrowd.Errorf(cloudcrowd.TooLarge, "a task of stage %s writes %s; one attempt may write %s", st.Name, cloudcrowd.Bytes(largest), cloudcrowd.Bytes(maxOutput)).
					WithHint("give a smaller --scale")
			}
			fmt.Fprintf(&b, "    resources: {output: %d, disk: %d}\n", need, 2*need+1<<30)
		}
		if limit := time.Duration(longest*20) * time.Second; limit > 10*time.Minute { // a worker may be twenty times slower than the reference core
			fmt.Fprintf(&b, "    timeout: %s\n", min(limit, maxTimeout))
		}
	}
	table, err = json.MarshalIndent(rows, "", " ")
	return b.Bytes(), table, err
}

// quoted is text as YAML reads it back; JSON strings are YAML.
func quoted(text string) string {
	raw, _ := json.Marshal(text)
	return string(raw)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
