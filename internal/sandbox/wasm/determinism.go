package wasm

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// epoch is what the program's clocks show first: 2026-01-01T00:00:00Z.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// clockStep is how far the clocks move at every reading, so that a program that waits for time to pass comes to an end.
const clockStep = time.Microsecond

// clock is the only time a program sees. It moves by readings and sleeps, never by the host's time.
type clock struct {
	elapsed int64 // nanoseconds since epoch
}

func (c *clock) read() int64 {
	c.sleep(int64(clockStep))
	return c.elapsed
}

func (c *clock) wall() (int64, int32) {
	t := epoch.Add(time.Duration(c.read()))
	return t.Unix(), int32(t.Nanosecond())
}

// sleep returns at once and moves the clocks by ns, staying within about 200 years.
func (c *clock) sleep(ns int64) {
	const end = int64(200*365*24) * int64(time.Hour)
	if ns > 0 {
		if ns > end-c.elapsed {
			c.elapsed = end
			return
		}
		c.elapsed += ns
	}
}

// randomness is the program's source of random bytes for a seed.
func randomness(seed uint64) *rand.ChaCha8 {
	b := append([]byte("cloudcrowd sandbox randomness "), make([]byte, 8)...)
	binary.LittleEndian.PutUint64(b[len(b)-8:], seed)
	return rand.NewChaCha8(sha256.Sum256(b))
}
