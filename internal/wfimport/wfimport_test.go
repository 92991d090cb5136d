package wfimport_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd/internal/jobfile"
	"cloudcrowd.dev/cloudcrowd/internal/wfformat"
	"cloudcrowd.dev/cloudcrowd/internal/wfimport"
)

func recorded(t *testing.T, name string) *wfformat.Workflow {
	t.Helper()
	files, err := filepath.Glob("../wfformat/testdata/" + name + "*.json.gz")
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	f, err := os.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := wfformat.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// Every task is in one stage, whose stages before hold all its parents; a stage that follows another one by one has its tasks in that one's order.
func TestStages(t *testing.T) {
	t.Parallel()
	each := 0
	for _, name := range []string{"srasearch", "sarek", "blast"} {
		w := recorded(t, name)
		stages, err := wfimport.Stages(w)
		if err != nil {
			t.Fatal(err)
		}
		at := map[int]int{}
		for s, st := range stages {
			for k, i := range st.Tasks {
				if _, twice := at[i]; twice {
					t.Fatalf("%s: task %d stands in two stages", name, i)
				}
				at[i] = s
				for _, p := range w.Tasks[i].Parents {
					if before, ok := at[p]; !ok || before == s || !strings.Contains(" "+strings.Join(st.After, " ")+" ", " "+stages[before].Name+" ") {
						t.Errorf("%s: %s does not come after %s", name, w.Tasks[i].ID, w.Tasks[p].ID)
					} else if stages[before].Name == st.Each && stages[before].Tasks[k] != p {
						t.Errorf("%s: task %d of %s follows another than its parent", name, k, st.Name)
					}
				}
			}
			if st.Each != "" {
				each++
			}
		}
		if len(at) != len(w.Tasks) {
			t.Errorf("%s: %d of %d tasks", name, len(at), len(w.Tasks))
		}
	}
	if each == 0 {
		t.Error("no chain was kept together")
	}
}

// The folder holds a valid job.
func TestWrite(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"srasearch", "sarek", "blast"} {
		dir := t.TempDir()
		if _, err := wfimport.Write(recorded(t, name), dir, wfimport.Options{Scale: 0.01}); err != nil {
			t.Fatal(err)
		}
		if _, err := jobfile.Load(filepath.Join(dir, "job.yaml"), jobfile.Options{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// More groups than a job may have stages are taken together by level; what is too deep or too large is refused.
func TestLimits(t *testing.T) {
	t.Parallel()
	wide := &wfformat.Workflow{Name: "wide"}
	for i := range 300 {
		wide.Tasks = append(wide.Tasks, wfformat.Task{ID: string(rune('a' + i)), Category: string(rune(0x4e00 + i))})
	}
	if stages, err := wfimport.Stages(wide); err != nil || len(stages) != 1 || stages[0].Name != "l0" {
		t.Fatal(stages, err)
	}
	deep := &wfformat.Workflow{}
	for i := range 201 {
		task := wfformat.Task{ID: "x", Category: "x"}
		if i > 0 {
			task.Parents = []int{i - 1}
		}
		deep.Tasks = append(deep.Tasks, task)
	}
	if _, err := wfimport.Stages(deep); err == nil || !strings.Contains(err.Error(), "at most 200 stages") {
		t.Fatal(err)
	}
	large := &wfformat.Workflow{Tasks: []wfformat.Task{{ID: "x", Outputs: []int{0}}}, Files: []wfformat.File{{ID: "f", SizeBytes: 1 << 40}}}
	if _, err := wfimport.Write(large, t.TempDir(), wfimport.Options{Scale: 1}); err == nil || !strings.Contains(err.Error(), "one attempt may write") {
		t.Fatal(err)
	}
}
