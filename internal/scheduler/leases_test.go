package scheduler

import (
	"testing"

	"pgregory.net/rapid"

	"cloudcrowd.dev/cloudcrowd"
)

// Leases hold what a map would, few or many.
func TestLeases(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var l Leases
		twin := map[cloudcrowd.AttemptID]int64{}
		most := rapid.SampledFrom([]int32{3, fewLeases + 1, 100}).Draw(t, "most")
		for k := range rapid.IntRange(1, 400).Draw(t, "steps") {
			id := cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: "j", Index: rapid.Int32Range(0, most).Draw(t, "task")}, N: rapid.Int32Range(1, 2).Draw(t, "n")}
			_, held := twin[id]
			if rapid.IntRange(0, 2).Draw(t, "kind") > 0 {
				l.Put(Held{ID: id, MemoryBytes: int64(k)})
				twin[id] = int64(k)
			} else {
				if l.Delete(id) != held {
					t.Fatalf("%v was held: %v", id, held)
				}
				delete(twin, id)
			}
			if l.Len() != len(twin) || len(l.All()) != len(twin) {
				t.Fatalf("%d, want %d", l.Len(), len(twin))
			}
			for id, memory := range twin {
				if h := l.Get(id); h == nil || h.ID != id || h.MemoryBytes != memory {
					t.Fatalf("%v: %+v, want %d", id, h, memory)
				}
			}
			if l.Get(id) == nil && l.Delete(id) {
				t.Fatal("what is not held was removed")
			}
		}
	})
}
