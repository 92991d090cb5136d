package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

const (
	firstPause = 100 * time.Millisecond // before the first repetition; doubles each time
	maxPause   = 5 * time.Second
	callLimit  = 2 * time.Minute // of one try of a call with a small answer
	maxAnswer  = 64 << 20        // bytes of a JSON answer
)

// call is one request in a form that can be sent again.
type call struct {
	method string
	path   string
	query  url.Values
	header map[string]string
	body   func() (io.ReadCloser, error) // nil: none
	length int64
	repeat bool // may be sent again without harm
	grant  string
}

func get[T any](ctx context.Context, c *Client, path string, query url.Values) (T, error) {
	return exchange[T](ctx, c, call{method: http.MethodGet, path: path, query: query, repeat: true}, nil)
}

func post[T any](ctx context.Context, c *Client, path string, body any, key string) (T, error) {
	k := call{method: http.MethodPost, path: path}
	if key != "" {
		k.repeat = true
		k.header = map[string]string{"Idempotency-Key": key}
	}
	return exchange[T](ctx, c, k, body)
}

// exchange sends in as JSON (nil: nothing) and reads the answer into a T.
func exchange[T any](ctx context.Context, c *Client, k call, in any) (T, error) {
	var out T
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return out, err
		}
		k.length = int64(len(b))
		k.body = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
		if k.header == nil {
			k.header = map[string]string{}
		}
		k.header["Content-Type"] = "application/json"
	}
	ctx, cancel := context.WithTimeoutCause(ctx, callLimit, errSlow)
	defer cancel()
	resp, err := c.send(ctx, k)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return out, nil
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return out, plain(c.unreachable(err))
	}
	if len(bytes.TrimSpace(b)) == 0 || !strings.Contains(resp.Header.Get("Content-Type"), "json") {
		return out, nil
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return out, &cloudcrowd.Error{Code: cloudcrowd.Internal, Msg: "the server's answer could not be read", Hint: "client and server may be of different versions", Err: err}
	}
	return out, nil
}

var errSlow = errors.New("no answer within two minutes")

// send performs a call, repeating it where that is harmless and useful. The answer's status is below 400; its body is the caller's to close.
func (c *Client) send(ctx context.Context, k call) (*http.Response, error) {
	pause := firstPause
	for try := 0; ; try++ {
		resp, err := c.once(ctx, k)
		if err == nil {
			return resp, nil
		}
		if !k.repeat || try >= c.retries || !worthRepeating(err) || ctx.Err() != nil {
			return nil, plain(err)
		}
		wait := pause/2 + mathrand.N(pause)
		if d, ok := errors.AsType[*busyError](err); ok && d.after > 0 {
			wait = min(d.after, maxPause)
		}
		select {
		case <-ctx.Done():
			return nil, plain(err)
		case <-time.After(wait):
		}
		pause = min(2*pause, maxPause)
	}
}

func (c *Client) once(ctx context.Context, k call) (*http.Response, error) {
	u := *c.base
	u.Path, u.RawPath = "", ""
	target := u.String() + k.path
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	var body io.ReadCloser
	if k.body != nil {
		var err error
		if body, err = k.body(); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, k.method, target, nil)
	if err != nil {
		return nil, &cloudcrowd.Error{Code: cloudcrowd.Invalid, Msg: "the request could not be made", Err: err}
	}
	if body != nil {
		req.Body, req.ContentLength = body, k.length
		if k.length == 0 {
			body.Close()
			req.Body = http.NoBody
		}
	}
	for name, value := range k.header {
		req.Header.Set(name, value)
	}
	req.Header.Set("User-Agent", c.options.UserAgent)
	switch {
	case k.grant != "":
		req.Header.Set("Authorization", "Grant "+k.grant)
	case c.options.Token != "":
		req.Header.Set("Authorization", "Bearer "+c.options.Token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errSlow) {
			return nil, cause
		}
		return nil, c.unreachable(err)
	}
	if resp.StatusCode >= 300 && resp.StatusCode != http.StatusNotModified {
		defer resp.Body.Close()
		return nil, readProblem(resp)
	}
	return resp, nil
}

// unreachable explains a failure below HTTP.
func (c *Client) unreachable(err error) error {
	if e, ok := errors.AsType[*cloudcrowd.Error](err); ok { // a wrong certificate, told by TLSConfig
		return e
	}
	if wrong, ok := errors.AsType[*tls.CertificateVerificationError](err); ok { // trying again would change nothing
		return (&cloudcrowd.Error{Code: cloudcrowd.Forbidden, Msg: "nobody this machine trusts vouches for the certificate of " + c.base.Host, Err: wrong.Err}).
			WithHint("use the whole admin link, quoted: its end, &pin=…, names the certificate; or give that fingerprint with --pin")
	}
	return &busyError{e: cloudcrowd.Error{
		Code: cloudcrowd.Unavailable, Msg: fmt.Sprintf("cannot reach the server at %s", c.base), Err: err,
		Hint: "check the address and that the server runs; `--server` or CLOUDCROWD_SERVER chooses another",
	}}
}

// busyError is an Error after which trying again makes sense.
type busyError struct {
	e     cloudcrowd.Error
	after time.Duration // as the server asked; 0: not said
}

func (e *busyError) Error() string { return e.e.Error() }

// Unwrap makes errors.As find the *cloudcrowd.Error.
func (e *busyError) Unwrap() error { return &e.e }

// plain takes the wrapping off, so that callers get the *cloudcrowd.Error itself.
func plain(err error) error {
	if e, ok := errors.AsType[*busyError](err); ok {
		return &e.e
	}
	return err
}

func worthRepeating(err error) bool {
	_, ok := errors.AsType[*busyError](err)
	return ok
}

// readProblem makes an Error of an error answer.
func readProblem(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var p Problem
	if json.Unmarshal(b, &p) != nil || p.Code == "" {
		p = Problem{Code: codeOfStatus(resp.StatusCode), Detail: fmt.Sprintf("the server answered %s", resp.Status)}
	}
	e := cloudcrowd.Error{Code: p.Code, Field: p.Field, Msg: p.Detail, Hint: p.Hint}
	if p.Instance != "" && p.Code == cloudcrowd.Internal {
		e.Hint = strings.TrimSpace(e.Hint + " (the server's log has it as " + p.Instance + ")")
	}
	var all []error
	for _, s := range p.Problems {
		all = append(all, &cloudcrowd.Error{Code: p.Code, Field: s.Field, Msg: s.Detail, Hint: s.Hint})
	}
	e.Err = errors.Join(all...)
	switch resp.StatusCode {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return &busyError{e: e, after: time.Duration(seconds) * time.Second}
	}
	return &e
}

func codeOfStatus(status int) cloudcrowd.Code {
	switch status {
	case http.StatusNotFound:
		return cloudcrowd.NotFound
	case http.StatusUnauthorized:
		return cloudcrowd.Unauthorized
	case http.StatusForbidden:
		return cloudcrowd.Forbidden
	case http.StatusConflict:
		return cloudcrowd.Conflict
	case http.StatusRequestEntityTooLarge:
		return cloudcrowd.TooLarge
	case http.StatusTooManyRequests:
		return cloudcrowd.RateLimited
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return cloudcrowd.Unavailable
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusMethodNotAllowed:
		return cloudcrowd.Invalid
	}
	return cloudcrowd.Internal
}

// newKey makes an idempotency key.
func newKey() string { return rand.Text() }
