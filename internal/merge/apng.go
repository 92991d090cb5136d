package merge

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"io"

	"cloudcrowd.dev/cloudcrowd"
)

// framesPerSecond of the animations that a frames merge makes.
const framesPerSecond = 24

const pngSignature = "\x89PNG\r\n\x1a\n"

// pngHead is what all frames of an animated PNG must share: size, depth and colour type, and the palette.
type pngHead struct {
	header  [13]byte
	palette [32]byte // SHA-256 of the PLTE and tRNS chunks
}

func (h pngHead) size() (w, height uint32) {
	return binary.BigEndian.Uint32(h.header[:]), binary.BigEndian.Uint32(h.header[4:])
}

// animate writes an animated PNG (APNG 1.0). Frames that share a head are copied without being decoded; otherwise every frame is encoded again
// with an alpha channel. Frames of unequal size make no animation.
func (r *run) animate(frames []frame) error {
	var first pngHead
	same := true
	for i, f := range frames {
		var head pngHead
		err := r.open(f.file, func(in io.Reader) (err error) {
			head, err = readHead(in)
			return pngFault(f, err)
		})
		if err != nil {
			return err
		}
		if i == 0 {
			first = head
		}
		same = same && head == first
		w, h := head.size()
		if fw, fh := first.size(); w != fw || h != fh {
			return nil
		}
	}
	if w, h := first.size(); !same && uint64(w)*uint64(h) > maxPixels/2 {
		return cloudcrowd.Errorf(cloudcrowd.TooLarge, "frames of more than %d million pixels must all be of one colour type to be animated", maxPixels>>21)
	}
	return r.create(animationName, func(out io.Writer) error {
		w := &apngWriter{w: bufio.NewWriterSize(out, 64<<10), frames: uint32(len(frames))}
		w.raw([]byte(pngSignature))
		for _, f := range frames {
			err := r.open(f.file, func(in io.Reader) error {
				if same {
					return pngFault(f, w.frame(in))
				}
				again, err := encodeAgain(in)
				if err != nil {
					return pngFault(f, err)
				}
				return w.frame(again)
			})
			if err != nil {
				return err
			}
		}
		w.chunk("IEND", nil)
		if w.err == nil {
			w.err = w.w.Flush()
		}
		return w.err
	})
}

// errNotPNG is what is wrong with a frame.
var errNotPNG = errors.New("its chunks are broken")

// pngFault names the task of a broken frame.
func pngFault(f frame, err error) error {
	if errors.Is(err, errNotPNG) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return wrong(f.part, f.file.Path, "not a PNG: %v", err)
	}
	return err
}

// encodeAgain decodes a picture and encodes it with an alpha channel, 8 bits deep.
func encodeAgain(in io.Reader) (io.Reader, error) {
	picture, err := png.Decode(in)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errNotPNG, err)
	}
	var out bytes.Buffer
	err = png.Encode(&out, withAlpha{picture})
	return &out, err
}

// withAlpha makes the PNG encoder write an alpha channel even if every pixel is opaque.
type withAlpha struct{ image.Image }

// ColorModel implements image.Image.
func (withAlpha) ColorModel() color.Model { return color.NRGBAModel }

// Opaque tells the encoder that alpha is needed.
func (withAlpha) Opaque() bool { return false }

// chunks calls do for every chunk of a PNG up to IEND. body is checked against its sum afterwards.
func chunks(in io.Reader, do func(kind string, length uint32, body io.Reader) error) error {
	r := bufio.NewReaderSize(in, 64<<10)
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	if string(head[:]) != pngSignature {
		return errNotPNG
	}
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		length, kind := binary.BigEndian.Uint32(head[:4]), string(head[4:])
		if length > 1<<31-1 {
			return errNotPNG
		}
		sum := crc32.NewIEEE()
		sum.Write(head[4:])
		body := io.TeeReader(io.LimitReader(r, int64(length)), sum)
		if err := do(kind, length, body); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			return err
		}
		var want [4]byte
		if _, err := io.ReadFull(r, want[:]); err != nil {
			return err
		}
		if sum.Sum32() != binary.BigEndian.Uint32(want[:]) {
			return errNotPNG
		}
		if kind == "IEND" {
			return nil
		}
	}
}

