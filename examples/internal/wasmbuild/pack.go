package wasmbuild

import (
	"errors"

	"github.com/klauspost/compress/zstd"
)

// Base is the example whose module the others are packed against. All hold the runtime and most of the library of Go,
// so as differences to one they take a third of the room.
const Base = "logs"

// dictionary numbers the base module in the packed files.
const dictionary = 1

// maxModule bounds what a packed module may unpack to, in bytes.
const maxModule = 64 << 20

// Pack compresses a module. The base is the unpacked module of Base, or nil to pack that one itself.
func Pack(module, base []byte) ([]byte, error) {
	options := []zstd.EOption{zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(16 << 20)}
	if base != nil {
		options = append(options, zstd.WithEncoderDictRaw(dictionary, base))
	}
	w, err := zstd.NewWriter(nil, options...)
	if err != nil {
		return nil, err
	}
	return w.EncodeAll(module, nil), w.Close()
}

// Unpack undoes Pack.
func Unpack(packed, base []byte) ([]byte, error) {
	options := []zstd.DOption{zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxModule)}
	if base != nil {
		options = append(options, zstd.WithDecoderDictRaw(dictionary, base))
	}
	r, err := zstd.NewReader(nil, options...)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	module, err := r.DecodeAll(packed, nil)
	if err == nil && len(module) == 0 {
		err = errors.New("empty module")
	}
	return module, err
}
