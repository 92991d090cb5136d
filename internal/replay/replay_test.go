package replay_test

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/replay"
	"cloudcrowd.dev/cloudcrowd/internal/wfformat"
)

func workflow(t *testing.T, name string) *wfformat.Workflow {
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

var planned = replay.Mode{Order: replay.Planned, Plans: 32}

// The planned order is no worse than plain list scheduling on average, that better than first come, that better than the first free worker; nothing is below the bounds.
func TestOrders(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"srasearch", "sarek", "blast"} {
		r, err := replay.Study(t.Context(), workflow(t, name), replay.DefaultCrowd, planned, 5)
		if err != nil {
			t.Fatal(name, err)
		}
		if !(1 <= r.Ratio && r.Ratio <= r.ListRatio && r.ListRatio < r.FIFORatio && r.FIFORatio < r.FirstFreeRatio) || r.TightBound < r.Bound || r.TightRatio < 1 {
			t.Errorf("%s: %+v", name, r)
		}
		if r.Ratio != r.ExactRatio || r.Lost+r.Copies > 0 || r.Attempts != float64(r.Tasks) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// What would take centuries is given up, and the reason is the right one.
func TestCenturies(t *testing.T) {
	t.Parallel()
	long := &wfformat.Workflow{Tasks: make([]wfformat.Task, 12)}
	for i := range long.Tasks {
		long.Tasks[i] = wfformat.Task{ID: string(rune('a' + i)), Seconds: wfformat.MaxSeconds}
	}
	crowd := replay.Crowd{Workers: 1, Slots: 1, Sigma: 0, Bandwidth: 1e6, Seed: 1}
	_, err := replay.Run(t.Context(), long, crowd, planned, nil)
	if cloudcrowd.CodeOf(err) != cloudcrowd.Invalid || !strings.Contains(err.Error(), "too much work for so few workers") {
		t.Errorf("%v", err)
	}
}

// With everything known, the replay goes exactly as planned: one plan is enough.
func TestAsPlanned(t *testing.T) {
	t.Parallel()
	r, err := replay.Run(t.Context(), workflow(t, "sarek"), replay.DefaultCrowd, planned, nil)
	if err != nil || r.Plans != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
}

// Whatever happens to workers and attempts, every task ends; the same seed gives the same replay, another one another.
func TestRough(t *testing.T) {
	t.Parallel()
	w := workflow(t, "blast")
	for _, order := range []replay.Order{replay.Planned, replay.List, replay.FIFO, replay.FirstFree} {
		rough := replay.Mode{Order: order, Plans: 8, Learned: true, Error: 0.5, Up: 20, Down: 10, Straggle: 0.2, Speculate: 0.2, FetchInput: false}
		crowd := replay.DefaultCrowd
		crowd.Workers, crowd.Slots = 6, 2
		once, err := replay.Run(t.Context(), w, crowd, rough, nil)
		if err != nil {
			t.Fatal(order, err)
		}
		if once.Lost == 0 || once.Attempts < len(w.Tasks)+once.Copies || once.CopyShare > 0.5 {
			t.Errorf("%s: %+v", order, once)
		}
		if again, err := replay.Run(t.Context(), w, crowd, rough, nil); err != nil || again != once {
			t.Errorf("%s: %+v and then %+v, %v", order, once, again, err)
		}
		crowd.Seed++
		if other, err := replay.Run(t.Context(), w, crowd, rough, nil); err != nil || other == once {
			t.Errorf("%s: another seed gives the same, %v", order, err)
		}
	}
}

// Second copies of stragglers stay within their share and save time; learned lengths cost little.
func TestModes(t *testing.T) {
	t.Parallel()
	w := workflow(t, "srasearch")
	mean := func(mode replay.Mode) (ratio, share float64) {
		r, err := replay.Study(t.Context(), w, replay.DefaultCrowd, mode, 10)
		if err != nil {
			t.Fatal(err)
		}
		return r.Ratio, r.CopyShare
	}
	straggling := planned
	straggling.Straggle = 0.1
	without, none := mean(straggling)
	straggling.Speculate = 0.1
	with, share := mean(straggling)
	if with >= without || none != 0 || share <= 0 || share > 0.12 {
		t.Errorf("ratio %.3f with copies of %.3f of the work, %.3f without", with, share, without)
	}
}

// A recording is recomputed to the same decisions; a changed one, and one of something else, is told apart.
func TestRecording(t *testing.T) {
	t.Parallel()
	w := workflow(t, "blast")
	for _, mode := range []replay.Mode{planned, {Order: replay.Planned, Plans: 4, Learned: true, Error: 0.2, Up: 30, Down: 10}} {
		h := replay.Header{Format: replay.TraceFormat, Crowd: replay.DefaultCrowd, Mode: mode}
		var out bytes.Buffer
		report, n, err := replay.Record(t.Context(), &out, w, h)
		if err != nil || n < len(w.Tasks) {
			t.Fatal(n, err)
		}
		compare := func(text string) (replay.Report, error) {
			in := bufio.NewReader(strings.NewReader(text))
			h, err := replay.ReadHeader(in)
			if err != nil {
				return replay.Report{}, err
			}
			r, _, err := replay.Compare(context.Background(), in, w, h)
			return r, err
		}
		if again, err := compare(out.String()); err != nil || again != report {
			t.Fatal(again, err)
		}
		lines := strings.SplitAfter(out.String(), "\n")
		for what, text := range map[string]string{
			"the recording ends": strings.Join(lines[:3], ""),
			"more decisions":     out.String() + lines[1],
			"no recording":       strings.Join(lines[1:], ""),
			"line 2: recorded":   strings.Join(append([]string{lines[0], lines[2], lines[1]}, lines[3:]...), ""),
			"by its parts":       strings.Replace(out.String(), `"run_s":`, `"finish_s":0,"x":`, 1),
		} {
			if what == "by its parts" {
				text = lines[0] + `{"task":"t","planned_at_s":0,"chosen":1,"candidates":[{"slot":0,"finish_s":1},{"slot":1,"finish_s":2}]}` + "\n"
			}
			if _, err := compare(text); err == nil || !strings.Contains(err.Error(), what) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

// A crowd that cannot be is refused, by name.
func TestCrowdRefused(t *testing.T) {
	t.Parallel()
	crowd := replay.DefaultCrowd
	crowd.Workers = 0
	if _, err := replay.Run(t.Context(), workflow(t, "blast"), crowd, planned, nil); cloudcrowd.CodeOf(err) != cloudcrowd.Invalid {
		t.Fatal(err)
	}
}
