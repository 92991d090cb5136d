package sums

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"pgregory.net/rapid"
)

// Bytes that come in any pieces have the digest and the sums of the whole, and what was encoded comes back.
func TestSummer(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := make([]byte, rapid.IntRange(0, 4*BlockBytes).Draw(t, "size"))
		for i := range b {
			b[i] = byte(i * 7 >> 3)
		}
		m := New()
		for rest := b; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			_, _ = m.Write(rest[:n])
			rest = rest[n:]
		}
		d, v := m.Finish()
		sum := sha256.Sum256(b)
		if string(d) != hex.EncodeToString(sum[:]) || v.SizeBytes != int64(len(b)) {
			t.Fatalf("%s of %d bytes", d, v.SizeBytes)
		}
		n := 0
		for block := range slices.Chunk(b, BlockBytes) {
			if v.Blocks[n] != Of(block) {
				t.Fatalf("block %d has another sum", n)
			}
			n++
		}
		encoded := v.Encode(d)
		if n != len(v.Blocks) || int64(len(encoded)) != EncodedBytes(v.SizeBytes) {
			t.Fatalf("%d sums of %d blocks in %d bytes", len(v.Blocks), n, len(encoded))
		}
		have, err := Decode(d, encoded)
		if err != nil || have.SizeBytes != v.SizeBytes || !slices.Equal(have.Blocks, v.Blocks) {
			t.Fatalf("%v came back, %v", have, err)
		}
	})
}

// Sums that are cut, changed or another blob's are refused.
func TestDecodeDamaged(t *testing.T) {
	t.Parallel()
	m := New()
	_, _ = m.Write(make([]byte, 3*BlockBytes+1))
	d, v := m.Finish()
	good := v.Encode(d)
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 0x10
		if _, err := Decode(d, bad); err == nil {
			t.Errorf("a flipped bit in byte %d passed", i)
		}
		if _, err := Decode(d, good[:i]); err == nil {
			t.Errorf("%d bytes of %d passed", i, len(good))
		}
	}
	if _, err := Decode(cloudcrowd.Digest(slices.Repeat([]byte("0"), 64)), good); err == nil {
		t.Error("another blob's sums passed")
	}
}
