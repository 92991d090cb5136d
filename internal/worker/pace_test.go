package worker

import (
	"testing"
	"time"
)

// Tasks that end at a steady pace have as many queued as end in a round trip; slow ones have what the server asks for; after a quiet time it begins anew.
func TestPace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		every time.Duration
		want  [2]int
	}{{time.Second, [2]int{2, 2}}, {10 * time.Millisecond, [2]int{4, 7}}, {time.Millisecond, [2]int{40, 65}}, {10 * time.Microsecond, [2]int{4000, 4096}}} {
		var p pace
		now, changes := time.Unix(1000, 0), 0
		for range 20_000 {
			now = now.Add(tt.every)
			if p.note(now, 2) {
				changes++
			}
		}
		if got := p.beyond(now, 2); got < tt.want[0] || got > tt.want[1] || changes > 3 {
			t.Errorf("one every %v: %d ahead after %d changes, want %v", tt.every, got, changes, tt.want)
		}
		if got := p.beyond(now.Add(time.Minute), 2); got != 2 {
			t.Errorf("after a minute without: %d ahead", got)
		}
	}
}
