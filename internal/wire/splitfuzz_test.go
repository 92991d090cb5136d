package wire

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// frames reads frames back and checks their limits.
func frames[M any](t *testing.T, list [][]byte, decode func([]byte) (*M, error)) []*M {
	t.Helper()
	var all []*M
	for i, frame := range list {
		if len(frame) > MaxFrame {
			t.Fatalf("frame %d of %d has %d bytes", i, len(list), len(frame))
		}
		m, err := decode(frame)
		if err != nil {
			t.Fatalf("frame %d of %d: %v", i, len(list), err)
		}
		all = append(all, m)
	}
	return all
}

func attemptsOf(lots *rand.Rand, n int) []cloudcrowd.AttemptID {
	var list []cloudcrowd.AttemptID
	for i := range min(n, 18_000) { // more than a list may hold
		job := jobA
		if lots.IntN(2) == 0 {
			job = jobB
		}
		list = append(list, attemptID(job, lots.Int32N(5), int32(i), 1+lots.Int32N(3)))
	}
	return list
}

// noise is text that does not shrink.
func noise(lots *rand.Rand, n int) string {
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "%016x", lots.Uint64())
	}
	return b.String()[:n]
}

// Whatever a worker has to say, the frames it is split into say just that, each list in its order: hello in the first, leaving in the last.
func FuzzSplitUp(f *testing.F) {
	f.Add(uint64(1), uint16(0), uint16(0), uint16(0), uint16(0), true, true, true)
	f.Add(uint64(2), uint16(3000), uint16(500), uint16(100), uint16(2000), true, true, false)
	f.Add(uint64(3), uint16(6000), uint16(18000), uint16(18000), uint16(20), false, true, true)
	f.Add(uint64(4), uint16(1), uint16(18000), uint16(1), uint16(4000), true, true, true)
	f.Add(uint64(5), uint16(40), uint16(1), uint16(16384), uint16(65535), false, false, true)
	f.Fuzz(func(t *testing.T, seed uint64, reports, returned, holding, text uint16, hello, beat, leaving bool) {
		lots := rand.New(rand.NewPCG(seed, 0))
		want := cloudcrowd.Up{Leaving: leaving, Returned: attemptsOf(lots, int(returned))}
		stderr := noise(lots, min(int(text), MaxStderr))
		for _, id := range attemptsOf(lots, min(int(reports), 20_000, 8<<20/max(1, len(stderr)))) {
			want.Reports = append(want.Reports, cloudcrowd.Report{Attempt: id, Result: cloudcrowd.Result{Outcome: cloudcrowd.Exited, ExitCode: 1, Reason: "r", StderrTail: stderr}})
		}
		if hello {
			example := exampleUp()
			want.Hello = example.Hello
			want.Hello.Holding = attemptsOf(lots, min(int(holding), MaxEntries))
		}
		if beat {
			want.Beat = &cloudcrowd.Beat{Session: "s", Want: 3}
			for _, id := range attemptsOf(lots, int(holding)) {
				want.Beat.Holding = append(want.Beat.Holding, cloudcrowd.Progress{Attempt: id, Running: true, Fraction: lots.Float64()})
			}
		}
		list, err := SplitUp(&want)
		if err != nil {
			t.Fatal(err)
		}
		var got cloudcrowd.Up
		for i, u := range frames(t, list, DecodeUp) {
			if u.Hello != nil {
				if i > 0 {
					t.Fatalf("hello is in frame %d", i)
				}
				got.Hello = u.Hello
			}
			if u.Leaving && i < len(list)-1 {
				t.Fatalf("leaving is in frame %d of %d", i, len(list))
			}
			got.Leaving = got.Leaving || u.Leaving
			got.Reports, got.Returned = append(got.Reports, u.Reports...), append(got.Returned, u.Returned...)
			if u.Beat != nil {
				if got.Beat == nil {
					got.Beat = &cloudcrowd.Beat{}
				}
				held := append(got.Beat.Holding, u.Beat.Holding...)
				*got.Beat = *u.Beat
				got.Beat.Holding = held
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%d frames: %d of %d reports, %d of %d returned; hello %v, beat %v, leaving %v", len(list), len(got.Reports), len(want.Reports), len(got.Returned), len(want.Returned),
				reflect.DeepEqual(got.Hello, want.Hello), reflect.DeepEqual(got.Beat, want.Beat), got.Leaving == want.Leaving)
		}
	})
}

