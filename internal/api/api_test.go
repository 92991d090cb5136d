package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/internal/link"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Every error code comes back with its status, and through the client as the same error.
func TestErrorCodes(t *testing.T) {
	t.Parallel()
	for _, code := range []cloudcrowd.Code{
		cloudcrowd.Invalid, cloudcrowd.NotFound, cloudcrowd.Conflict, cloudcrowd.Unauthorized, cloudcrowd.Forbidden, cloudcrowd.InsufficientCredits,
		cloudcrowd.LeaseLost, cloudcrowd.TooLarge, cloudcrowd.RateLimited, cloudcrowd.Unavailable, cloudcrowd.DigestMismatch, cloudcrowd.Unsuccessful, cloudcrowd.Internal,
	} {
		t.Run(string(code), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.backend.fail = fmt.Errorf("while submitting: %w", &cloudcrowd.Error{Code: code, Field: "spec.name", Msg: "it is so", Hint: "do this", Err: errors.New("hidden cause")})
			resp, b := r.do("alice", "POST", "/v1/jobs", `{"spec":{}}`)
			p := r.problem(b)
			if resp.StatusCode != code.HTTPStatus() || p.Code != code || p.Detail != "it is so" || p.Field != "spec.name" || p.Hint != "do this" || p.Title == "" || strings.Contains(string(b), "hidden") {
				t.Errorf("%d %s", resp.StatusCode, b)
			}
			_, err := r.client("alice").Submit(context.Background(), cloudcrowd.JobSpec{}, "")
			e, ok := err.(*cloudcrowd.Error)
			if !ok || e.Code != code || e.Field != "spec.name" || e.Msg != "it is so" || !strings.HasPrefix(e.Hint, "do this") {
				t.Errorf("%#v", err)
			}
		})
	}
}

// A plain error is a defect: its text stays in the log. What the disk damaged is named, without the cause. Several errors are all told.
func TestOtherErrors(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.backend.fail = errors.New("password is hunter2")
	resp, b := r.do("alice", "POST", "/v1/jobs", `{"spec":{}}`)
	if p := r.problem(b); resp.StatusCode != 500 || p.Code != cloudcrowd.Internal || p.Instance == "" || strings.Contains(string(b), "hunter2") {
		t.Errorf("%s", b)
	}
	r.backend.fail = fmt.Errorf("while submitting: %w", &store.CorruptError{What: "page 7 of the database file (table accounts)", Err: errors.New("code 11 in statement hunter2")})
	resp, b = r.do("alice", "POST", "/v1/jobs", `{"spec":{}}`)
	if p := r.problem(b); resp.StatusCode != 500 || p.Code != cloudcrowd.Internal || !strings.HasPrefix(p.Detail, "page 7 of the database file (table accounts)") || !strings.Contains(p.Hint, "fsck") || strings.Contains(string(b), "hunter2") {
		t.Errorf("%s", b)
	}
	r.backend.fail = errors.Join(cloudcrowd.Fieldf("a", "first"), cloudcrowd.Fieldf("b", "second"))
	_, b = r.do("alice", "POST", "/v1/jobs", `{"spec":{}}`)
	if p := r.problem(b); len(p.Problems) != 2 || p.Problems[1].Field != "b" || p.Field != "a" {
		t.Errorf("%s", b)
	}
}

type panicking struct{ Backend }

func (panicking) Prices() cloudcrowd.Prices { panic("boom") }

// A panic is an answer with an id, and the server goes on.
func TestPanic(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.Backend = panicking{c.Backend} })
	resp, b := r.do("alice", "GET", "/v1/prices", "")
	if p := r.problem(b); resp.StatusCode != 500 || p.Instance == "" || strings.Contains(string(b), "boom") {
		t.Errorf("%d %s", resp.StatusCode, b)
	}
	if resp, _ := r.do("alice", "GET", "/v1/whoami", ""); resp.StatusCode != 200 {
		t.Error("the server is gone")
	}
}

