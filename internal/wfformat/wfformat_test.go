package wfformat_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd/internal/wfformat"
)

// Recorded files are read: tasks in topological order, edges at both ends, files with their producers.
func TestRecorded(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.json.gz")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		w, err := wfformat.Read(f)
		f.Close()
		if err != nil {
			t.Fatal(name, err)
		}
		if w.Version != "1.5" || w.Makespan <= 0 || w.Machines < 1 || len(w.Tasks) < 20 {
			t.Errorf("%s: %s, %v s, %d machines, %d tasks", name, w.Version, w.Makespan, w.Machines, len(w.Tasks))
		}
		for i, task := range w.Tasks {
			for _, p := range task.Parents {
				if p >= i || !slices.Contains(w.Tasks[p].Children, i) {
					t.Errorf("%s: %s comes before its parent %s, or that does not know it", name, task.ID, w.Tasks[p].ID)
				}
			}
			for _, f := range task.Outputs {
				if w.Files[f].Producer != i {
					t.Errorf("%s: %s is not written by %s", name, w.Files[f].ID, task.ID)
				}
			}
		}
	}
}

const flat = `{"name": "flat", "schemaVersion": "1.4", "workflow": {"makespanInSeconds": 9, "executedAt": "x", "machines": [{"nodeName": "m"}], "tasks": [
	{"name": "join_ID2", "id": "ID2", "type": "compute", "runtimeInSeconds": 2, "cores": 2, "parents": ["split_ID1"], "command": {"program": "join"},
		"files": [{"link": "input", "name": "part", "path": "/w/", "sizeInBytes": 10}, {"link": "output", "name": "all", "sizeInBytes": 20}]},
	{"name": "split_ID1", "id": "ID1", "runtimeInSeconds": 1.5, "files": [{"link": "input", "name": "raw", "sizeInBytes": 30}, {"link": "output", "name": "part", "path": "/w/", "sizeInBytes": 10}]},
	{"name": "view_ID3", "runtimeInSeconds": 0, "files": [{"link": "input", "name": "all", "sizeInBytes": 20}]}]}}`

// Files of version 1.4, where tasks hold their files and name each other by name, are read as well; who reads a file waits for who writes it.
func TestFlat(t *testing.T) {
	t.Parallel()
	w, err := wfformat.Read(strings.NewReader(flat))
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, task := range w.Tasks {
		seen = append(seen, task.ID+" "+task.Category)
	}
	if !slices.Equal(seen, []string{"ID1 split", "ID2 join", "view_ID3 view"}) {
		t.Fatal(seen)
	}
	if !slices.Equal(w.Tasks[2].Parents, []int{1}) || !slices.Equal(w.Tasks[1].Parents, []int{0}) || w.Tasks[1].Cores != 2 || w.Makespan != 9 || w.Machines != 1 {
		t.Fatalf("%+v", w)
	}
	part := w.Files[w.Tasks[1].Inputs[0]]
	if part.ID != "/w/part" || part.SizeBytes != 10 || part.Producer != 0 || w.Files[w.Tasks[0].Inputs[0]].Producer != -1 {
		t.Fatalf("%+v", w.Files)
	}
}

// nested makes a file of version 1.5 with two tasks, a before b, in which one text is replaced.
func nested(old, new string) string {
	return strings.Replace(`{"name": "n", "schemaVersion": "1.5", "workflow": {"specification": {
		"tasks": [{"name": "a", "id": "a", "parents": [], "children": ["b"], "outputFiles": ["f"]}, {"name": "b", "id": "b", "parents": ["a"], "children": [], "inputFiles": ["f"]}],
		"files": [{"id": "f", "sizeInBytes": 5}]},
	"execution": {"tasks": [{"id": "a", "runtimeInSeconds": 1}, {"id": "b", "runtimeInSeconds": 2}]}}}`, old, new, 1)
}

// What a replay cannot do without is named with its place.
func TestMistakes(t *testing.T) {
	t.Parallel()
	if _, err := wfformat.Read(strings.NewReader(nested("", ""))); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"nonsense": "it is no JSON", "{}": "workflow: it is missing",
		`{"workflow": {"tasks": []}}`:                                                          "workflow: it has no tasks",
		`{"workflow": {"tasks": [{}, {}]}}`:                                                    "workflow.tasks[0].id: the task has no id",
		nested(`"parents": ["a"]`, `"parents": ["z"]`):                                         `workflow.specification.tasks[1].parents[0]: task "b" names a task that is not there: "z"`,
		nested(`"children": ["b"]`, `"children": ["a"]`):                                       `task "a" waits for itself`,
		nested(`"id": "a", "parents": []`, `"id": "a", "parents": ["b"]`):                      "tasks wait for each other in a circle: ",
		nested(`"runtimeInSeconds": 1}`, `"runtimeInSeconds": -1}`):                            `the runtime of task "a" must be a number of seconds from 0 to 1e+09, found -1`,
		nested(`"runtimeInSeconds": 1}`, `"runtimeInSeconds": 1e300}`):                         `the runtime of task "a" must be a number of seconds from 0 to 1e+09, found 1e+300`,
		nested(`"id": "a", "runtimeInSeconds": 1`, `"id": "a"`):                                `task "a" has no runtime`,
		nested(`{"id": "a", "runtimeInSeconds": 1}, `, ""):                                     `task "a" has no entry in workflow.execution.tasks`,
		nested(`{"id": "a", "runtimeInSeconds": 1}, `, `{"id": "b", "runtimeInSeconds": 1}, `): `task "b" stands there twice`,
		nested(`{"name": "b", "id": "b"`, `{"name": "b", "id": "a"`):                           "two tasks have the id",
		nested(`"sizeInBytes": 5`, `"sizeInBytes": -5`):                                        `workflow.specification.files[0].sizeInBytes: the size of file "f"`,
		nested(`"runtimeInSeconds": 1}`, `"runtimeInSeconds": "1"}`):                           "a JSON string stands where",
		nested(`"execution"`, `"other"`):                                                       "workflow.execution: it is missing",
	} {
		_, err := wfformat.Read(strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text[:min(len(text), 60)], err, want)
		}
	}
}

// Whatever is read is a graph or an error.
func FuzzRead(f *testing.F) {
	f.Add(flat)
	f.Add(nested("", ""))
	f.Fuzz(func(t *testing.T, text string) {
		w, err := wfformat.Read(strings.NewReader(text))
		if err != nil {
			return
		}
		for i, task := range w.Tasks {
			for _, p := range task.Parents {
				if p >= i {
					t.Fatalf("task %d waits for %d", i, p)
				}
			}
		}
	})
}
