package taskmanager

import (
	"fmt"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Who had a shard before may go on writing the tables after its next owner has read how far they go: the next one goes on from there, and what it has itself follows.
func TestTablesMovedOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	shard, before := r.m.cfg.Shard, r.m.State().Seq
	late := newProjector(r.m, before, store.Head{}) // as of a server that looked before the next two rows were in the tables
	r.issue("ada", 1)
	r.issue("ada", 2)
	for seq := before + 1; seq <= before+2; seq++ {
		late.add(store.Projected{Shard: shard, From: seq - 1, To: seq})
	}
	r.m.loop.project = late
	r.issue("ada", 3)
	at, err := r.store.ProjectedTo(t.Context(), shard)
	if err != nil || at != before+3 || late.reached() != before+3 || len(late.pending) > 0 {
		t.Fatalf("the tables go to row %d, the server says %d of %d: %v", at, late.reached(), before+3, err)
	}
}

// Tasks are gathered for longer only where there are few of each of many jobs.
func TestScattered(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		jobs, each int
		want       bool
	}{{1, 1, true}, {1, gatherEach, false}, {100, gatherEach - 1, true}, {100, gatherEach, false}} {
		p := newProjector(nil, 0, store.Head{})
		for seq := range int64(test.each) { // one of each job in a row of the journal
			rows := store.Projected{From: seq, To: seq + 1}
			for j := range test.jobs {
				rows.Tasks = append(rows.Tasks, cloudcrowd.Task{ID: cloudcrowd.TaskID{Job: cloudcrowd.JobID(fmt.Sprint("j", j)), Index: int32(seq)}})
			}
			p.add(rows)
		}
		if got := p.scattered(); got != test.want {
			t.Errorf("%d tasks of each of %d jobs are scattered: %v", test.each, test.jobs, got)
		}
	}
}
