package merge

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"cloudcrowd.dev/cloudcrowd"
)

// json writes one array: the elements of the tasks' arrays, any other value as one element.
func (r *run) json() error {
	name, err := r.name()
	if err != nil {
		return err
	}
	return r.create(name, func(out io.Writer) error {
		w := bufio.NewWriterSize(out, 64<<10)
		elements := 0
		var line bytes.Buffer
		put := func(element json.RawMessage) error {
			line.Reset()
			if err := json.Compact(&line, element); err != nil {
				return err
			}
			if elements++; elements > 1 {
				w.WriteByte(',')
			}
			w.WriteByte('\n')
			_, err := w.Write(line.Bytes())
			return err
		}
		w.WriteByte('[')
		if err := r.each(func(p Part, name string, in io.Reader) error { return jsonElements(p, name, in, put) }); err != nil {
			return err
		}
		if elements > 0 {
			w.WriteByte('\n')
		}
		w.WriteString("]\n")
		return w.Flush()
	})
}

// jsonElements calls put with every element of the array in a file, or with the one other value in it.
func jsonElements(p Part, name string, in io.Reader, put func(json.RawMessage) error) error {
	limited := &budget{r: in, n: maxRecord}
	buffered := bufio.NewReader(limited)
	first, err := firstByte(buffered)
	if err != nil {
		return jsonFault(p, name, err)
	}
	dec := json.NewDecoder(buffered)
	array := first == '['
	if array {
		if _, err := dec.Token(); err != nil {
			return jsonFault(p, name, err)
		}
	}
	for !array || dec.More() {
		limited.n = maxRecord
		var element json.RawMessage
		if err := dec.Decode(&element); err != nil {
			return jsonFault(p, name, err)
		}
		if err := put(element); err != nil {
			return err
		}
		if !array {
			break
		}
	}
	limited.n = maxRecord
	if array {
		if _, err := dec.Token(); err != nil {
			return jsonFault(p, name, err)
		}
	}
	if _, err := dec.Token(); err != io.EOF {
		return wrong(p, name, "there is more behind its JSON value")
	}
	return nil
}

// firstByte looks at the first byte that is not white space.
func firstByte(r *bufio.Reader) (byte, error) {
	for {
		c, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		}
		return c, r.UnreadByte()
	}
}

func jsonFault(p Part, name string, err error) error {
	switch {
	case errors.Is(err, errTooLong):
		return fault(cloudcrowd.TooLarge, p, name, "a JSON element is longer than %s", cloudcrowd.Bytes(maxRecord))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return wrong(p, name, "not JSON: it ends too early")
	}
	return wrong(p, name, "not JSON: %v", err)
}
