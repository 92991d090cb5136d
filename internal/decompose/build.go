package decompose

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"cloudcrowd.dev/cloudcrowd"
)

// maxWindow bounds the memory that a zstd frame may ask for.
const maxWindow = 128 << 20

// scanner finds the units of one format. feed gets the input's bytes in order and in pieces of any size.
type scanner interface {
	feed(chunk []byte) error
	// finish is called after the last byte. It completes ix except for Data and Bytes.
	finish(ix *Index) error
}

// BuildIndex reads an uploaded input, plain or compressed by gzip or zstd (recognised by its first bytes; several members in one file are
// fine), writes the uncompressed bytes to w and finds the places where it may be cut. The caller sets Data.
//
// maxBytes bounds the uncompressed size (0: no bound); more is TooLarge. Input that is not what the split says is Invalid, with
// the line number. Errors of r and w come back as they are.
func BuildIndex(split *cloudcrowd.Split, r io.Reader, w io.Writer, maxBytes int64) (*Index, error) {
	return build(split, r, w, maxBytes, limits{spacing: markSpacing, marks: MaxMarks, places: MaxPlaces})
}

func build(split *cloudcrowd.Split, r io.Reader, w io.Writer, maxBytes int64, l limits) (*Index, error) {
	scan, err := newScanner(split, l)
	if err != nil {
		return nil, err
	}
	source := &sourceReader{r: r}
	plain, closer, err := decompress(source, split.Input)
	if err != nil {
		return nil, err
	}
	defer closer()
	var (
		ix  Index
		buf = make([]byte, 256<<10)
	)
	for {
		n, err := plain.Read(buf)
		if ix.Bytes += int64(n); maxBytes > 0 && ix.Bytes > maxBytes {
			return nil, cloudcrowd.Errorf(cloudcrowd.TooLarge, "input %q is more than %s uncompressed", split.Input, cloudcrowd.Bytes(maxBytes)).
				WithHint("split it into several files, or raise the server's limit")
		}
		if n > 0 {
			if err := scan.feed(buf[:n]); err != nil {
				return nil, err
			}
			if _, err := w.Write(buf[:n]); err != nil {
				return nil, err
			}
		}
		switch {
		case err == io.EOF:
			if ix.Bytes == 0 {
				return nil, malformed(split.Input, 0, "the file is empty")
			}
			if err := scan.finish(&ix); err != nil {
				return nil, err
			}
			return &ix, nil
		case source.err != nil:
			return nil, source.err
		case err != nil:
			return nil, damaged(split.Input, err)
		}
	}
}

func newScanner(split *cloudcrowd.Split, l limits) (scanner, error) {
	switch split.Kind {
	case cloudcrowd.SplitLines:
		return &lineScanner{split: split, marker: newMarker(split, l)}, nil
	case cloudcrowd.SplitNDJSON:
		return &ndjsonScanner{split: split, marker: newMarker(split, l), line: 1}, nil
	case cloudcrowd.SplitCSV:
		return newCSVScanner(split, l, ','), nil
	case cloudcrowd.SplitTSV:
		return newCSVScanner(split, l, '\t'), nil
	case cloudcrowd.SplitFASTQ:
		return &fastqScanner{split: split, marker: newMarker(split, l), line: 1}, nil
	case cloudcrowd.SplitFASTA:
		return newFASTAScanner(split, l), nil
	case cloudcrowd.SplitProgram:
		return &listScanner{stage: split.Stage, line: 1}, nil
	}
	return nil, cloudcrowd.Errorf(cloudcrowd.Internal, "split %q has no index", split.Kind)
}

// decompress recognises gzip and zstd by their first bytes.
func decompress(r io.Reader, input string) (io.Reader, func(), error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	head, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b:
		unzip, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, nil, damaged(input, err)
		}
		return unzip, func() {}, nil
	case len(head) == 4 && head[1] == 0xb5 && head[2] == 0x2f && head[3] == 0xfd && head[0] == 0x28,
		len(head) == 4 && head[0]&0xf0 == 0x50 && head[1] == 0x2a && head[2] == 0x4d && head[3] == 0x18:
		decoder, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, damaged(input, err)
		}
		return decoder, decoder.Close, nil
	}
	return buffered, func() {}, nil
}

// sourceReader remembers the error of what it reads, so that a failing disk is told from a damaged upload.
type sourceReader struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// damaged says that compressed bytes cannot be read.
func damaged(input string, err error) error {
	return &cloudcrowd.Error{Code: cloudcrowd.Invalid, Msg: fmt.Sprintf("input %q: its compressed bytes are damaged or cut short", input),
		Hint: "compress and upload the file again", Err: err}
}

// malformed says that an input is not in the format its split names. Line 0 means the whole file.
func malformed(input string, line int64, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if line == 0 {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "input %q: %s", input, what)
	}
	return cloudcrowd.Errorf(cloudcrowd.Invalid, "input %q, line %d: %s", input, line, what)
}

// shown cuts text for a message.
func shown(text []byte) string {
	if len(text) > 40 {
		return fmt.Sprintf("%q…", text[:40])
	}
	return fmt.Sprintf("%q", text)
}
