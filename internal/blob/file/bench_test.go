package file

import (
	"encoding/binary"
	"sync/atomic"
	"testing"

	"cloudcrowd.dev/cloudcrowd/internal/blob"
)

// BenchmarkPut measures synced blobs of 4 KiB, one after the other and from 64 callers at once.
func BenchmarkPut(b *testing.B) {
	var n atomic.Uint64
	put := func(b *testing.B, s *Store) {
		data := make([]byte, 4096)
		binary.BigEndian.PutUint64(data, n.Add(1))
		if _, err := blob.PutBytes(b.Context(), s, data); err != nil {
			b.Error(err)
		}
	}
	b.Run("One", func(b *testing.B) {
		s := open(b, b.TempDir())
		for b.Loop() {
			put(b, s)
		}
	})
	b.Run("SixtyFour", func(b *testing.B) {
		s := open(b, b.TempDir())
		b.SetParallelism(32) // times GOMAXPROCS
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				put(b, s)
			}
		})
	})
}
