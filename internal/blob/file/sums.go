package file

import (
	"errors"
	"io"
	"os"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob/sums"
)

const blockSize = sums.BlockBytes

// sumsOf returns a blob's sums from their file, or from the blob itself if that matches its digest.
func (s *Store) sumsOf(d cloudcrowd.Digest, f *os.File) (sums.Sums, error) {
	if b, err := os.ReadFile(s.path(d) + sums.Suffix); err == nil {
		if v, err := sums.Decode(d, b); err == nil {
			return v, nil
		}
	}
	m := sums.New()
	if _, err := io.Copy(m, io.NewSectionReader(f, 0, 1<<62)); err != nil {
		return sums.Sums{}, s.explain(d, err)
	}
	have, v := m.Finish()
	if have != d {
		return v, s.corrupt(d, "its bytes have the digest %s", have)
	}
	_ = s.writeSums(d, v) // without them the next reader reads it all again
	return v, nil
}

// writeSums puts a blob's sums beside it.
func (s *Store) writeSums(d cloudcrowd.Digest, v sums.Sums) error {
	if s.reading {
		return nil // they are made anew by the process that owns the directory
	}
	f, err := s.temporary()
	if err != nil {
		return err
	}
	_, err = f.Write(v.Encode(d))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), s.path(d)+sums.Suffix)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
