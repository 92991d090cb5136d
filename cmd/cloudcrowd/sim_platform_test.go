package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd/internal/sim"
)

// A seed that fails is named with the command that repeats it, the end of its trace is shown, and all of it is in the file that was asked for.
func TestSimTellsOfFailures(t *testing.T) {
	t.Parallel()
	p := sim.Profiles["calm"]
	p.Limit = 30 * time.Second // some jobs have not ended by then
	var out, notes bytes.Buffer
	file := filepath.Join(t.TempDir(), "trace.txt")
	s := &platformSim{app: &app{stdout: &out, stderr: &notes}, parallel: 2, trace: file}
	r := simResult{ByKind: map[sim.Fault]int64{}}
	s.campaign(t.Context(), p, 1, 3, &r)
	if err := s.report(r); exitStatus(err) != 8 {
		t.Errorf("status %d, %v", exitStatus(err), err)
	}
	if len(r.Failures) != 3 || r.Failures[0].Seed != 1 || len(r.Failures[0].Trace) != traceEnd || r.Failures[1].Trace != nil {
		t.Fatalf("%d lines are shown of the first one: %+v", len(r.Failures[0].Trace), r.Failures)
	}
	all, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(all), strings.Join(r.Failures[0].Trace, "\n")+"\n") {
		t.Error("what is shown is not how the file ends")
	}
	if last := r.Failures[0].Trace[traceEnd-1]; !strings.Contains(last, r.Failures[0].Error) {
		t.Errorf("the last line is %q", last)
	}
	for _, want := range []string{r.Failures[0].Trace[0], "again: cloudcrowd sim --profile calm --seeds 3 "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
	if !strings.Contains(notes.String(), file) {
		t.Errorf("the file is not named: %s", &notes)
	}
}
