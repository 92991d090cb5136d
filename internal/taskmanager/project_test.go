package taskmanager

import (
	"testing"

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