// Bodies and queries are strict, and the answer names the field and the nearest known name.
func TestStrict(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for body, want := range map[string]string{
		``:                      "body is required",
		`{`:                     "ends too early",
		`{"spec":{}} x`:         "follows",
		`{"spec":{}}{}`:         "follows",
		`[]`:                    "wanted an object",
		`nonsense`:              "not JSON",
		"{\"spec\":\"\xff\"}":   "UTF-8",
		`{"specs":{}}`:          "specs|did you mean spec?",
		`{"spec":{"Name":"x"}}`: "spec.Name|did you mean name?",
		`{"spec":{"stages":[{"name":"a"},{"run":{"arg":["x"]}}]}}`:                   "spec.stages[1].run.arg|did you mean args?",
		`{"spec":{"zzzzzzzzz":1}}`:                                                   "known here: budget",
		`{"spec":{"name":"a","name":"b"}}`:                                           "spec.name|twice",
		`{"spec":{"name":7}}`:                                                        "spec.name|wanted text",
		`{"spec":{"deadline":"soon"}}`:                                               "duration",
		`{"spec":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`:       "deep",
		`{"spec":{"inputs":{"g":{"files":[{"digest":"zz"}]}}}}`:                      "spec.inputs.g.files[0].digest",
		`{"spec":{"stages":[{"run":{"module":"` + strings.Repeat("a", 64) + `"}}]}}`: "not uploaded",
	} {
		resp, b := r.do("alice", "POST", "/v1/jobs", body)
		p := r.problem(b)
		text := p.Field + " " + p.Detail + " " + p.Hint
		for _, part := range strings.Split(want, "|") {
			if part == "not uploaded" {
				part = "was not uploaded by this account"
			}
			if resp.StatusCode < 400 || !strings.Contains(text, part) {
				t.Errorf("%.60s: %d %s, want %s", body, resp.StatusCode, text, part)
			}
		}
	}
	_, b := r.do("alice", "GET", "/v1/jobs?stat=done", "")
	if p := r.problem(b); p.Field != "stat" || p.Hint != "did you mean state?" {
		t.Errorf("%s", b)
	}
	for _, q := range []string{"limit=-1", "limit=1001", "limit=x", "state=odd"} {
		if resp, b := r.do("alice", "GET", "/v1/jobs?"+q, ""); resp.StatusCode != 422 {
			t.Errorf("%s: %d %s", q, resp.StatusCode, b)
		}
	}
	resp, b := r.do("olga", "POST", "/v1/invites", `{"owner":"`+strings.Repeat("x", maxOtherBody)+`"}`)
	if p := r.problem(b); resp.StatusCode != 413 || p.Code != cloudcrowd.TooLarge {
		t.Errorf("%d %s", resp.StatusCode, b)
	}
}

// Lists are lists, also when empty: no null anywhere an array belongs.
func TestNoNulls(t *testing.T) {
	t.Parallel()
	r, names := furnish(t)
	for _, path := range []string{"/v1/jobs/" + names["JOB"], "/v1/jobs", "/v1/workers", "/v1/invites", "/v1/transfers", "/v1/jobs/" + names["JOB"] + "/tasks", "/v1/status"} {
		if _, b := r.do("olga", "GET", path, ""); strings.Contains(string(b), ":null") {
			t.Errorf("%s: %s", path, b)
		}
	}
}

// Pages together hold every item once.
func TestPages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, ctx := r.client("alice"), context.Background()
	for i := range 25 {
		if _, err := c.Submit(ctx, cloudcrowd.JobSpec{Name: fmt.Sprint(i)}, ""); err != nil {
			t.Fatal(err)
		}
	}
	seen, pages := map[cloudcrowd.JobID]bool{}, 0
	for j, err := range client.All(func(cursor string) (client.Page[cloudcrowd.JobSummary], error) {
		pages++
		return c.Jobs(ctx, client.JobQuery{PageQuery: client.PageQuery{Limit: 10, Cursor: cursor}})
	}) {
		if err != nil || seen[j.ID] {
			t.Fatal(j.ID, err)
		}
		seen[j.ID] = true
	}
	if len(seen) != 25 || pages != 3 {
		t.Errorf("%d jobs on %d pages", len(seen), pages)
	}
	if _, err := c.Jobs(ctx, client.JobQuery{PageQuery: client.PageQuery{Cursor: "rubbish"}}); cloudcrowd.CodeOf(err) != cloudcrowd.Invalid {
		t.Error(err)
	}
}

