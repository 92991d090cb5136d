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
