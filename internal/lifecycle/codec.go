package lifecycle

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"cloudcrowd.dev/cloudcrowd"
)

// Events and snapshots are CBOR with small integer keys: compact, exact, and readable by later versions, which skip fields they do not know.
// Text that is not UTF-8 (a unit a program listed, an error that quotes a file) is read back as it was written: refusing it would leave a shard that cannot start.
var (
	encMode, _ = cbor.EncOptions{Sort: cbor.SortCoreDeterministic}.EncMode()
	decMode, _ = cbor.DecOptions{MaxArrayElements: 1 << 27, MaxMapPairs: 1 << 27, UTF8: cbor.UTF8DecodeInvalid}.DecMode()
)

// EncodeEvents packs a batch.
func EncodeEvents(events []Event) ([]byte, error) { return encMode.Marshal(events) }

// DecodeEvents unpacks a batch.
func DecodeEvents(b []byte) ([]Event, error) {
	var events []Event
	if err := decMode.Unmarshal(b, &events); err != nil {
		return nil, fmt.Errorf("journal row: %w", err)
	}
	return events, nil
}

// Encode packs the whole state as a snapshot.
func (s *State) Encode() ([]byte, error) { return encMode.Marshal(s) }

// DecodeState unpacks a snapshot.
func DecodeState(b []byte) (*State, error) {
	s := &State{}
	if err := decMode.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	s.init()
	return s, nil
}

// Replay applies a stored batch. An impossible event is returned as an error; the state is then not to be used.
func (s *State) Replay(seq int64, at cloudcrowd.Time, b []byte, out *Out) (events []Event, err error) {
	events, err = DecodeEvents(b)
	if err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("journal row %d/%d cannot be replayed: %v", s.Shard, seq, r)
		}
	}()
	for _, ev := range events {
		s.Apply(ev, at, out)
	}
	s.Seq = seq
	return events, nil
}
