package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"strings"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Seen is how far journals had come: the last row by shard.
type Seen map[int]int64

// String is the form in which it is stored: "0:17 3:4", by shard; "" for nothing.
func (s Seen) String() string {
	var b []byte
	for _, shard := range slices.Sorted(maps.Keys(s)) {
		if len(b) > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(append(strconv.AppendInt(b, int64(shard), 10), ':'), s[shard], 10)
	}
	return string(b)
}

// ParseSeen reads what String wrote.
func ParseSeen(text string) (Seen, error) {
	if text == "" {
		return nil, nil
	}
	s := Seen{}
	for part := range strings.SplitSeq(text, " ") {
		a, b, _ := strings.Cut(part, ":")
		shard, err := strconv.Atoi(a)
		seq, err2 := strconv.ParseInt(b, 10, 64)
		if err != nil || err2 != nil {
			return nil, fmt.Errorf("%q does not say how far journals had come", text)
		}
		s[shard] = seq
	}
	return s, nil
}

// Sum is the CRC-32C of a journal row: its shard, every field and the bytes. Stored beside the row and compared whenever it is read.
func (r Row) Sum(shard int) uint32 {
	var b [40]byte
	for i, v := range [5]int64{int64(shard), r.Seq, r.Epoch, int64(r.At), int64(r.Count)} {
		binary.BigEndian.PutUint64(b[8*i:], uint64(v))
	}
	return crc32.Update(crc32.Update(crc32.Checksum(b[:], castagnoli), castagnoli, r.Events), castagnoli, []byte(r.Seen.String()))
}

// SnapshotSum is the CRC-32C of a snapshot, its shard and its sequence.
func SnapshotSum(shard int, seq int64, state []byte) uint32 {
	return Row{Seq: seq, Events: state}.Sum(shard)
}
