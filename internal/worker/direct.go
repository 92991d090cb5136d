package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

const (
	// directRest is how long a storage service that could not be reached, or refused, is not tried again.
	directRest = 10 * time.Minute
	// maxAvoided bounds the blobs that are remembered as wrong at the storage service.
	maxAvoided = 1000
)

// direct reads blobs where the server keeps them, if the server says where. Whatever goes wrong there, the server can give the bytes itself, so this
// worker then asks it to. Safe for concurrent use.
type direct struct {
	http *http.Client

	mu      sync.Mutex
	resting time.Time                  // until then no address is asked for
	avoided map[cloudcrowd.Digest]bool // what came from there was wrong
}

func newDirect() *direct {
	return &direct{avoided: map[cloudcrowd.Digest]bool{}, http: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16,
			MaxConnsPerHost: 32, IdleConnTimeout: 90 * time.Second, ResponseHeaderTimeout: time.Minute, TLSHandshakeTimeout: 15 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the address is good as it is
	}}
}

// wanted reports whether the server may send this worker elsewhere for a blob.
func (v *direct) wanted(d cloudcrowd.Digest) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.avoided[d] && !time.Now().Before(v.resting)
}

func (v *direct) rest() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.resting = time.Now().Add(directRest)
}

// avoid has a blob read through the server, which looks at the bytes and names what is damaged.
func (v *direct) avoid(d cloudcrowd.Digest) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.avoided) >= maxAvoided {
		clear(v.avoided)
	}
	v.avoided[d] = true
}

// errElsewhere says that nothing was read at the storage service; the server is to give the bytes itself.
var errElsewhere = errors.New("the blob cannot be read where the server keeps it")

// follow reads a span where the server's answer 307 says. errElsewhere means that nothing was written to w.
func (a *Agent) follow(ctx context.Context, s span, answer *http.Response, w io.Writer) error {
	var how wire.Direct
	if err := json.NewDecoder(io.LimitReader(answer.Body, wire.MaxDirect)).Decode(&how); err != nil {
		return errElsewhere
	}
	at, err := url.Parse(answer.Header.Get("Location"))
	if err != nil || at.Host == "" || at.Scheme != "https" && !(at.Scheme == "http" && answer.Request.URL.Scheme == "http") {
		return errElsewhere
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return errElsewhere
	}
	from, to := int64(0), int64(-1)
	if !s.whole() {
		var ok bool
		if from, to, ok = how.Span(s.Offset, s.Length); !ok {
			return errElsewhere
		}
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	}
	resp, err := a.direct.http.Do(req)
	if err != nil {
		if ctx.Err() == nil {
			a.direct.rest()
		}
		return errElsewhere // err names the address, which is a secret
	}
	defer resp.Body.Close()
	body := stalling(resp.Body, func() { resp.Body.Close() })
	switch {
	case s.whole() && resp.StatusCode == http.StatusOK:
		if _, err := io.Copy(w, body); err != nil {
			return cut(err)
		}
		return nil
	case !s.whole() && resp.StatusCode == http.StatusPartialContent:
		return copyVerified(w, body, s, how, from, to)
	case resp.StatusCode == http.StatusNotFound:
		a.direct.avoid(s.Digest)
	default:
		a.direct.rest()
	}
	return errElsewhere
}

func cut(err error) error {
	if diskFull(err) {
		return err
	}
	return &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "the storage service broke off", Err: err}
}

// copyVerified copies a span out of the blocks [from, to), each of which must match its sum.
func copyVerified(w io.Writer, r io.Reader, s span, how wire.Direct, from, to int64) error {
	buffer := make([]byte, min(how.BlockBytes, to-from))
	for i := int64(0); from < to; i++ {
		block := buffer[:min(how.BlockBytes, to-from)]
		if _, err := io.ReadFull(r, block); err != nil {
			return cut(err)
		}
		if wire.SumOf(block) != how.Block(i) {
			return cloudcrowd.Errorf(cloudcrowd.DigestMismatch, "bytes %d to %d of blob %s came damaged", from, from+int64(len(block)), s.Digest.Short())
		}
		part := block[max(0, s.Offset-from):min(int64(len(block)), s.Offset+s.Length-from)]
		if _, err := w.Write(part); err != nil {
			return err
		}
		from += int64(len(block))
	}
	return nil
}
