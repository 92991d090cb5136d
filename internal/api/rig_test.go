package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/internal/authz"
)

// rig is a whole API over fakes, with a token for each role: alice requests, bob owns workers, olga operates, mallory requests.
type rig struct {
	t       testing.TB
	backend *fakeBackend
	blobs   *fakeBlobs
	dir     *fakeDirectory
	signer  *authz.Signer
	handler *Handler
	server  *httptest.Server
	tokens  map[string]string
}

func testJob(n int) cloudcrowd.JobID {
	return cloudcrowd.NewJobID(time.UnixMilli(1_700_000_000_000), uint32(n))
}

func newRig(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, backend: newFakeBackend(), blobs: &fakeBlobs{m: map[cloudcrowd.Digest][]byte{}}, dir: newFakeDirectory(), tokens: map[string]string{}}
	ctx := context.Background()
	var err error
	if r.signer, err = authz.LoadSigner(ctx, r.dir); err != nil {
		t.Fatal(err)
	}
	for name, role := range map[string]cloudcrowd.Role{"alice": cloudcrowd.RoleRequester, "mallory": cloudcrowd.RoleRequester, "bob": cloudcrowd.RoleOwner, "olga": cloudcrowd.RoleOperator} {
		_, secret, err := authz.NewToken(ctx, r.dir, cloudcrowd.AccountID(name), role, "", 0, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		r.tokens[name] = secret
	}
	c := Config{Backend: r.backend, Blobs: r.blobs, Directory: r.dir, Signer: r.signer, Version: "test",
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("figures 1\n")) }),
		Drain: func(_ context.Context, wait time.Duration) (client.Draining, error) {
			return client.Draining{Leased: 3, EndsBy: cloudcrowd.Time(wait.Microseconds())}, nil
		}}
	for _, f := range change {
		f(&c)
	}
	if r.handler, err = New(c); err != nil {
		t.Fatal(err)
	}
	r.server = httptest.NewUnstartedServer(r.handler)
	r.server.Config = Server(r.handler, nil, r.handler.Log)
	r.server.Start()
	t.Cleanup(func() {
		r.handler.Close()
		r.server.CloseClientConnections()
		r.server.Close()
	})
	return r
}

// client is a client with somebody's token; "" is nobody.
func (r *rig) client(name string) *client.Client {
	r.t.Helper()
	c, err := client.New(client.Options{URL: r.server.URL, Token: r.tokens[name], Retries: -1})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

// do sends a request as somebody.
func (r *rig) do(name, method, path, body string, headers ...string) (*http.Response, []byte) {
	r.t.Helper()
	req, err := http.NewRequest(method, r.server.URL+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if r.tokens[name] != "" {
		req.Header.Set("Authorization", "Bearer "+r.tokens[name])
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Transport: r.server.Client().Transport}
	resp, err := c.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, b
}

// problem reads an error answer.
func (r *rig) problem(b []byte) client.Problem {
	r.t.Helper()
	var p client.Problem
	if err := json.Unmarshal(b, &p); err != nil {
		r.t.Fatalf("not a problem: %s", b)
	}
	return p
}
