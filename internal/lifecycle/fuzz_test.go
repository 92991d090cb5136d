package lifecycle

import (
	"bytes"
	"reflect"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"

	"cloudcrowd.dev/cloudcrowd"
)

// Whatever a journal row holds, reading it ends with its events or an error, in bounded memory; applying what was read ends with a state or an error; and
// events are the same after another trip.
func FuzzDecodeEvents(f *testing.F) {
	events := sample()
	for _, list := range [][]Event{nil, events, events[:1], bytesOfEvents(2000)} {
		b, err := EncodeEvents(list)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(packer.EncodeAll(b, nil))
	}
	f.Add(bomb(f, 1<<30))
	f.Add([]byte("\x9a\x07\xff\xff\xff\xf6\xf6"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := allocated()
		list, err := DecodeEvents(b)
		bounded(t, len(b), allocated()-before)
		if err != nil {
			return
		}
		again, err := EncodeEvents(list)
		if err != nil {
			t.Fatal(err)
		}
		read, err := DecodeEvents(again)
		if err != nil {
			t.Fatal(err)
		}
		if third, err := EncodeEvents(read); err != nil || !bytes.Equal(again, third) { // compared as bytes, because NaN is no number that equals itself
			t.Fatalf("%v\n got %x\nwant %x", err, third, again)
		}
		if len(list) < 1000 {
			_, _ = NewState(0).Replay(1, 1, b, &Out{}) // an error is an answer, a panic is not
		}
	})
}

// Whatever a snapshot holds, reading it ends with a state or an error, in bounded memory, and a state is the same after another trip.
func FuzzDecodeState(f *testing.F) {
	w := newWorld(f)
	w.fund("ada", 1e9)
	w.worker("w1", "bob", 1, 1)
	if _, err := w.submit("a", "ada", "key", specOf("one", 1e8, 0, "work range=3 size=1 verify=none")); err != nil {
		f.Fatal(err)
	}
	w.assign()
	for _, s := range []*State{NewState(3), w.state} {
		b, err := s.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(packer.EncodeAll(b, nil))
	}
	f.Add(bomb(f, 1<<30))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := allocated()
		s, err := DecodeState(b)
		bounded(t, len(b), allocated()-before)
		if err != nil {
			return
		}
		again, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if s, err = DecodeState(again); err != nil {
			t.Fatal(err)
		}
		if third, err := s.Encode(); err != nil || !bytes.Equal(again, third) {
			t.Fatalf("%v\n got %x\nwant %x", err, third, again)
		}
	})
}

// bytesOfEvents are so many events that they are packed.
func bytesOfEvents(n int) []Event {
	list := make([]Event, n)
	for i := range list {
		list[i].CreditsIssued = &CreditsIssued{To: "ada", Amount: cloudcrowd.Credits(i)}
	}
	return list
}

// bomb is a small frame that unpacks to so many bytes.
func bomb(t testing.TB, size int) []byte {
	t.Helper()
	var b bytes.Buffer
	e, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	e.ResetContentSize(&b, int64(size))
	for chunk := make([]byte, 1<<20); size > 0; size -= len(chunk) {
		if _, err := e.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// allocated is what this process has ever allocated.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// bounded checks that reading n bytes took no more memory than may be: what they may unpack to, and the values in it, which are larger than their bytes.
func bounded(t *testing.T, n int, took uint64) {
	t.Helper()
	if limit := 300 * plainLimit(n); took > limit {
		t.Fatalf("reading %d bytes took %d, more than %d", n, took, limit)
	}
}

// A few bytes that claim, or turn out, to be gigabytes are refused before they take memory: with the size stated, with a small one stated, with none,
// and in a second frame behind an honest one.
func TestBombs(t *testing.T) {
	honest, err := EncodeEvents(bytesOfEvents(2000))
	if err != nil {
		t.Fatal(err)
	}
	stated := bomb(t, 1<<30)
	var silent bytes.Buffer
	e, err := zstd.NewWriter(&silent)
	if err != nil {
		t.Fatal(err)
	}
	for range 256 {
		if _, err := e.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"stated": stated, "not stated": silent.Bytes(), "second frame": append(bytes.Clone(honest), stated...)} {
		before := allocated()
		if _, err := DecodeEvents(b); err == nil {
			t.Errorf("%s: it was read", name)
		}
		if _, err := DecodeState(b); err == nil {
			t.Errorf("%s: it was read as a state", name)
		}
		if took := allocated() - before; took > 64<<20 {
			t.Errorf("%s: refusing %d bytes took %d", name, len(b), took)
		}
	}
}

// What would shrink more than reading allows is stored as it is, so that everything written can be read.
func TestRepetitiveBatch(t *testing.T) {
	t.Parallel()
	text := string(bytes.Repeat([]byte("x"), smallPlain+1))
	b, err := EncodeEvents([]Event{{CreditsIssued: &CreditsIssued{To: "ada", Amount: 1, Note: text}}})
	if err != nil {
		t.Fatal(err)
	}
	events, err := DecodeEvents(b)
	if err != nil || !reflect.DeepEqual(events[0].CreditsIssued.Note, text) {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
}
