package blob

import (
	"context"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// Signer is what a Store also is when its blobs can be read without going through the process that opened it.
type Signer interface {
	// Sign tells how to read length bytes from off, a negative length meaning to the end, during ttl. The zero Direct means that this blob is to be
	// read by Open. It need not find out whether the blob is there and undamaged: the reader verifies what it gets.
	Sign(ctx context.Context, d cloudcrowd.Digest, off, length int64, ttl time.Duration) (Direct, error)
}

// Direct says where a span of a blob is and how to verify it.
type Direct struct {
	URL string // answers GET, also with Range, without any further header; a secret while it is good
	// Of a part of a blob: CRC-32C of each block of BlockBytes the span touches, in order. A whole blob is verified by its digest.
	Blocks     []uint32
	BlockBytes int64
	SizeBytes  int64 // of the whole blob
}