// The name that a client gives its call goes along with it; what is no name does not. The request has a name of the server's own in any case.
func TestCallNamed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for sent, want := range map[string]string{"Call-1": "Call-1", "": "", "no name": "", strings.Repeat("x", 65): ""} {
		resp, body := r.do("alice", "POST", "/v1/jobs", `{"spec":{}}`, "Request-Id", sent)
		if resp.StatusCode != 201 || r.backend.call != want {
			t.Errorf("%q became %q: %s", sent, r.backend.call, body)
		}
		if own := resp.Header.Get("Request-Id"); own == "" || own == sent {
			t.Errorf("the server calls it %q", own)
		}
	}
}

// The same key has an effect once: jobs, credits, invites, tokens. The key of one account means nothing to another's.
func TestIdempotency(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := context.Background()
	a, err1 := r.client("alice").Submit(ctx, cloudcrowd.JobSpec{}, "k")
	b, err2 := r.client("alice").Submit(ctx, cloudcrowd.JobSpec{}, "k")
	m, err3 := r.client("mallory").Submit(ctx, cloudcrowd.JobSpec{}, "k")
	if err := errors.Join(err1, err2, err3); err != nil || a.ID != b.ID || m.ID == a.ID {
		t.Fatal(a.ID, b.ID, m.ID, err)
	}
	for range 2 {
		if _, err := r.client("olga").Issue(ctx, "alice", 7, "", "k"); err != nil {
			t.Fatal(err)
		}
	}
	if acc, _ := r.client("alice").Account(ctx, "alice"); acc.Balance != 7 {
		t.Errorf("issued twice: %s", acc.Balance)
	}
	for path, body := range map[string]string{"/v1/invites": `{"owner":"bob"}`, "/v1/tokens": `{"account":"carol","role":"requester"}`} {
		_, first := r.do("olga", "POST", path, body, "Idempotency-Key", "k")
		resp, second := r.do("olga", "POST", path, body, "Idempotency-Key", "k")
		if resp.StatusCode != 201 || string(first) != string(second) {
			t.Errorf("%s: %s, then %s", path, first, second)
		}
		other := strings.NewReplacer("bob", "carol", "requester", "operator").Replace(body)
		if resp, b := r.do("olga", "POST", path, other, "Idempotency-Key", "k"); resp.StatusCode != 409 {
			t.Errorf("%s: %d %s", path, resp.StatusCode, b)
		}
	}
	for body, ok := range map[string]bool{`{"amount_microcredits":0}`: false, `{"amount_microcredits":-1}`: false, `{"amount_microcredits":9223372036854775807}`: false, `{"amount_microcredits":1.5}`: false, `{"amount_microcredits":1}`: true} {
		if resp, b := r.do("olga", "POST", "/v1/accounts/alice/issue", body); (resp.StatusCode == 201) != ok {
			t.Errorf("%s: %d %s", body, resp.StatusCode, b)
		}
	}
	for _, id := range []string{"issuer", "fee", "Alice", "a%20b"} {
		if resp, _ := r.do("olga", "POST", "/v1/accounts/"+id+"/issue", `{"amount_microcredits":1}`); resp.StatusCode != 422 {
			t.Errorf("credits were issued to %s", id)
		}
	}
}

