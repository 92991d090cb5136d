package bucket

import (
	"context"
	"net/http"
	"time"

	gcblob "gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/blob/sums"
)

// Sign implements blob.Signer. S3 signs always, Google Cloud Storage with a service account, Azure with the account's key. A blob of a single block
// and one that is known to be damaged are not worth it.
func (s *Store) Sign(ctx context.Context, d cloudcrowd.Digest, off, length int64, ttl time.Duration) (blob.Direct, error) {
	if err := begin(ctx, d); err != nil {
		return blob.Direct{}, err
	}
	if s.unsigns.Load() || s.isDamaged(d) {
		return blob.Direct{}, nil
	}
	direct := blob.Direct{BlockBytes: sums.BlockBytes}
	if off != 0 || length >= 0 {
		v, ok := s.known.get(d)
		if !ok {
			size, err := s.Stat(ctx, d)
			if err != nil || size <= sums.BlockBytes {
				return blob.Direct{}, err
			}
			if v, err = s.sumsOf(ctx, d); err != nil {
				return blob.Direct{}, err
			}
		}
		end, err := blob.Span(v.SizeBytes, off, length)
		if err != nil || end == off {
			return blob.Direct{}, err
		}
		direct.SizeBytes = v.SizeBytes
		direct.Blocks = v.Blocks[off/sums.BlockBytes : (end+sums.BlockBytes-1)/sums.BlockBytes]
	}
	var err error
	direct.URL, err = s.bucket.SignedURL(ctx, s.key(d), &gcblob.SignedURLOptions{Method: http.MethodGet, Expiry: ttl})
	if gcerrors.Code(err) == gcerrors.Unimplemented {
		s.unsigns.Store(true)
		return blob.Direct{}, nil
	}
	if err != nil {
		return blob.Direct{}, s.explain(ctx, "", err)
	}
	return direct, nil
}
