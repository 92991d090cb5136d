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
	"net"
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
	repeat bool // may be sent again without harm, here or elsewhere
	here   bool // for the first server alone
	sent   *int // counts how often it may have reached a server; nil: nobody asks
	grant  string
	id     string // names it over all tries; "" for one that changes nothing
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
	if k.method != http.MethodGet {
		k.id = rand.Text()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, callLimit, errSlow)
	defer cancel()
	var resp *http.Response
	var b []byte
	for try := 0; ; try++ {
		var err error
		if resp, err = c.send(ctx, k); err != nil {
			return out, err
		}
		b, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		resp.Body.Close()
		if err == nil {
			break
		}
		if !k.repeat || try >= c.retries || ctx.Err() != nil { // otherwise the server went away while it answered
			return out, plain(c.unreachable(serverOf(resp), err))
		}
	}
	if resp.StatusCode == http.StatusNoContent {
		return out, nil
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

// send performs a call, repeating it where that is harmless and useful: at once at the other servers, and after a pause at all of them. The answer's
// status is below 400; its body is the caller's to close.
func (c *Client) send(ctx context.Context, k call) (*http.Response, error) {
	pause := firstPause
	for try := 0; ; try++ {
		resp, err := c.round(ctx, k)
		if err == nil {
			return resp, nil
		}
		if !k.repeat || try >= c.retries || !worthRepeating(err) || ctx.Err() != nil {
			return nil, plain(err)
		}
		wait := pause/2 + mathrand.N(pause)
		if d, ok := errors.AsType[*failure](err); ok && d.after > 0 {
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

// round performs a call at the current server and, as long as that is harmless and may help, at the next ones, each once. Of several failures it gives the
// first, or the first that may pass.
func (c *Client) round(ctx context.Context, k call) (*http.Response, error) {
	if k.here {
		return c.once(ctx, c.servers[0], k)
	}
	var worst error
	silent := true
	for range c.servers {
		server, turn := c.current()
		resp, err := c.once(ctx, server, k)
		f, ok := errors.AsType[*failure](err)
		if k.sent != nil && !(ok && f.unsent) {
			*k.sent++
		}
		if err == nil {
			return resp, nil
		}
		if worst == nil || !worthRepeating(worst) && worthRepeating(err) {
			worst = err
		}
		if !ok || !f.unsent && !(f.absent && k.repeat) || ctx.Err() != nil {
			return nil, err
		}
		silent = silent && f.silent
		c.moveFrom(turn)
	}
	if f, ok := errors.AsType[*failure](worst); ok && silent && len(c.servers) > 1 {
		f.e.Msg = "cannot reach any server of the crowd: " + strings.Join(c.Servers(), ", ")
	}
	return nil, worst
}

func (c *Client) once(ctx context.Context, server *url.URL, k call) (*http.Response, error) {
	u := *server
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
	if k.id != "" {
		req.Header.Set("Request-Id", k.id)
	}
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
		return nil, c.unreachable(server, err)
	}
	if resp.StatusCode >= 300 && resp.StatusCode != http.StatusNotModified {
		defer resp.Body.Close()
		return nil, readProblem(resp)
	}
	return resp, nil
}

// serverOf is where an answer came from.
func serverOf(resp *http.Response) *url.URL {
	return &url.URL{Scheme: resp.Request.URL.Scheme, Host: resp.Request.URL.Host}
}

// unreachable explains a failure below HTTP.
func (c *Client) unreachable(server *url.URL, err error) error {
	if e, ok := errors.AsType[*cloudcrowd.Error](err); ok { // a wrong certificate, told by TLSConfig
		return &failure{e: *e, unsent: true}
	}
	if wrong, ok := errors.AsType[*tls.CertificateVerificationError](err); ok { // trying again would change nothing
		e := (&cloudcrowd.Error{Code: cloudcrowd.Forbidden, Msg: "nobody this machine trusts vouches for the certificate of " + server.Host, Err: wrong.Err}).
			WithHint("use the whole admin link, quoted: its end, &pin=…, names the certificate; or give that fingerprint with --pin")
		return &failure{e: *e, unsent: true}
	}
	f := &failure{absent: true, passing: true, silent: true, e: cloudcrowd.Error{
		Code: cloudcrowd.Unavailable, Msg: fmt.Sprintf("cannot reach the server at %s", server), Err: err,
		Hint: "check the address and that the server runs; `--server` or CLOUDCROWD_SERVER chooses another",
	}}
	op, ok := errors.AsType[*net.OpError](err)
	f.unsent = ok && op.Op == "dial"
	return f
}

// failure is an Error that another server, or the same one later, may not have.
type failure struct {
	e       cloudcrowd.Error
	unsent  bool          // nothing of the call was sent
	silent  bool          // no answer came
	absent  bool          // the server is not there or does not work now; another one may
	passing bool          // trying again later makes sense
	after   time.Duration // as the server asked; 0: not said
}

func (e *failure) Error() string { return e.e.Error() }

// Unwrap makes errors.As find the *cloudcrowd.Error.
func (e *failure) Unwrap() error { return &e.e }

// plain takes the wrapping off, so that callers get the *cloudcrowd.Error itself.
func plain(err error) error {
	if e, ok := errors.AsType[*failure](err); ok {
		return &e.e
	}
	return err
}

func worthRepeating(err error) bool {
	f, ok := errors.AsType[*failure](err)
	return ok && f.passing
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
		return &failure{e: e, passing: true, absent: resp.StatusCode != http.StatusTooManyRequests, after: time.Duration(seconds) * time.Second}
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
