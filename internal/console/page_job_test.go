package console

import (
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// What a job left undone when it ended neither runs nor grows older.
func TestStagesOfEndedJobsStandStill(t *testing.T) {
	t.Parallel()
	second := cloudcrowd.Time(1e6)
	now := time.UnixMicro(int64(100 * second))
	running := cloudcrowd.StageView{State: cloudcrowd.StageRunning, StartedAt: 10 * second}
	failing := running
	failing.TasksFailed = 1
	done := cloudcrowd.StageView{State: cloudcrowd.StageDone, StartedAt: 10 * second, EndedAt: 15 * second}
	for name, c := range map[string]struct {
		job     cloudcrowd.JobState
		ended   cloudcrowd.Time
		stage   cloudcrowd.StageView
		word    string
		seconds float64
	}{
		"under way":           {cloudcrowd.JobRunning, 0, running, "running", 90},
		"cut off by its job":  {cloudcrowd.JobCancelled, 30 * second, running, "cancelled", 20},
		"the reason":          {cloudcrowd.JobFailed, 30 * second, failing, "failed", 20},
		"done before the end": {cloudcrowd.JobFailed, 30 * second, done, "done", 5},
	} {
		j := cloudcrowd.Job{JobSummary: cloudcrowd.JobSummary{State: c.job, EndedAt: c.ended}}
		if word, seconds := stageWord(j, c.stage), stageSeconds(j, c.stage, now); word != c.word || seconds != c.seconds {
			t.Errorf("%s: %s for %g s, want %s for %g s", name, word, seconds, c.word, c.seconds)
		}
	}
}

// The credits held for a job are running out or settled; what was paid and what went back add up to them.
func TestHoldWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		hold cloudcrowd.Hold
		want string
	}{
		{cloudcrowd.Hold{Amount: 5000, Posted: 1200, State: cloudcrowd.HoldPending}, "0.005 credits, 0.0012 paid"},
		{cloudcrowd.Hold{Amount: 5000, Posted: 1200, State: cloudcrowd.HoldVoided}, "0.005 credits, 0.0012 paid, 0.0038 went back"},
		{cloudcrowd.Hold{Amount: 5000, Posted: 5000, State: cloudcrowd.HoldPosted}, "0.005 credits, 0.005 paid, 0 went back"},
	} {
		if got := holdWords(c.hold); got != c.want {
			t.Errorf("%+v: %q, want %q", c.hold, got, c.want)
		}
	}
}
