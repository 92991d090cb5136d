package wire

import (
	"encoding/binary"
	"hash/crc32"
)

// DirectHeader is a request's header by which a worker says that it can read a blob where the server's answer sends it, and verify it there. Without
// it no worker is sent elsewhere: one that pins the server's certificate could not follow.
const DirectHeader = "Cloudcrowd-Direct"

// MaxDirect bounds the Direct a worker reads: the sums of 32 GiB, as they are sent.
const MaxDirect = 4 << 20

// Direct is the body of an answer 307 to a worker that asked for a blob: how to verify what it reads at the answer's Location. A whole blob is compared
// with its digest, and the fields are empty. Of a part, the worker reads all blocks it touches and verifies each.
type Direct struct {
	BlockBytes int64  `json:"block_bytes,omitempty"`
	SizeBytes  int64  `json:"size_bytes,omitempty"` // of the whole blob
	CRC32C     []byte `json:"crc32c,omitempty"`     // of each block touched, in order, 4 bytes each, big-endian
}

// NewDirect makes the answer for blocks with these sums.
func NewDirect(blockBytes, sizeBytes int64, blocks []uint32) Direct {
	d := Direct{BlockBytes: blockBytes, SizeBytes: sizeBytes}
	for _, c := range blocks {
		d.CRC32C = binary.BigEndian.AppendUint32(d.CRC32C, c)
	}
	return d
}

// maxBlock is the largest block a worker verifies.
const maxBlock = 16 << 20

// Span returns the bytes [from, to) that are to be read to have length bytes from off, and false if the answer does not cover them.
func (d Direct) Span(off, length int64) (from, to int64, ok bool) {
	if d.BlockBytes <= 0 || d.BlockBytes > maxBlock || off < 0 || length <= 0 || length > d.SizeBytes || off > d.SizeBytes-length {
		return 0, 0, false
	}
	first, end := off/d.BlockBytes, (off+length+d.BlockBytes-1)/d.BlockBytes
	return first * d.BlockBytes, min(end*d.BlockBytes, d.SizeBytes), int64(len(d.CRC32C)) == 4*(end-first)
}

// Block returns the sum of the i-th block that was read.
func (d Direct) Block(i int64) uint32 { return binary.BigEndian.Uint32(d.CRC32C[4*i:]) }

// SumOf is the sum of a block.
func SumOf(block []byte) uint32 { return crc32.Checksum(block, castagnoli) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
