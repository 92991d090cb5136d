package api

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

const (
	// directTTL is how long an address of the bucket is good: enough to begin reading.
	directTTL = 5 * time.Minute
	// directLeast is how many bytes are worth sending a worker elsewhere.
	directLeast = 64<<10 + 1
	// directMost keeps the sums of a range within what a worker reads.
	directMost = 32 << 30
)

// sendElsewhere answers a worker's request for a blob of size bytes with the address where it can read it itself, and reports whether it did. Where that
// is not possible, or not worth it, the server gives the bytes.
func (h *Handler) sendElsewhere(w http.ResponseWriter, r *http.Request, d cloudcrowd.Digest, size int64) bool {
	signer, ok := h.Blobs.(blob.Signer)
	if !ok || h.Indirect || r.Method != http.MethodGet || r.Header.Get(wire.DirectHeader) == "" {
		return false
	}
	off, length, ok := spanAsked(r.Header.Get("Range"), size)
	if !ok || length < directLeast || length > directMost {
		return false
	}
	whole := r.Header.Get("Range") == ""
	if whole {
		length = -1
	}
	direct, err := signer.Sign(r.Context(), d, off, length, directTTL)
	if err != nil {
		h.Log.WarnContext(r.Context(), "no address of a blob could be signed; the server gives it itself", "blob", string(d), "err", err)
		return false
	}
	if direct.URL == "" {
		return false
	}
	answer := wire.Direct{}
	if !whole {
		answer = wire.NewDirect(direct.BlockBytes, direct.SizeBytes, direct.Blocks)
	}
	w.Header().Set("Location", direct.URL) // a secret: it is not logged
	w.Header().Set("Cache-Control", "no-store")
	_ = writeJSON(w, http.StatusTemporaryRedirect, answer) // the worker notices what is cut
	return true
}

// spanAsked understands the ranges that workers ask for, bytes=A-B within the blob, and none, which is all of it.
func spanAsked(header string, size int64) (off, length int64, ok bool) {
	if header == "" {
		return 0, size, true
	}
	text, isBytes := strings.CutPrefix(header, "bytes=")
	a, b, isSpan := strings.Cut(text, "-")
	from, err1 := strconv.ParseInt(a, 10, 64)
	to, err2 := strconv.ParseInt(b, 10, 64)
	if !isBytes || !isSpan || err1 != nil || err2 != nil || from < 0 || to < from || to >= size {
		return 0, 0, false
	}
	return from, to - from + 1, true
}
