package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"

	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// witness is a file beside the database that says, for every shard, up to which row its journal was acknowledged. It is needed because SQLite, where it finds
// a damaged frame in the WAL that a killed server left, drops it and all that follow without a word: within the database nothing tells that rows are missing.
//
// It is written after each commit without waiting for the disk. A failure of the machine may set it back, and then it says less; it never says more than
// was durable before. So a shard that ends before what it says has lost what was acknowledged.
type witness struct{ f *os.File }

// A shard's slot: the row's number and a CRC-32C of shard and number. One that does not match says nothing.
const slotSize = 16

const witnessSuffix = ".head"

func openWitness(path string) (witness, error) {
	f, err := os.OpenFile(path+witnessSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	return witness{f}, err
}

func slotSum(shard int, seq int64) uint32 {
	b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(shard)), uint64(seq))
	return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
}

// note says that a row was acknowledged. An error makes it say less, which is harmless.
func (w witness) note(shard int, seq int64) {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, slotSize), uint64(seq))
	b = binary.BigEndian.AppendUint32(b, slotSum(shard, seq))
	_, _ = w.f.WriteAt(b[:slotSize], int64(shard)*slotSize)
}

// of is the last row of a shard that it knows to be acknowledged, or 0.
func (w witness) of(shard int) int64 {
	var b [slotSize]byte
	if _, err := w.f.ReadAt(b[:], int64(shard)*slotSize); err != nil {
		return 0
	}
	return readSlot(shard, b[:])
}

func readSlot(shard int, b []byte) int64 {
	seq := int64(binary.BigEndian.Uint64(b))
	if seq <= 0 || binary.BigEndian.Uint32(b[8:]) != slotSum(shard, seq) {
		return 0
	}
	return seq
}

func (w witness) close() error {
	if w.f == nil {
		return nil
	}
	return w.f.Close()
}

// lost is the answer where a journal ends before what was acknowledged.
func (s *Store) lost(shard int, head, acknowledged int64) error {
	return &store.CorruptError{What: fmt.Sprintf("journal of shard %d", shard), Err: fmt.Errorf("it ends at row %d, but rows up to %d were acknowledged: "+
		"the database or its WAL was damaged, cut off or exchanged; restore a backup, or delete %s to go on without those rows", head, acknowledged, s.path+witnessSuffix)}
}

// readWitness reads what a witness says of all shards.
func readWitness(path string) (map[int]int64, error) {
	f, err := os.Open(path + witnessSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, (maximumShard+1)*slotSize))
	if err != nil {
		return nil, err
	}
	said := map[int]int64{}
	for shard := 0; (shard+1)*slotSize <= len(b); shard++ {
		if seq := readSlot(shard, b[shard*slotSize:]); seq > 0 {
			said[shard] = seq
		}
	}
	return said, nil
}

// Acknowledged is, of a store opened by OpenSnapshot, the last journal row of each shard that is known to have been acknowledged before the moment it shows.
func (s *Store) Acknowledged() map[int]int64 { return s.said }
