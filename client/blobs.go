package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"cloudcrowd.dev/cloudcrowd"
)

// Progress is told how many bytes of total have gone; it may be called often and from another goroutine, never concurrently and never after the call
// it was given to has returned. A repeated transfer starts again at 0.
type Progress func(done, total int64)

// HasBlob reports whether the server has a blob that this account uploaded. What others uploaded is not told.
func (c *Client) HasBlob(ctx context.Context, d cloudcrowd.Digest) (bool, error) {
	resp, err := c.send(ctx, call{method: http.MethodHead, path: "/v1/blobs/" + string(d), repeat: true})
	if cloudcrowd.CodeOf(err) == cloudcrowd.NotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	return true, nil
}

// PutBlob stores size bytes of digest d. Open is called once for each try and must give the same bytes. Grant is a worker's upload grant, "" to use
// the client's token. Errors: DigestMismatch (the bytes are not d; nothing was stored), TooLarge, Forbidden, Unavailable.
func (c *Client) PutBlob(ctx context.Context, d cloudcrowd.Digest, size int64, open func() (io.ReadCloser, error), grant string, p Progress) error {
	k := call{method: http.MethodPut, path: "/v1/blobs/" + string(d), repeat: true, length: size, grant: grant}
	k.header = map[string]string{"Content-Type": "application/octet-stream"}
	if size > 64<<10 {
		k.header["Expect"] = "100-continue" // a refusal costs no transfer
	}
	// A server that answers early leaves the transport reading for a while.
	var telling sync.Mutex
	over := false
	report := func(done, total int64) {
		telling.Lock()
		defer telling.Unlock()
		if !over {
			p(done, total)
		}
	}
	defer func() {
		telling.Lock()
		over = true
		telling.Unlock()
	}()
	k.body = func() (io.ReadCloser, error) {
		r, err := open()
		if err != nil || p == nil {
			return r, err
		}
		return &meter{ReadCloser: r, total: size, report: report}, nil
	}
	resp, err := c.send(ctx, k)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// PutBytes stores b unless the account has it there already.
func (c *Client) PutBytes(ctx context.Context, b []byte) (cloudcrowd.Digest, error) {
	sum := sha256.Sum256(b)
	d := cloudcrowd.Digest(hex.EncodeToString(sum[:]))
	if has, err := c.HasBlob(ctx, d); has || err != nil {
		return d, err
	}
	return d, c.PutBlob(ctx, d, int64(len(b)), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }, "", nil)
}

// PutFile stores a file: it is read once for its digest, and sent only if the account has not stored it before. Progress (may be nil) covers
// the sending.
func (c *Client) PutFile(ctx context.Context, path string, p Progress) (cloudcrowd.InputFile, error) {
	d, size, err := hashFile(ctx, path)
	if err != nil {
		return cloudcrowd.InputFile{}, err
	}
	file := cloudcrowd.InputFile{Name: filepath.Base(path), Digest: d, SizeBytes: size}
	has, err := c.HasBlob(ctx, d)
	if err != nil {
		return file, err
	}
	if has {
		if p != nil {
			p(size, size)
		}
		return file, nil
	}
	err = c.PutBlob(ctx, d, size, func() (io.ReadCloser, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, fileError(path, err)
		}
		return f, nil
	}, "", p)
	if cloudcrowd.CodeOf(err) == cloudcrowd.DigestMismatch {
		return file, (&cloudcrowd.Error{Code: cloudcrowd.DigestMismatch, Msg: fmt.Sprintf("%s changed while it was sent", path), Err: err}).WithHint("try again when nothing writes to it")
	}
	return file, err
}

func hashFile(ctx context.Context, path string) (cloudcrowd.Digest, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, fileError(path, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return "", 0, cloudcrowd.Errorf(cloudcrowd.Invalid, "%s is a directory, not a file", path)
	}
	h := sha256.New()
	n, err := io.Copy(h, readerFunc(func(b []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return f.Read(b)
	}))
	if err != nil {
		return "", 0, fileError(path, err)
	}
	return cloudcrowd.Digest(hex.EncodeToString(h.Sum(nil))), n, nil
}

func fileError(path string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	code := cloudcrowd.Invalid
	if errors.Is(err, os.ErrNotExist) {
		code = cloudcrowd.NotFound
	}
	return &cloudcrowd.Error{Code: code, Msg: "cannot read " + path, Err: err}
}

// OpenBlob reads a blob from offset on, length bytes of it (-1: to its end). Grant is a worker's read grant, "" to use the client's token. The bytes
// are not checked against the digest; FetchBlob does that. When the connection breaks, reading goes on where it was. The caller closes the reader.
func (c *Client) OpenBlob(ctx context.Context, d cloudcrowd.Digest, offset, length int64, grant string) (io.ReadCloser, error) {
	if length == 0 {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	k := call{method: http.MethodGet, path: "/v1/blobs/" + string(d), repeat: true, grant: grant}
	ranged := offset > 0 || length > 0
	last := ""
	if ranged {
		if length > 0 {
			last = strconv.FormatInt(offset+length-1, 10)
		}
		k.header = map[string]string{"Range": fmt.Sprintf("bytes=%d-%s", offset, last)}
	}
	resp, body, err := c.open(ctx, k, offset, last)
	if err != nil {
		return nil, err
	}
	if ranged && resp.StatusCode != http.StatusPartialContent {
		body.Close()
		return nil, cloudcrowd.Errorf(cloudcrowd.Internal, "the server ignored the asked range of the blob")
	}
	return body, nil
}

// FetchBlob copies a whole blob to w and checks its digest at the end: code DigestMismatch if the bytes are not d's (w has got them by then).
func (c *Client) FetchBlob(ctx context.Context, d cloudcrowd.Digest, grant string, w io.Writer) (int64, error) {
	r, err := c.OpenBlob(ctx, d, 0, -1, grant)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return c.checkedCopy(w, r, d)
}

func (c *Client) checkedCopy(w io.Writer, r io.Reader, d cloudcrowd.Digest) (int64, error) {
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), r)
	if err != nil {
		server, _ := c.current()
		return n, plain(c.unreachable(server, err))
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != string(d) {
		return n, cloudcrowd.Errorf(cloudcrowd.DigestMismatch, "the bytes received are not those of blob %s", d.Short())
	}
	return n, nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// meter counts what is read through it.
type meter struct {
	io.ReadCloser
	done, total int64
	report      Progress
}

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.ReadCloser.Read(b)
	m.done += int64(n)
	m.report(m.done, m.total)
	return n, err
}