// A device joins by an invite and its key; a forged signature, another's key or a bad invite do not let it in.
func TestJoin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := context.Background()
	invite, err := r.client("bob").CreateInvite(ctx, client.InviteRequest{MaxUses: 1})
	if err != nil || invite.Owner != "bob" {
		t.Fatal(invite, err)
	}
	l, err := link.Parse(invite.Link)
	if err != nil || l.Secret != invite.Secret || l.Kind != link.Join || l.Server != r.server.URL {
		t.Fatalf("%+v, %v", l, err)
	}
	key, _ := nkeys.CreateUser()
	public, _ := key.PublicKey()
	other, _ := nkeys.CreateUser()
	sign := func(k nkeys.KeyPair) func([]byte) (string, error) {
		return func(b []byte) (string, error) {
			s, err := k.Sign(b)
			return base64.StdEncoding.EncodeToString(s), err
		}
	}
	nobody := r.client("")
	for name, try := range map[string]func() (client.JoinAnswer, error){
		"another key": func() (client.JoinAnswer, error) {
			return nobody.Join(ctx, l.Secret, cloudcrowd.WorkerID(public), "pc", sign(other))
		},
		"unknown invite": func() (client.JoinAnswer, error) {
			return nobody.Join(ctx, "cci_x", cloudcrowd.WorkerID(public), "pc", sign(key))
		},
		"signature of another invite": func() (client.JoinAnswer, error) {
			s, _ := key.Sign(client.JoinMessage("cci_x", cloudcrowd.WorkerID(public)))
			return nobody.Join(ctx, l.Secret, cloudcrowd.WorkerID(public), "pc", func([]byte) (string, error) { return base64.StdEncoding.EncodeToString(s), nil })
		},
	} {
		if _, err := try(); cloudcrowd.CodeOf(err) != cloudcrowd.Forbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "a\nb", strings.Repeat("x", 65)} {
		if _, err := nobody.Join(ctx, l.Secret, cloudcrowd.WorkerID(public), name, sign(key)); cloudcrowd.CodeOf(err) != cloudcrowd.Invalid {
			t.Errorf("name %q: %v", name, err)
		}
	}
	for range 2 {
		a, err := nobody.Join(ctx, l.Secret, cloudcrowd.WorkerID(public), "pc", sign(key))
		if err != nil || a.Owner != "bob" || a.Worker != cloudcrowd.WorkerID(public) {
			t.Fatal(a, err)
		}
	}
	public2, _ := other.PublicKey()
	if _, err := nobody.Join(ctx, l.Secret, cloudcrowd.WorkerID(public2), "pc2", sign(other)); cloudcrowd.CodeOf(err) != cloudcrowd.Forbidden {
		t.Error("a single-use invite was used twice:", err)
	}
}

