package wasm

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"

	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
)

// maxFrameBytes bounds what either side accepts from the other.
const maxFrameBytes = 1 << 30

// protocol names this version of the frames.
const protocol = "cloudcrowd sandbox 1"

// bind is the first frame to a child: what it is for and what it may touch.
type bind struct {
	Compile   bool   // compile into Cache and end
	Module    []byte // the program
	Cache     string // folder of compiled code of this module; "" for none
	Dir       string // the child's own folder, holding in, out, tmp and spool; "" when compiling
	DataBytes int64  // most private memory of the whole process
}

// ready answers bind.
type ready struct {
	Protocol string   // protocol, or the other side is no sandbox child of this version
	Walls    []string // what stands between the program and the host, in words
	BadCache bool     // the compiled code could not be used or stored
	Refused  string   // the module does not compile, and why
	Failed   string   // the child could not do its work, and why
}

// run starts one attempt in a bound child. Its In and Out lie at Dir/in/a and Dir/out/a.
type run struct {
	Args, Env []string
	Stdin     []byte
	HasIn     bool
	Seed      uint64
	Limits    sandbox.Limits
}

// started says that loading is over and the time of the attempt begins.
type started struct {
	CPUSeconds float64 // of the child so far
}

// done is the end of an attempt.
type done struct {
	Status         sandbox.Status
	ExitCode       int
	Reason         string
	Stdout, Stderr []byte
	Usage          sandbox.Usage
}

// pipe sends and receives frames: four bytes of length, little-endian, then CBOR.
type pipe struct {
	r *bufio.Reader
	w io.Writer
}

func newPipe(r io.Reader, w io.Writer) *pipe { return &pipe{bufio.NewReaderSize(r, 4096), w} }

func (p *pipe) send(message any) error {
	body, err := cbor.Marshal(message)
	if err != nil {
		return err
	}
	if len(body) > maxFrameBytes {
		return fmt.Errorf("a frame of %d bytes is too large", len(body))
	}
	frame := make([]byte, 4, 4+len(body))
	binary.LittleEndian.PutUint32(frame, uint32(len(body)))
	_, err = p.w.Write(append(frame, body...))
	return err
}

func (p *pipe) receive(message any, limit int) error {
	var head [4]byte
	if _, err := io.ReadFull(p.r, head[:]); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if int64(n) > int64(limit) {
		return fmt.Errorf("a frame of %d bytes is too large", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(p.r, body); err != nil {
		return err
	}
	return cbor.Unmarshal(body, message)
}
