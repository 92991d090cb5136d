package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
)

// The services' usual chains find these credentials and nothing of the machine.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "TESTKEY", "AWS_SECRET_ACCESS_KEY": "test-secret", "AWS_SESSION_TOKEN": "", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_PROFILE": "",
		"AZURE_STORAGE_ACCOUNT": "testaccount", "AZURE_STORAGE_KEY": "dGVzdA=="} {
		_ = os.Setenv(name, value)
	}
	os.Exit(m.Run())
}

// rig is an S3 server over HTTP with one bucket.
type rig struct {
	t        testing.TB
	objects  gofakes3.Backend
	endpoint string
	fault    atomic.Pointer[func(*http.Request) (*http.Response, error)] // nil, or answers nil, nil: the request goes through
	alter    atomic.Pointer[func(*http.Response)]                        // changes answers
	received atomic.Int64                                                // bytes of bodies that came from the server
	requests atomic.Int64
}

const bucketName = "cloudcrowd-test"

func newRig(t testing.TB) *rig {
	t.Helper()
	objects := s3mem.New()
	if err := objects.CreateBucket(bucketName); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(objects).Server())
	t.Cleanup(server.Close)
	return &rig{t: t, objects: objects, endpoint: server.URL}
}

func (r *rig) address(prefix string) string {
	return "s3://" + bucketName + "?endpoint=" + url.QueryEscape(r.endpoint) + "&prefix=" + prefix
}

// open opens a store whose requests pass the rig.
func (r *rig) open(o Options) *Store {
	r.t.Helper()
	o.Transport = r
	if o.Spool == "" {
		o.Spool = r.t.TempDir()
	}
	s, err := Open(r.t.Context(), r.address("blobs"), o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return s
}

// RoundTrip implements http.RoundTripper.
func (r *rig) RoundTrip(req *http.Request) (*http.Response, error) {
	r.requests.Add(1)
	if f := r.fault.Load(); f != nil {
		if resp, err := (*f)(req); resp != nil || err != nil {
			if req.Body != nil {
				_ = req.Body.Close()
			}
			return resp, err
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if f := r.alter.Load(); f != nil {
		(*f)(resp)
	}
	resp.Body = &counted{resp.Body, &r.received}
	return resp, nil
}

type counted struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// inject lets f answer requests; nil ends it.
func (r *rig) inject(f func(*http.Request) (*http.Response, error)) {
	if f == nil {
		r.fault.Store(nil)
		return
	}
	r.fault.Store(&f)
}

func status(req *http.Request, code int, word string) *http.Response {
	body := fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>injected</Message></Error>`, word)
	if req.Method == http.MethodHead {
		body = ""
	}
	return &http.Response{StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/xml"}}, Body: io.NopCloser(bytes.NewReader([]byte(body))), ContentLength: int64(len(body)), Request: req}
}

// stored returns an object as the service has it.
func (r *rig) stored(key string) []byte {
	r.t.Helper()
	o, err := r.objects.GetObject(bucketName, key, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer o.Contents.Close()
	b, err := io.ReadAll(o.Contents)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// replace changes an object behind the store's back.
func (r *rig) replace(key string, b []byte) {
	r.t.Helper()
	if _, err := r.objects.PutObject(bucketName, key, map[string]string{}, bytes.NewReader(b), int64(len(b)), nil); err != nil {
		r.t.Fatal(err)
	}
}

func put(t testing.TB, s *Store, b []byte) cloudcrowd.Digest {
	t.Helper()
	d, err := blob.PutBytes(t.Context(), s, b)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func read(ctx context.Context, s *Store, d cloudcrowd.Digest, off, length int64) ([]byte, error) {
	r, err := s.Open(ctx, d, off, length)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

func wantUnavailable(t testing.TB, err error) {
	t.Helper()
	if e, ok := errors.AsType[*cloudcrowd.Error](err); !ok || e.Code != cloudcrowd.Unavailable || e.Hint == "" || e.Err == nil {
		t.Errorf("%v, want code unavailable with a hint and a cause", err)
	}
}
