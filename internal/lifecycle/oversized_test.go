package lifecycle

import (
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// A result larger than the stage allows is not believed where it would be accepted alone; the attempt is tried elsewhere.
func TestOversizedResult(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fund("ada", 1e9)
	w.worker("w1", "bob", 1, 1)
	w.worker("w2", "eve", 1, 1)
	spec := specOf("one", 1e8, 0, "work range=1 size=1 verify=none")
	if _, err := w.submit("a", "ada", "", spec); err != nil {
		t.Fatal(err)
	}
	job := w.last
	w.assign()
	first := w.leased(job)[0]
	_, _, _, a := w.state.Find(first)
	r := succeeded("right", 1)
	r.Outputs[0].SizeBytes = spec.Stages[0].Resources.OutputBytes + 1
	w.report(first, "", r)
	if a.State != cloudcrowd.AttemptFailed || a.Charge != 0 {
		t.Fatalf("the oversized result is %s and costs %d", a.State, a.Charge)
	}
	w.assign()
	again := w.leased(job)
	if len(again) != 1 {
		t.Fatalf("%d attempts are leased after it, want 1", len(again))
	}
	_, _, _, b := w.state.Find(again[0])
	if b.Worker == a.Worker {
		t.Error("it was tried again on the same worker")
	}
	w.report(again[0], "", succeeded("right", 1))
	if j := w.state.Jobs[job]; j.State != cloudcrowd.JobDone {
		t.Errorf("the job is %s: %s", j.State, j.Reason)
	}
}
