package file

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"os"

	"cloudcrowd.dev/cloudcrowd"
)

const (
	blockSize  = 64 << 10
	sumsSuffix = ".sum"
	sumsMagic  = "CCSUMS1\n"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sums are the CRC-32C of a blob's blocks. As a file: magic, digest, size, the sums, and a CRC-32C of all that, big-endian.
type sums struct {
	size   int64
	blocks []uint32
}

func (v sums) encode(d cloudcrowd.Digest) []byte {
	b := make([]byte, 0, len(sumsMagic)+len(d)+8+4*len(v.blocks)+4)
	b = append(append(b, sumsMagic...), d...)
	b = binary.BigEndian.AppendUint64(b, uint64(v.size))
	for _, c := range v.blocks {
		b = binary.BigEndian.AppendUint32(b, c)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

var errSums = errors.New("the sums are damaged")

func decodeSums(d cloudcrowd.Digest, b []byte) (v sums, err error) {
	head := sumsMagic + string(d)
	if len(b) < len(head)+12 || !bytes.HasPrefix(b, []byte(head)) {
		return v, errSums
	}
	body, tail := b[:len(b)-4], b[len(b)-4:]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(tail) {
		return v, errSums
	}
	body = body[len(head):]
	v.size = int64(binary.BigEndian.Uint64(body))
	body = body[8:]
	if int64(len(body)) != 4*((v.size+blockSize-1)/blockSize) {
		return v, errSums
	}
	for ; len(body) > 0; body = body[4:] {
		v.blocks = append(v.blocks, binary.BigEndian.Uint32(body))
	}
	return v, nil
}

// summer computes digest and sums of bytes as they come.
type summer struct {
	sha  hash.Hash
	sums sums
	part uint32 // of the unfinished block
}

func newSummer() *summer { return &summer{sha: sha256.New()} }

func (m *summer) Write(p []byte) (int, error) {
	n := len(p)
	m.sha.Write(p)
	for len(p) > 0 {
		take := min(len(p), blockSize-int(m.sums.size%blockSize))
		m.part = crc32.Update(m.part, castagnoli, p[:take])
		m.sums.size += int64(take)
		if m.sums.size%blockSize == 0 {
			m.sums.blocks = append(m.sums.blocks, m.part)
			m.part = 0
		}
		p = p[take:]
	}
	return n, nil
}

// finish returns what the bytes so far amount to. It is called once, at the end.
func (m *summer) finish() (cloudcrowd.Digest, sums) {
	if m.sums.size%blockSize != 0 {
		m.sums.blocks = append(m.sums.blocks, m.part)
	}
	return cloudcrowd.Digest(hex.EncodeToString(m.sha.Sum(nil))), m.sums
}

// sumsOf returns a blob's sums from their file, or from the blob itself if that matches its digest.
func (s *Store) sumsOf(d cloudcrowd.Digest, f *os.File) (sums, error) {
	if b, err := os.ReadFile(s.path(d) + sumsSuffix); err == nil {
		if v, err := decodeSums(d, b); err == nil {
			return v, nil
		}
	}
	m := newSummer()
	if _, err := io.Copy(m, io.NewSectionReader(f, 0, 1<<62)); err != nil {
		return sums{}, s.explain(d, err)
	}
	have, v := m.finish()
	if have != d {
		return v, s.corrupt(d, "its bytes have the digest %s", have)
	}
	_ = s.writeSums(d, v) // without them the next reader reads it all again
	return v, nil
}

// writeSums puts a blob's sums beside it.
func (s *Store) writeSums(d cloudcrowd.Digest, v sums) error {
	if s.reading {
		return nil // they are made anew by the process that owns the directory
	}
	f, err := s.temporary()
	if err != nil {
		return err
	}
	_, err = f.Write(v.encode(d))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), s.path(d)+sumsSuffix)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
