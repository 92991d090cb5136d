package wire

import (
	"sync"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"cloudcrowd.dev/cloudcrowd"
)

// How the rest of a frame is packed: its first byte.
const (
	plainFrame = 0
	zstdFrame  = 1
)

// packFrom is the size from which compression is tried: below it, it costs more time than it saves bytes.
const packFrom = 4 << 10

// The codecs are stateless between calls (EncodeAll, DecodeAll) and safe for concurrent use; building one takes a millisecond, so they are built once.
var (
	packer = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2),
			zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
		if err != nil {
			panic(err) // only wrong options fail
		}
		return e
	})
	unpacker = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(MaxPlain), zstd.WithDecoderLowmem(true))
		if err != nil {
			panic(err) // only wrong options fail
		}
		return d
	})
)

var marshal = proto.MarshalOptions{Deterministic: true}

// pack makes a frame of a message.
func pack(m proto.Message) ([]byte, error) {
	size := marshal.Size(m)
	if size > MaxPlain {
		return nil, tooLarge(size)
	}
	frame, err := marshal.MarshalAppend(append(make([]byte, 0, size+1), plainFrame), m)
	if err != nil {
		return nil, &cloudcrowd.Error{Code: cloudcrowd.Invalid, Msg: "the message cannot be encoded", Err: err}
	}
	if len(frame) > packFrom {
		packed := packer().EncodeAll(frame[1:], append(make([]byte, 0, len(frame)), zstdFrame))
		if len(packed) < len(frame) {
			frame = packed
		}
	}
	if len(frame) > MaxFrame {
		return nil, tooLarge(len(frame))
	}
	return frame, nil
}

func tooLarge(size int) error {
	return cloudcrowd.Errorf(cloudcrowd.TooLarge, "the message takes %s; a frame holds %s, and %s unpacked",
		cloudcrowd.Bytes(int64(size)), cloudcrowd.Bytes(MaxFrame), cloudcrowd.Bytes(MaxPlain))
}

// unpack reads a frame into m.
func unpack(frame []byte, m proto.Message) error {
	if len(frame) == 0 {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "the frame is empty")
	}
	if len(frame) > MaxFrame {
		return tooLarge(len(frame))
	}
	body := frame[1:]
	switch frame[0] {
	case plainFrame:
	case zstdFrame:
		plain, err := unpacker().DecodeAll(body, nil)
		if err != nil {
			return &cloudcrowd.Error{Code: cloudcrowd.Invalid, Msg: "the frame cannot be decompressed", Err: err}
		}
		if len(plain) > MaxPlain {
			return tooLarge(len(plain))
		}
		body = plain
	default:
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "the frame's first byte is %d; 0 and 1 are known", frame[0])
	}
	if len(body) > scanFrom {
		budget := maxNested
		if err := scan(m.ProtoReflect().Descriptor(), body, &budget); err != nil {
			return err
		}
	}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: 8}).Unmarshal(body, m); err != nil {
		return &cloudcrowd.Error{Code: cloudcrowd.Invalid, Msg: "the frame is not a message of this protocol", Err: err}
	}
	return nil
}
