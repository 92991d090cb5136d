package sandbox

import (
	"testing"

	"pgregory.net/rapid"
)

// The tail of any sequence of writes equals the end of their concatenation.
func TestTailMatchesNaive(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		tail := NewTail(limit)
		var all []byte
		for _, p := range rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, 30)).Draw(t, "writes") {
			if n, err := tail.Write(p); n != len(p) || err != nil {
				t.Fatalf("Write = %d, %v", n, err)
			}
			all = append(all, p...)
			want := all[max(0, len(all)-limit):]
			if got := tail.Bytes(); string(got) != string(want) {
				t.Fatalf("kept %q, want %q", got, want)
			}
		}
		if tail.Total() != int64(len(all)) {
			t.Fatalf("total %d, want %d", tail.Total(), len(all))
		}
	})
}
