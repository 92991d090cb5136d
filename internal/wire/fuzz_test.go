package wire

import (
	"reflect"
	"testing"
)

// Whatever arrives, decoding neither panics nor returns what encoding would refuse; and what it returns means the same after another trip.
func FuzzDecodeUp(f *testing.F) {
	up := exampleUp()
	frame, err := EncodeUp(&up)
	if err != nil {
		f.Fatal(err)
	}
	seeds(f, "up", frame)
	f.Fuzz(func(t *testing.T, frame []byte) {
		u, err := DecodeUp(frame)
		if err != nil {
			return
		}
		again, err := EncodeUp(u)
		if err != nil {
			t.Fatalf("decoded, but cannot be encoded: %v", err)
		}
		if v, err := DecodeUp(again); err != nil || !reflect.DeepEqual(u, v) {
			t.Fatalf("%v\n got %s\nwant %s", err, text(v), text(u))
		}
	})
}

// The same for what a server sends.
func FuzzDecodeDown(f *testing.F) {
	down := exampleDown()
	frame, err := EncodeDown(&down)
	if err != nil {
		f.Fatal(err)
	}
	seeds(f, "down", frame)
	f.Fuzz(func(t *testing.T, frame []byte) {
		d, err := DecodeDown(frame)
		if err != nil {
			return
		}
		again, err := EncodeDown(d)
		if err != nil {
			t.Fatalf("decoded, but cannot be encoded: %v", err)
		}
		if v, err := DecodeDown(again); err != nil || !reflect.DeepEqual(d, v) {
			t.Fatalf("%v\n got %s\nwant %s", err, text(v), text(d))
		}
	})
}

// seeds starts from a full message, its spoiled versions, and the vectors.
func seeds(f *testing.F, direction string, frame []byte) {
	f.Add(frame)
	f.Add(frame[:len(frame)/2])
	f.Add(packer().EncodeAll(frame[1:], []byte{zstdFrame}))
	for i := 0; i < len(frame); i += 7 {
		spoiled := append([]byte(nil), frame...)
		spoiled[i] ^= 0x81
		f.Add(spoiled)
	}
	for _, v := range readVectors(f) {
		if v.Direction == direction {
			f.Add(v.bytes(f))
		}
	}
}
