package lifecycle

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"cloudcrowd.dev/cloudcrowd"
)

// Any list of tasks comes back from a snapshot as it was, gone ones as the same one.
func TestTaskListComesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var list TaskList
		for i, kept := range rapid.SliceOf(rapid.Bool()).Draw(t, "kept") {
			if kept {
				list = append(list, &Task{State: cloudcrowd.TaskWaiting, Unit: cloudcrowd.Unit{Lo: int64(i), Hi: int64(i) + 1}})
			} else {
				list = append(list, gone)
			}
		}
		b, err := list.MarshalCBOR()
		if err != nil {
			t.Fatal(err)
		}
		var back TaskList
		if err := back.UnmarshalCBOR(b); err != nil || len(back) != len(list) {
			t.Fatalf("%d of %d, %v", len(back), len(list), err)
		}
		for i := range list {
			if (list[i] == gone) != (back[i] == gone) || list[i].Unit != back[i].Unit {
				t.Fatalf("task %d is %+v, was %+v", i, back[i], list[i])
			}
		}
	})
}

// A list whose runs do not fit its tasks is refused, whatever it says; no run can make it allocate much.
func TestTaskListRefuses(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]taskList{
		"too few":  {Runs: []int64{2}, Tasks: []*Task{{}}},
		"too many": {Runs: []int64{0, 5}, Tasks: []*Task{{}}},
		"nothing":  {Runs: []int64{1}, Tasks: []*Task{nil}},
		"negative": {Runs: []int64{-1, 5}},
		"huge":     {Runs: []int64{0, 1 << 40}},
		"many":     {Runs: []int64{0, 1 << 31, 0, 1 << 31}},
	} {
		b, err := encMode.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var l TaskList
		if err := l.UnmarshalCBOR(b); err == nil {
			t.Errorf("%s: a list of %d", name, len(l))
		}
	}
}

// Large batches are stored compressed and small ones as they are; both come back.
func TestPackedEvents(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 5000} {
		events := make([]Event, n)
		for i := range events {
			events[i].TaskCarved = &TaskCarved{Task: cloudcrowd.TaskID{Job: "j0000000000000000", Index: int32(i)}, Quorum: 1, Start: 1}
		}
		plain, err := encMode.Marshal(events)
		if err != nil {
			t.Fatal(err)
		}
		b, err := EncodeEvents(events)
		if err != nil || n == 1 != bytes.Equal(b, plain) || n > 1 && len(b) > len(plain)/3 {
			t.Fatalf("%d events take %d bytes, plain %d; %v", n, len(b), len(plain), err)
		}
		back, err := DecodeEvents(b)
		if err != nil || len(back) != n || back[n-1].TaskCarved.Task.Index != int32(n-1) {
			t.Fatalf("%d of %d events came back: %v", len(back), n, err)
		}
		if _, err := DecodeEvents(b[:len(b)-1]); err == nil {
			t.Error("cut short, it is still a batch")
		}
	}
}