// readHead reads all of a PNG and returns what frames must share. Chunks that must come once and first are checked.
func readHead(in io.Reader) (pngHead, error) {
	var h pngHead
	palette := sha256.New()
	count, data := 0, false
	err := chunks(in, func(kind string, length uint32, body io.Reader) error {
		if count++; (count == 1) != (kind == "IHDR") {
			return errNotPNG
		}
		switch kind {
		case "IHDR":
			if length != 13 {
				return errNotPNG
			}
			_, err := io.ReadFull(body, h.header[:])
			return err
		case "PLTE", "tRNS":
			if length > 768 || data {
				return errNotPNG
			}
			palette.Write([]byte(kind))
			_, err := io.Copy(palette, body)
			return err
		case "IDAT":
			data = true
		}
		return nil
	})
	palette.Sum(h.palette[:0])
	if w, height := h.size(); err == nil && (!data || w == 0 || height == 0) {
		err = errNotPNG
	}
	return h, err
}

// apngWriter writes the chunks of an animated PNG.
type apngWriter struct {
	w        *bufio.Writer
	frames   uint32 // of the whole animation
	written  uint32 // frames begun
	sequence uint32
	err      error
}

func (w *apngWriter) raw(b []byte) {
	if w.err == nil {
		_, w.err = w.w.Write(b)
	}
}

// chunk writes one chunk of the joined parts.
func (w *apngWriter) chunk(kind string, parts ...[]byte) {
	length := 0
	for _, p := range parts {
		length += len(p)
	}
	sum := crc32.NewIEEE()
	sum.Write([]byte(kind))
	w.raw(binary.BigEndian.AppendUint32(nil, uint32(length)))
	w.raw([]byte(kind))
	for _, p := range parts {
		sum.Write(p)
		w.raw(p)
	}
	w.raw(binary.BigEndian.AppendUint32(nil, sum.Sum32()))
}

// next returns the next sequence number.
func (w *apngWriter) next() []byte {
	b := binary.BigEndian.AppendUint32(nil, w.sequence)
	w.sequence++
	return b
}

// frame copies the picture data of a PNG as the next frame. The first one brings header and palette and is the default picture.
func (w *apngWriter) frame(in io.Reader) error {
	var header [13]byte
	begun := false
	buf := make([]byte, 64<<10)
	err := chunks(in, func(kind string, length uint32, body io.Reader) error {
		switch kind {
		case "IHDR":
			if _, err := io.ReadFull(body, header[:]); err != nil {
				return err
			}
			if w.written == 0 {
				w.chunk("IHDR", header[:])
				w.chunk("acTL", binary.BigEndian.AppendUint32(nil, w.frames), make([]byte, 4)) // plays for ever
			}
		case "PLTE", "tRNS":
			if w.written == 0 && length <= 768 {
				data, err := io.ReadAll(body)
				if err != nil {
					return err
				}
				w.chunk(kind, data)
			}
		case "IDAT":
			if !begun {
				begun = true
				delay := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, 1), framesPerSecond)
				w.chunk("fcTL", w.next(), header[:8], make([]byte, 8), delay, make([]byte, 2)) // whole canvas, drawn over the one before
			}
			for {
				n, err := io.ReadFull(body, buf)
				if n > 0 && w.written == 0 {
					w.chunk("IDAT", buf[:n])
				} else if n > 0 {
					w.chunk("fdAT", w.next(), buf[:n])
				}
				if err == io.EOF || err == io.ErrUnexpectedEOF {
					return nil
				}
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	w.written++
	if err == nil {
		err = w.err
	}
	return err
}
