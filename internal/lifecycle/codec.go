package lifecycle

import (
	"bytes"
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"github.com/klauspost/compress/zstd"

	"cloudcrowd.dev/cloudcrowd"
)

// Events and snapshots are CBOR with small integer keys: compact, exact, and readable by later versions, which skip fields they do not know.
// Text that is not UTF-8 (a unit a program listed, an error that quotes a file) is read back as it was written: refusing it would leave a shard that cannot start.
var (
	encMode, _   = cbor.EncOptions{Sort: cbor.SortCoreDeterministic}.EncMode()
	encBuffer, _ = cbor.EncOptions{Sort: cbor.SortCoreDeterministic}.UserBufferEncMode()
	decMode, _   = cbor.DecOptions{MaxArrayElements: 1 << 27, MaxMapPairs: 1 << 27, UTF8: cbor.UTF8DecodeInvalid}.DecMode()
)

// Large batches repeat the same ids and words thousands of times; compressed they take a tenth, and the disk is what a commit waits for. Compressed bytes
// begin with zstd's magic number, which no CBOR array does.
const (
	packFrom  = 8 << 10
	zstdMagic = "\x28\xb5\x2f\xfd"
)

// A few bytes can claim to unpack to any number. What was packed unpacks to at most smallPlain, or largestRatio times as much as it is: far more than real
// batches, which shrink to a tenth; what would shrink more is stored as it is.
const (
	smallPlain   = 64 << 20
	largestRatio = 100
)

// plainLimit is the most that n packed bytes may unpack to.
func plainLimit(n int) uint64 { return max(smallPlain, largestRatio*uint64(n)) }

// The options are right, so making them cannot fail; what they need they make when first used.
var (
	packer, _   = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	unpacker, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true))
)

func pack(b []byte) []byte {
	if len(b) < packFrom {
		return b
	}
	packed := packer.EncodeAll(b, make([]byte, 0, len(b)/4))
	if uint64(len(b)) > plainLimit(len(packed)) {
		return b
	}
	return packed
}

func unpack(b []byte) ([]byte, error) {
	if !bytes.HasPrefix(b, []byte(zstdMagic)) {
		return b, nil
	}
	var head zstd.Header
	if err := head.Decode(b); err != nil {
		return nil, err
	}
	if !head.HasFCS || head.FrameContentSize > plainLimit(len(b)) {
		return nil, fmt.Errorf("%d packed bytes do not say that they unpack to at most %d", len(b), plainLimit(len(b)))
	}
	return unpacker.DecodeAll(b, make([]byte, 0, head.FrameContentSize)) // and to no more than that
}

// EncodeEvents packs a batch.
func EncodeEvents(events []Event) ([]byte, error) { return new(Packer).Events(events) }

// Packer packs batches one after the other and keeps the room that takes.
type Packer struct{ plain bytes.Buffer }

// Events packs a batch.
func (p *Packer) Events(events []Event) ([]byte, error) {
	plain := &p.plain
	plain.Reset()
	if err := encBuffer.MarshalToBuffer(events, plain); err != nil {
		return nil, err
	}
	if plain.Len() < packFrom {
		return bytes.Clone(plain.Bytes()), nil
	}
	packed := pack(plain.Bytes())
	if len(packed) > 0 && &packed[0] == &plain.Bytes()[0] { // as it was
		return bytes.Clone(packed), nil
	}
	return packed, nil
}

// DecodeEvents unpacks a batch.
func DecodeEvents(b []byte) ([]Event, error) {
	var events []Event
	b, err := unpack(b)
	if err != nil {
		return nil, fmt.Errorf("journal row: %w", err)
	}
	if err := decMode.Unmarshal(b, &events); err != nil {
		return nil, fmt.Errorf("journal row: %w", err)
	}
	return events, nil
}

// Encode packs the whole state as a snapshot.
func (s *State) Encode() ([]byte, error) {
	b, err := encMode.Marshal(s)
	return pack(b), err
}

// DecodeState unpacks a snapshot.
func DecodeState(b []byte) (s *State, err error) {
	s = &State{}
	b, err = unpack(b)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if err := decMode.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	defer func() {
		if r := recover(); r != nil { // what it holds is not a state
			s, err = nil, fmt.Errorf("snapshot: %v", r)
		}
	}()
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
