// Package sums keeps a CRC-32C of each 64 KiB of a blob, so that a range of it can be verified without reading the rest. Stores that cannot trust
// what holds their bytes keep the sums beside the blob.
package sums

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"hash/crc32"

	"cloudcrowd.dev/cloudcrowd"
)

// BlockBytes is the size of all blocks but the last. A blob of one block needs no sums: it is compared with its digest.
const BlockBytes = 64 << 10

// Suffix is what the name of the sums has more than the name of their blob.
const Suffix = ".sum"

const magic = "CCSUMS1\n"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Of returns the sum of one block.
func Of(block []byte) uint32 { return crc32.Checksum(block, castagnoli) }

// Sums are those of a blob.
type Sums struct {
	SizeBytes int64    // of the blob
	Blocks    []uint32 // CRC-32C of each block, in order
}

// Encode writes the sums of blob d: magic, digest, size, the sums, and a CRC-32C of all that, big-endian.
func (v Sums) Encode(d cloudcrowd.Digest) []byte {
	b := make([]byte, 0, EncodedBytes(v.SizeBytes))
	b = append(append(b, magic...), d...)
	b = binary.BigEndian.AppendUint64(b, uint64(v.SizeBytes))
	for _, c := range v.Blocks {
		b = binary.BigEndian.AppendUint32(b, c)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// EncodedBytes is the length of the encoded sums of a blob of so many bytes.
func EncodedBytes(size int64) int64 {
	return int64(len(magic)) + 2*sha256.Size + 8 + 4*blocks(size) + 4
}

func blocks(size int64) int64 { return (size + BlockBytes - 1) / BlockBytes }

// ErrDamaged is the answer to sums that are not those of the blob, or not whole.
var ErrDamaged = errors.New("the sums are damaged")

// Decode reads the sums of blob d: ErrDamaged unless they are whole and its own.
func Decode(d cloudcrowd.Digest, b []byte) (v Sums, err error) {
	head := magic + string(d)
	if len(b) < len(head)+12 || !bytes.HasPrefix(b, []byte(head)) {
		return v, ErrDamaged
	}
	body, tail := b[:len(b)-4], b[len(b)-4:]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(tail) {
		return v, ErrDamaged
	}
	body = body[len(head):]
	v.SizeBytes = int64(binary.BigEndian.Uint64(body))
	body = body[8:]
	if v.SizeBytes < 0 || int64(len(body)) != 4*blocks(v.SizeBytes) {
		return Sums{}, ErrDamaged
	}
	v.Blocks = make([]uint32, 0, len(body)/4)
	for ; len(body) > 0; body = body[4:] {
		v.Blocks = append(v.Blocks, binary.BigEndian.Uint32(body))
	}
	return v, nil
}

// Summer computes digest and sums of bytes as they come.
type Summer struct {
	sha  hash.Hash
	sums Sums
	part uint32 // of the unfinished block
}

// New returns a Summer that has seen nothing.
func New() *Summer { return &Summer{sha: sha256.New()} }

// Write takes the next bytes; it never fails.
func (m *Summer) Write(p []byte) (int, error) {
	n := len(p)
	m.sha.Write(p)
	for len(p) > 0 {
		take := min(len(p), BlockBytes-int(m.sums.SizeBytes%BlockBytes))
		m.part = crc32.Update(m.part, castagnoli, p[:take])
		m.sums.SizeBytes += int64(take)
		if m.sums.SizeBytes%BlockBytes == 0 {
			m.sums.Blocks = append(m.sums.Blocks, m.part)
			m.part = 0
		}
		p = p[take:]
	}
	return n, nil
}

// Size is the number of bytes so far.
func (m *Summer) Size() int64 { return m.sums.SizeBytes }

// Finish returns what the bytes amount to. It is called once, at the end.
func (m *Summer) Finish() (cloudcrowd.Digest, Sums) {
	if m.sums.SizeBytes%BlockBytes != 0 {
		m.sums.Blocks = append(m.sums.Blocks, m.part)
	}
	return cloudcrowd.Digest(hex.EncodeToString(m.sha.Sum(nil))), m.sums
}