// The browser's session: HttpOnly and same-site, good for reading and for writes of the console's own pages, worthless to other sites, gone with
// the token.
func TestSession(t *testing.T) {
	t.Parallel()
	r, names := furnish(t)
	if resp, _ := r.do("", "POST", "/session", `{"token":"cc_wrong"}`); resp.StatusCode != 401 {
		t.Error("a wrong token signs in")
	}
	if resp, _ := r.do("", "POST", "/session", `{"token":"`+r.tokens["alice"]+`"}`, "Sec-Fetch-Site", "cross-site"); resp.StatusCode != 403 {
		t.Error("another site may sign in")
	}
	resp, b := r.do("", "POST", "/session", "next=%2Fjobs&token="+r.tokens["alice"], "Content-Type", "application/x-www-form-urlencoded", "Origin", r.server.URL)
	if resp.StatusCode != 303 || resp.Header.Get("Location") != "/jobs" {
		t.Fatalf("%d %s", resp.StatusCode, b)
	}
	for _, next := range []string{"https://evil.example", "//evil.example", "/\\evil.example", "javascript:x"} {
		resp, _ := r.do("", "POST", "/session", "next="+next+"&token="+r.tokens["alice"], "Content-Type", "application/x-www-form-urlencoded")
		if resp.Header.Get("Location") != "/" {
			t.Errorf("%s leads to %s", next, resp.Header.Get("Location"))
		}
	}
	cookie := resp.Cookies()[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || strings.Contains(cookie.Value, r.tokens["alice"]) {
		t.Fatalf("%+v", cookie)
	}
	with := cookie.Name + "=" + cookie.Value
	cancel := "/v1/jobs/" + names["JOB"] + "/cancel"
	for _, x := range []struct {
		method, path string
		headers      []string
		want         int
	}{
		{"GET", "/v1/whoami", nil, 200},
		{"POST", cancel, nil, 403},
		{"POST", cancel, []string{"Origin", "https://evil.example"}, 403},
		{"POST", cancel, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"POST", cancel, []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"POST", cancel, []string{"Sec-Fetch-Site", "same-origin"}, 200},
		{"POST", "/v1/invites", []string{"Sec-Fetch-Site", "same-origin"}, 403},
	} {
		if resp, b := r.do("", x.method, x.path, "{}", append(x.headers, "Cookie", with)...); resp.StatusCode != x.want {
			t.Errorf("%s %s %v: %d %s", x.method, x.path, x.headers, resp.StatusCode, b)
		}
	}
	if resp, _ := r.do("", "DELETE", "/session", "", "Cookie", with, "Sec-Fetch-Site", "same-origin"); resp.StatusCode != 204 || resp.Cookies()[0].MaxAge >= 0 {
		t.Error("signing out keeps the cookie")
	}
	clear(r.dir.tokens)
	if resp, _ := r.do("", "GET", "/v1/whoami", "", "Cookie", with); resp.StatusCode != 401 {
		t.Error("the session outlived its token")
	}
}

// Too many requests, too many wrong tokens, too many at once: each is told, and others are not harmed.
func TestLimits(t *testing.T) {
	t.Parallel()
	now := time.Now()
	r := newRig(t, func(c *Config) {
		c.Now = func() time.Time { return now }
		c.Limits = Limits{PerSecond: 1, Burst: 3, Anonymous: 1, AnonymousBurst: 4, Streams: 1, Concurrent: 5}
	})
	status := func(who string) int { resp, _ := r.do(who, "GET", "/v1/whoami", ""); return resp.StatusCode }
	got := []int{status("alice"), status("alice"), status("alice"), status("alice"), status("olga"), status("")}
	if fmt.Sprint(got) != "[200 200 200 429 200 401]" {
		t.Error(got)
	}
	r.tokens["wrong"] = "cc_wrong"
	got = []int{status("wrong"), status("wrong"), status("wrong"), status("wrong"), status("olga")}
	if fmt.Sprint(got) != "[401 401 401 429 200]" {
		t.Error(got)
	}
	resp, _ := r.do("alice", "GET", "/v1/whoami", "")
	if resp.Header.Get("Retry-After") == "" {
		t.Error("not said when to come back")
	}
	for range 5 {
		r.handler.limits.enter()
	}
	if got := status("olga"); got != 503 {
		t.Error(got)
	}
}

// Readiness follows the Task Manager and the end of the server.
func TestReady(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if resp, b := r.do("", "GET", "/readyz", ""); resp.StatusCode != 200 || !json.Valid(b) {
		t.Errorf("%d %s", resp.StatusCode, b)
	}
	r.backend.mu.Lock()
	r.backend.status.ReadOnly = "the disk is full"
	r.backend.mu.Unlock()
	if resp, b := r.do("", "GET", "/readyz", ""); resp.StatusCode != 503 || !strings.Contains(string(b), "the disk is full") {
		t.Errorf("%d %s", resp.StatusCode, b)
	}
	if resp, _ := r.do("", "GET", "/healthz", ""); resp.StatusCode != 200 {
		t.Error("not alive")
	}
	starting := httptest.NewServer(Starting("test"))
	defer starting.Close()
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/v1/status": 503, "/worker": 503} {
		resp, err := http.Get(starting.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want || want == 503 && !strings.Contains(string(b), "the server is starting") {
			t.Errorf("%s of a server that starts: %d %s", path, resp.StatusCode, b)
		}
	}
}

// Figures are for operators and for this machine; a request that a proxy passed on is not this machine's.
func TestMetricsAreNotPublic(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, header := range []string{"X-Forwarded-For", "Forwarded", "Via"} {
		request, err := http.NewRequest("GET", r.server.URL+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set(header, "for=192.0.2.7")
		resp, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 401 {
			t.Errorf("%s: %d", header, resp.StatusCode)
		}
	}
}
