package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/internal/authz"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
)

const blobPath = "/v1/blobs/"

func (h *Handler) blobRoutes() {
	h.raw("GET /v1/blobs/{digest}", h.getBlob) // and HEAD
	h.raw("PUT /v1/blobs/{digest}", h.putBlob)
}

func digestOf(r *http.Request) (cloudcrowd.Digest, error) {
	d := cloudcrowd.Digest(r.PathValue("digest"))
	if !d.Valid() {
		return "", cloudcrowd.Fieldf("digest", "%.80q is not a digest: 64 lower-case hexadecimal characters", d)
	}
	return d, nil
}

func (h *Handler) getBlob(w http.ResponseWriter, r *http.Request) error {
	d, err := digestOf(r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	grant, isWorker := strings.CutPrefix(r.Header.Get("Authorization"), grantScheme)
	if isWorker {
		err = h.Signer.CheckRead(strings.TrimSpace(grant), d, h.Now())
	} else {
		err = h.mayReadBlob(ctx, authz.FromContext(ctx), d, cloudcrowd.JobID(r.URL.Query().Get("job")), r.URL.Query().Get("task"))
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	if isWorker {
		size, err := h.Blobs.Stat(ctx, d)
		if err != nil {
			return hide(err, "blob", string(d))
		}
		if h.sendElsewhere(w, r, d, size) {
			return nil
		}
		return h.serveSized(w, r, d, size)
	}
	return h.serveBlob(w, r, d)
}

// mayReadBlob lets an account read what it uploaded, and what belongs to the job or task it names if that is its own. Everything else is not
// there.
func (h *Handler) mayReadBlob(ctx context.Context, p authz.Principal, d cloudcrowd.Digest, job cloudcrowd.JobID, task string) error {
	if err := p.May(authz.ReadBlob); err != nil || authz.ScopeOf(p.Role, authz.ReadBlob) == authz.All {
		return err
	}
	if has, err := h.uploads.has(ctx, p.Account, d); has || err != nil {
		return err
	}
	if job != "" {
		j, err := h.job(ctx, p, authz.ReadResults, job)
		if err != nil {
			return err
		}
		for _, o := range j.Outputs {
			if o.Digest == d {
				return nil
			}
		}
	}
	if task != "" {
		t, err := h.task(ctx, p, authz.ReadResults, task)
		if err != nil {
			return err
		}
		if taskNames(&t, d) {
			return nil
		}
	}
	return notFound("blob", string(d))
}

// taskNames reports whether a blob is an output or log of the task or of one of its attempts.
func taskNames(t *cloudcrowd.Task, d cloudcrowd.Digest) bool {
	for _, o := range t.Outputs {
		if o.Digest == d {
			return true
		}
	}
	for _, a := range t.Attempts {
		if a.Result == nil {
			continue
		}
		if a.Result.Log == d {
			return true
		}
		for _, o := range a.Result.Outputs {
			if o.Digest == d {
				return true
			}
		}
	}
	return false
}

// serveBlob answers with a blob's bytes: ranges, HEAD and If-None-Match are understood, the ETag is the digest.
func (h *Handler) serveBlob(w http.ResponseWriter, r *http.Request, d cloudcrowd.Digest) error {
	size, err := h.Blobs.Stat(r.Context(), d)
	if err != nil {
		return hide(err, "blob", string(d))
	}
	return h.serveSized(w, r, d, size)
}

func (h *Handler) serveSized(w http.ResponseWriter, r *http.Request, d cloudcrowd.Digest, size int64) error {
	if _, damaged := h.damaged.Load(d); damaged && r.Method == http.MethodHead {
		return notFound("blob", string(d)) // so that whoever has it stores it again, which mends it
	}
	w.Header().Set("ETag", `"`+string(d)+`"`)
	reader := &blobReader{ctx: r.Context(), blobs: h.Blobs, digest: d, size: size}
	defer reader.Close()
	if strings.Contains(r.Header.Get("Range"), ",") {
		r.Header.Del("Range") // of several parts nobody asks here, and net/http makes some without bytes; the whole blob is an answer, too
	}
	late := &lateHeader{ResponseWriter: w}
	http.ServeContent(late, r, "", time.Time{}, reader)
	if reader.err == nil {
		if late.status == http.StatusPartialContent && w.Header().Get("Content-Length") == "0" { // net/http gives out "the last 0 bytes" as a part from 4 to 3
			w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", size))
			late.status = http.StatusRequestedRangeNotSatisfiable
		}
		late.send()
		return nil
	}
	_, damaged := errors.AsType[*blob.CorruptError](reader.err)
	if damaged {
		h.damaged.Store(d, true)
	}
	if late.sent {
		h.Log.ErrorContext(r.Context(), "blob cannot be read", "request", requestID(r.Context()), "blob", string(d), "err", reader.err)
		panic(http.ErrAbortHandler) // the length was promised; a broken connection says that it was not kept
	}
	for _, name := range []string{"Accept-Ranges", "Cache-Control", "Content-Length", "Content-Range", "Content-Type", "Etag"} {
		w.Header().Del(name)
	}
	if damaged {
		return (&cloudcrowd.Error{Code: cloudcrowd.Internal, Msg: fmt.Sprintf("the blob %s is damaged on the server's disk", d), Err: reader.err}).
			WithHint("store it again if you have it, which mends it; `cloudcrowd fsck` names all damaged blobs")
	}
	return reader.err
}

// lateHeader sends the header with the first byte of the body, so that an error before it can still be said.
type lateHeader struct {
	http.ResponseWriter
	status int
	sent   bool
}

// WriteHeader implements http.ResponseWriter.
func (w *lateHeader) WriteHeader(status int) { w.status = status }

// Write implements http.ResponseWriter.
func (w *lateHeader) Write(p []byte) (int, error) {
	w.send()
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *lateHeader) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *lateHeader) send() {
	if !w.sent {
		w.sent = true
		w.ResponseWriter.WriteHeader(max(w.status, http.StatusOK))
	}
}

// blobReader is a blob as an io.ReadSeeker: it opens the store's stream where reading begins.
type blobReader struct {
	ctx    context.Context
	blobs  Blobs
	digest cloudcrowd.Digest
	size   int64
	at     int64
	stream io.ReadCloser
	err    error // of the store
}

// Read implements io.Reader.
func (b *blobReader) Read(p []byte) (int, error) {
	if b.at >= b.size {
		return 0, io.EOF
	}
	if b.stream == nil {
		if b.stream, b.err = b.blobs.Open(b.ctx, b.digest, b.at, b.size-b.at); b.err != nil {
			return 0, b.err
		}
	}
	n, err := b.stream.Read(p)
	b.at += int64(n)
	if err == io.EOF && b.at < b.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// Seek implements io.Seeker.
func (b *blobReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.at
	case io.SeekEnd:
		offset += b.size
	}
	if offset != b.at {
		b.Close()
	}
	b.at = offset
	return offset, nil
}

// Close closes the open stream, if any.
func (b *blobReader) Close() {
	if b.stream != nil {
		b.stream.Close()
		b.stream = nil
	}
}

// hashingReader hashes what is read. The store need not read what it has already; but who uploads must show every byte, for naming a digest is no
// proof of having the bytes.
type hashingReader struct {
	r    io.Reader
	hash hash.Hash
	n    int64
}

// Read implements io.Reader.
func (b *hashingReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.hash.Write(p[:n])
	b.n += int64(n)
	return n, err
}

// proves reads the rest and fails unless all was size bytes of digest d.
func (b *hashingReader) proves(d cloudcrowd.Digest, size int64) error {
	if _, err := io.Copy(io.Discard, b); err != nil {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "the upload broke off: %w", err)
	}
	if b.n != size || hex.EncodeToString(b.hash.Sum(nil)) != string(d) {
		return cloudcrowd.Errorf(cloudcrowd.DigestMismatch, "the bytes sent do not have the digest %s", d)
	}
	return nil
}

