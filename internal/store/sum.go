package store

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Sum is the CRC-32C of a journal row: its shard, every field and the bytes. Stored beside the row and compared whenever it is read.
func (r Row) Sum(shard int) uint32 {
	var b [40]byte
	for i, v := range [5]int64{int64(shard), r.Seq, r.Epoch, int64(r.At), int64(r.Count)} {
		binary.BigEndian.PutUint64(b[8*i:], uint64(v))
	}
	return crc32.Update(crc32.Checksum(b[:], castagnoli), castagnoli, r.Events)
}

// SnapshotSum is the CRC-32C of a snapshot, its shard and its sequence.
func SnapshotSum(shard int, seq int64, state []byte) uint32 {
	return Row{Seq: seq, Events: state}.Sum(shard)
}