// Whatever a server has to say, the frames it is split into say just that, each list in its order: welcome in the first, a refusal in the last, no cancel
// before its lease; a lease that fits no frame is named.
func FuzzSplitDown(f *testing.F) {
	f.Add(uint64(1), uint16(0), uint16(0), uint16(0), uint16(0), uint16(0), true, true)
	f.Add(uint64(2), uint16(500), uint16(100), uint16(100), uint16(5000), uint16(0), true, false)
	f.Add(uint64(3), uint16(4000), uint16(18000), uint16(18000), uint16(8), uint16(0), false, true)
	f.Add(uint64(4), uint16(3), uint16(1), uint16(2), uint16(100), uint16(2), true, true)
	f.Add(uint64(5), uint16(1), uint16(0), uint16(1), uint16(0), uint16(1), false, false)
	f.Fuzz(func(t *testing.T, seed uint64, leases, acks, cancels, text, large uint16, welcome, refused bool) {
		lots := rand.New(rand.NewPCG(seed, 0))
		want := cloudcrowd.Down{Acks: attemptsOf(lots, int(acks))}
		if welcome {
			want.Welcome = &cloudcrowd.Welcome{HeartbeatSeconds: 5, LeaseSeconds: 30, Ahead: 2}
		}
		if refused {
			want.Refused = "revoked"
		}
		example := exampleDown()
		stdin := []byte(noise(lots, 1+min(int(text), 20_000)))
		var huge []byte
		if large%4 > 0 {
			huge = []byte(noise(lots, MaxFrame*3))
		}
		var tooLarge []cloudcrowd.AttemptID
		all := attemptsOf(lots, min(int(leases), 4000))
		if total := len(all) * len(stdin); total > 8<<20 {
			all = all[:8<<20/len(stdin)]
		}
		for i, id := range all {
			l := example.Leases[0]
			l.Attempt, l.Payload.Stdin = id, stdin
			if i < int(large)%4 {
				l.Payload.Stdin = huge
				tooLarge = append(tooLarge, id)
			}
			want.Leases = append(want.Leases, l)
		}
		want.Cancels = append(want.Cancels, all[:min(len(all), int(cancels))]...) // of leases in the same message
		list, named, err := SplitDown(&want)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(named, tooLarge) {
			t.Fatalf("%v do not fit a frame, %v are named", tooLarge, named)
		}
		want.Leases = want.Leases[len(tooLarge):]
		var got cloudcrowd.Down
		leased := map[cloudcrowd.AttemptID]bool{}
		for i, d := range frames(t, list, DecodeDown) {
			if d.Welcome != nil && i > 0 || d.Refused != "" && i < len(list)-1 {
				t.Fatalf("welcome %v, refused %q in frame %d of %d", d.Welcome, d.Refused, i, len(list))
			}
			if d.Welcome != nil {
				got.Welcome = d.Welcome
			}
			got.Leases = append(got.Leases, d.Leases...)
			for _, l := range d.Leases {
				leased[l.Attempt] = true
			}
			if len(d.Cancels) > 0 && len(got.Leases) < len(want.Leases) {
				for _, id := range d.Cancels {
					if !leased[id] {
						t.Fatalf("frame %d of %d cancels %s before it is leased", i, len(list), id)
					}
				}
			}
			got.Acks, got.Cancels, got.Refused = append(got.Acks, d.Acks...), append(got.Cancels, d.Cancels...), got.Refused+d.Refused
		}
		if len(want.Leases) == 0 {
			want.Leases = nil
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%d frames: %d of %d leases, %d of %d acks, %d of %d cancels, refused %q", len(list), len(got.Leases), len(want.Leases), len(got.Acks), len(want.Acks), len(got.Cancels),
				len(want.Cancels), got.Refused)
		}
	})
}
