package history

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// How the rest of a segment is packed: its first byte, which is also the version of the format.
const (
	plainFormat = 1
	zstdFormat  = 2
)

const (
	// HeadBytes is the length of what begins a segment: the format and a CRC-32C.
	HeadBytes = 5
	packFrom  = 512 // bytes from which on compression is worth its time
	// MaxItems is the most of anything that a segment may hold, to refuse what cannot be one before it takes memory.
	MaxItems = 1 << 20
	// maxPlain bounds the memory that reading a segment may take. It is far above MaxPlain, because the items of one task stay together.
	maxPlain = 256 << 20
)

// The codecs are safe for concurrent use; building one takes a millisecond, so they are built once.
var (
	packer = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2),
			zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
		if err != nil {
			panic(err) // only wrong options fail
		}
		return e
	})
	unpacker = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(maxPlain), zstd.WithDecoderLowmem(true))
		if err != nil {
			panic(err) // only wrong options fail
		}
		return d
	})
	writers = sync.Pool{New: func() any { return &scratch{coder: coder{indexes: map[string]int64{}}} }}
)

// scratch is the memory of one encoding.
type scratch struct {
	coder
	plain []byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum is the CRC-32C of everything about a stored segment but itself: bytes found under another key are damaged too.
func sum(k Key, shard int, b []byte) uint32 {
	head := make([]byte, 0, 96)
	head = append(binary.AppendUvarint(head, uint64(len(k.Job))), k.Job...)
	for _, v := range [...]int64{int64(k.Stage), int64(k.Block), k.Seq, int64(k.Part), int64(shard)} {
		head = binary.AppendVarint(head, v)
	}
	head = append(head, b[0])
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, b[HeadBytes:])
}

// encode packs the segment's items: how many there are, the words, and the columns that are not all zero, each after its number; compressed
// if that makes it smaller.
func (s *Segment) encode() []byte {
	c := writers.Get().(*scratch)
	defer writers.Put(c)
	c.reset()
	for i := range s.Tasks {
		c.task(s.Place, &s.Tasks[i])
	}
	for i := range s.Attempts {
		c.attempt(s.Place, &s.Attempts[i])
	}
	for i := range s.Charges {
		c.charge(s.Place, &s.Charges[i])
	}
	b := append(c.plain[:0], plainFormat, 0, 0, 0, 0)
	for _, n := range [...]int{len(s.Tasks), len(s.Attempts), len(s.Charges), len(c.words)} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	for _, w := range c.words {
		b = append(binary.AppendUvarint(b, uint64(len(w))), w...)
	}
	for i := range c.columns {
		if col := &c.columns[i]; col.used {
			b = binary.AppendUvarint(b, uint64(i))
			b = append(binary.AppendUvarint(b, uint64(len(col.b))), col.b...)
		}
	}
	c.plain = b
	var out []byte
	if len(b) >= packFrom {
		out = packer().EncodeAll(b[HeadBytes:], append(make([]byte, 0, len(b)/2), zstdFormat, 0, 0, 0, 0))
	}
	if out == nil || len(out) >= len(b) {
		out = append([]byte(nil), b...)
	}
	binary.BigEndian.PutUint32(out[1:], sum(s.Key, s.Shard, out))
	return out
}

// What is to be decoded of a segment.
type part uint8

const (
	tasks part = 1 << iota
	attempts
	charges
	everything = tasks | attempts | charges
)

var (
	errChecksum = errors.New("its checksum does not match")
	errFormat   = errors.New("it is not of a form this version knows")
	errContent  = errors.New("it is not what its checksum is of")
)

// Decode opens a segment. Errors: *store.CorruptError that names it.
func Decode(s Stored) (*Segment, error) { return decode(s, everything) }

func decode(s Stored, want part) (*Segment, error) {
	b := s.Bytes
	switch {
	case len(b) < HeadBytes:
		return nil, corrupt(s.Key, "it has %d bytes only", len(b))
	case binary.BigEndian.Uint32(b[1:]) != sum(s.Key, s.Shard, b):
		return nil, corrupt(s.Key, "%w", errChecksum)
	}
	plain := b[HeadBytes:]
	switch b[0] {
	case plainFormat:
	case zstdFormat:
		var err error
		if plain, err = unpacker().DecodeAll(plain, nil); err != nil {
			return nil, corrupt(s.Key, "%w", err)
		}
	default:
		return nil, corrupt(s.Key, "%w", errFormat)
	}
	out := &Segment{Key: s.Key, Shard: s.Shard}
	if !out.read(plain, want) {
		return nil, corrupt(s.Key, "%w", errContent)
	}
	return out, nil
}

// read fills the segment from its plain bytes; false if they are not what encode writes.
func (s *Segment) read(plain []byte, want part) bool {
	c := coder{reading: true}
	all := column{b: plain}
	var counts [4]int
	for i := range counts {
		n := c.uvarint(&all)
		if n > MaxItems {
			return false
		}
		counts[i] = int(n)
	}
	if counts[3] > len(plain) {
		return false
	}
	c.words = make([]string, counts[3])
	for i := range c.words {
		c.words[i] = string(c.bytes(&all, c.uvarint(&all)))
	}
	for all.at < len(plain) && !c.bad {
		field := c.uvarint(&all)
		b := c.bytes(&all, c.uvarint(&all))
		if field < fields { // a later version's field is passed over
			c.columns[field] = column{b: b, used: true}
		}
	}
	if want&tasks != 0 {
		s.Tasks = read(&c, s.Place, counts[0], (*coder).task)
	}
	if want&attempts != 0 {
		s.Attempts = read(&c, s.Place, counts[1], (*coder).attempt)
	}
	if want&charges != 0 {
		s.Charges = read(&c, s.Place, counts[2], (*coder).charge)
	}
	return !c.bad
}

func read[T any](c *coder, p Place, n int, item func(*coder, Place, *T)) []T {
	if n == 0 || c.bad {
		return nil
	}
	list := make([]T, 0, min(n, 4*BlockTasks))
	for range n {
		var zero T
		list = append(list, zero)
		if item(c, p, &list[len(list)-1]); c.bad {
			return nil
		}
	}
	return list
}