func (h *Handler) putBlob(w http.ResponseWriter, r *http.Request) error {
	d, err := digestOf(r)
	if err != nil {
		return err
	}
	size := r.ContentLength
	if size < 0 {
		return cloudcrowd.Fieldf("Content-Length", "the length of the blob must be said beforehand")
	}
	ctx := r.Context()
	var done func() error
	if text, ok := strings.CutPrefix(r.Header.Get("Authorization"), grantScheme); ok {
		grant, err := h.Signer.CheckUpload(strings.TrimSpace(text), h.Now())
		if err != nil {
			return err
		}
		release, err := h.quotas.reserve(grant, d, size)
		if err != nil {
			return err
		}
		defer func() {
			if release != nil {
				release()
			}
		}()
		done = func() error { release = nil; return nil }
	} else {
		p := authz.FromContext(ctx)
		if err := p.May(authz.UploadBlob); err != nil {
			return err
		}
		done = func() error { return h.uploads.add(ctx, p.Account, d) }
	}
	if size > h.Limits.BlobBytes {
		return cloudcrowd.Errorf(cloudcrowd.TooLarge, "%s are more than one blob may have: %s", cloudcrowd.Bytes(size), cloudcrowd.Bytes(h.Limits.BlobBytes))
	}
	body := &hashingReader{r: r.Body, hash: sha256.New()}
	if err := h.Blobs.Put(ctx, d, size, body); err != nil {
		return err
	}
	if err := body.proves(d, size); err != nil {
		return err
	}
	if err := done(); err != nil {
		return err
	}
	h.damaged.Delete(d)
	w.Header().Set("ETag", `"`+string(d)+`"`)
	w.Header().Set("Location", blobPath+string(d))
	return writeJSON(w, http.StatusCreated, client.BlobAnswer{Digest: d, SizeBytes: size})
}
