package taskmanager

import (
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
)

// What is spent shows at once, also where the charge is posted only when the job ends; what is older than a minute no longer does.
func TestMeter(t *testing.T) {
	t.Parallel()
	var m meter
	at := func(second int64) cloudcrowd.Time { return cloudcrowd.Time(second * 1e6) }
	m.count(&lifecycle.Decider{At: at(100), Events: []lifecycle.Event{
		{TaskDone: &lifecycle.TaskDone{Paid: []lifecycle.Paid{{N: 1, Gross: 30}, {N: 2, Gross: 20, Deferred: true}}}},
		{TaskFailed: &lifecycle.TaskFailed{Paid: []lifecycle.Paid{{N: 1, Gross: 10}}}},
	}})
	m.count(&lifecycle.Decider{At: at(150), Events: []lifecycle.Event{{TaskDone: &lifecycle.TaskDone{Paid: []lifecycle.Paid{{N: 1, Gross: 1}}}}}})
	for now, want := range map[int64]struct {
		tasks float64
		gross cloudcrowd.Credits
	}{155: {2, 61}, 165: {1, 1}, 300: {0, 0}} {
		if tasks, perHour := m.rates(at(now)); tasks*60 != want.tasks || perHour != want.gross*60 {
			t.Errorf("at %d s: %g tasks/s and %d an hour, want %g and %d in the minute", now, tasks, perHour, want.tasks, want.gross)
		}
	}
}
