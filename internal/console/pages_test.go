package console

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// serve makes a console over canned data as one viewer sees it.
func serve(d *canned, account cloudcrowd.AccountID, role cloudcrowd.Role) *Console {
	return New(Config{Backend: d, Blobs: d, Directory: d, JoinLink: d.joinLink, Auth: fixedViewer{account, role}, Now: func() time.Time { return galleryTime }})
}

func post(h http.Handler, path string, form url.Values, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func (d *canned) jobIn(t testing.TB, state cloudcrowd.JobState) cloudcrowd.Job {
	t.Helper()
	for _, j := range d.jobList {
		if j.job.State == state {
			return j.job
		}
	}
	t.Fatalf("no canned job is %s", state)
	return cloudcrowd.Job{}
}

// What a stranger wrote is shown as text, never taken for markup.
func TestEscaping(t *testing.T) {
	t.Parallel()
	c := serve(cannedFailing(), "operator", cloudcrowd.RoleOperator)
	for _, path := range []string{"/", "/jobs"} {
		body := get(t, c, path).Body.String()
		if strings.Contains(body, "<script>alert") {
			t.Errorf("%s passes a job's name on as markup", path)
		}
		if !strings.Contains(body, "&lt;script&gt;alert(1)&lt;/script&gt;") {
			t.Errorf("%s does not show the job's name", path)
		}
	}
}

// A requester sees only own jobs and account, a worker's owner only own workers and account; others' things look as if they did not exist.
func TestRoles(t *testing.T) {
	t.Parallel()
	d := cannedSmall()
	mine, other := d.jobIn(t, cloudcrowd.JobRunning), d.jobIn(t, cloudcrowd.JobCancelled)
	if mine.Account != "alice" || other.Account != "eve" {
		t.Fatalf("canned jobs belong to %s and %s", mine.Account, other.Account)
	}
	task := "/tasks/" + cloudcrowd.TaskID{Job: other.ID}.String()
	bobs, carols := "/workers/"+string(d.workers[0].ID), "/workers/"+string(d.workers[2].ID)
	for _, tc := range []struct {
		account cloudcrowd.AccountID
		role    cloudcrowd.Role
		path    string
		want    int
	}{
		{"alice", cloudcrowd.RoleRequester, "/jobs/" + string(mine.ID), 200},
		{"alice", cloudcrowd.RoleRequester, "/jobs/" + string(other.ID), 404},
		{"alice", cloudcrowd.RoleRequester, task, 404},
		{"alice", cloudcrowd.RoleRequester, "/accounts/alice", 200},
		{"alice", cloudcrowd.RoleRequester, "/accounts/eve", 404},
		{"alice", cloudcrowd.RoleRequester, "/ledger", 303},
		{"alice", cloudcrowd.RoleRequester, bobs, 404},
		{"alice", cloudcrowd.RoleRequester, "/jobs/" + string(other.ID) + "?format=json", 404},
		{"bob", cloudcrowd.RoleOwner, bobs, 200},
		{"bob", cloudcrowd.RoleOwner, carols, 404},
		{"bob", cloudcrowd.RoleOwner, "/jobs", 403},
		{"bob", cloudcrowd.RoleOwner, "/jobs/" + string(mine.ID), 404},
		{"bob", cloudcrowd.RoleOwner, "/accounts/bob", 200},
		{"operator", cloudcrowd.RoleOperator, "/jobs/" + string(other.ID), 200},
		{"operator", cloudcrowd.RoleOperator, "/ledger", 200},
		{"", "", "/jobs", 303},
		{"", "", "/login", 200},
		{"", "", "/help", 200},
	} {
		if got := get(t, serve(d, tc.account, tc.role), tc.path).Code; got != tc.want {
			t.Errorf("%s as %q (%s): %d, want %d", tc.path, tc.account, tc.role, got, tc.want)
		}
	}
	if body := get(t, serve(d, "alice", cloudcrowd.RoleRequester), "/jobs").Body.String(); strings.Contains(body, string(other.ID)) {
		t.Error("the list of alice's jobs shows one of eve's")
	}
	if body := get(t, serve(d, "bob", cloudcrowd.RoleOwner), "/workers").Body.String(); strings.Contains(body, "mallory") || strings.Contains(body, "inv-11c0") {
		t.Error("bob's workers page shows others' workers or invites")
	}
	if w := get(t, serve(d, "", ""), "/jobs?state=done"); w.Header().Get("Location") != "/login?next=%2Fjobs%3Fstate%3Ddone" {
		t.Errorf("signing in leads to %q", w.Header().Get("Location"))
	}
}

// Exports hold the whole table, machine-readable, and nothing a spreadsheet would run.
func TestExports(t *testing.T) {
	t.Parallel()
	d := cannedHuge()
	job := d.jobIn(t, cloudcrowd.JobRunning)
	c := serve(d, "operator", cloudcrowd.RoleOperator)
	w := get(t, c, "/jobs/"+string(job.ID)+"?format=csv&table=tasks")
	rows, err := csv.NewReader(w.Body).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	have, _ := d.find(job.ID)
	if len(rows) != len(have.tasks)+1 {
		t.Errorf("the CSV holds %d rows for %d tasks", len(rows)-1, len(have.tasks))
	}
	if strings.Join(rows[0], ",") != "task,stage,state,label,attempts,refused,seconds,cost_microcredits" {
		t.Errorf("head %v", rows[0])
	}
	if w.Header().Get("Content-Disposition") == "" {
		t.Error("an export must be offered for saving")
	}
	w = get(t, c, "/jobs?format=json&state=done")
	var list []map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 300 || list[0]["state"] != "done" {
		t.Errorf("%d jobs in the JSON, want 300 done ones; first %v", len(list), list[0])
	}
	if _, ok := list[0]["cost_microcredits"].(float64); !ok {
		t.Errorf("amounts must be numbers of micro-credits: %v", list[0])
	}
	if w := get(t, serve(cannedEmpty(), "operator", cloudcrowd.RoleOperator), "/jobs?format=json"); strings.TrimSpace(w.Body.String()) != "[]" {
		t.Errorf("an empty table exports as %q, want []", w.Body)
	}
	for path, want := range map[string]int{"/jobs?format=xml": 422, "/jobs?format=csv&table=nothing": 404} {
		if got := get(t, c, path).Code; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	for in, want := range map[string]string{"=1+1": "'=1+1", "@x": "'@x", "-3.5": "-3.5", "+x": "'+x", "plain": "plain", "": ""} {
		if got := unformula(in); got != want {
			t.Errorf("unformula(%q) = %q, want %q", in, got, want)
		}
	}
}

// A fragment request answers only that part, and nothing when it has not changed.
func TestFragments(t *testing.T) {
	t.Parallel()
	d := cannedSmall()
	c := serve(d, "operator", cloudcrowd.RoleOperator)
	path := "/jobs/" + string(d.jobIn(t, cloudcrowd.JobRunning).ID)
	if body := get(t, c, path).Body.String(); !strings.Contains(body, `data-events="/v1/events?job=`) {
		t.Error("a running job's page names no live feed")
	}
	w := get(t, c, path, "X-Fragment", "job.head,job.cost,layout")
	body := w.Body.String()
	if strings.Contains(body, "<html") || !strings.Contains(body, `data-fragment="job.head"`) || !strings.Contains(body, `data-fragment="job.cost"`) || strings.Contains(body, "job.tasks") {
		t.Errorf("the fragments are\n%.600s", body)
	}
	if again := get(t, c, path, "X-Fragment", "job.head,job.cost,layout", "If-None-Match", w.Header().Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
		t.Errorf("an unchanged fragment answers %d with %d bytes", again.Code, again.Body.Len())
	}
	if w := get(t, serve(d, "", ""), path, "X-Fragment", "job.head"); w.Code != http.StatusUnauthorized {
		t.Errorf("a fragment without a session answers %d, want 401", w.Code)
	}
}

// Writes work from the console's own pages and are refused when another site starts them.
func TestWrites(t *testing.T) {
	t.Parallel()
	d := cannedSmall()
	c := serve(d, "alice", cloudcrowd.RoleRequester)
	mine, other := "/jobs/"+string(d.jobIn(t, cloudcrowd.JobRunning).ID)+"/cancel", "/jobs/"+string(d.jobIn(t, cloudcrowd.JobCancelled).ID)+"/cancel"
	for _, tc := range []struct {
		path, header, value string
		want                int
	}{
		{mine, "Sec-Fetch-Site", "cross-site", 403},
		{mine, "Origin", "https://evil.example", 403},
		{other, "Sec-Fetch-Site", "same-origin", 404},
		{"/workers/invites", "Sec-Fetch-Site", "same-origin", 403},
	} {
		if w := post(c, tc.path, url.Values{"uses": {"1"}, "hours": {"1"}}, tc.header, tc.value); w.Code != tc.want {
			t.Errorf("%s with %s %s: %d, want %d", tc.path, tc.header, tc.value, w.Code, tc.want)
		}
	}
	if len(d.cancelled) != 0 {
		t.Fatalf("a refused request cancelled %v", d.cancelled)
	}
	if w := post(c, mine, url.Values{"reason": {"changed my mind"}}, "Sec-Fetch-Site", "same-origin"); w.Code != http.StatusSeeOther || len(d.cancelled) != 1 {
		t.Errorf("cancelling answers %d and reached the backend %d times", w.Code, len(d.cancelled))
	}
	operator := serve(d, "operator", cloudcrowd.RoleOperator)
	w := post(operator, "/workers/invites", url.Values{"uses": {"10"}, "hours": {"24"}, "owner": {"bob"}}, "Sec-Fetch-Site", "same-origin")
	if body := w.Body.String(); w.Code != 200 || !strings.Contains(body, `class="qr"`) || !strings.Contains(body, "https://lab.example:7433/join") || !strings.Contains(body, "10 machines") {
		t.Errorf("a new join link answers %d:\n%.500s", w.Code, body)
	}
	if w := post(operator, "/workers/invites", url.Values{"uses": {"many"}, "hours": {"24"}}, "Sec-Fetch-Site", "same-origin"); w.Code != 422 {
		t.Errorf("nonsense in the form answers %d, want 422", w.Code)
	}
	for next, want := range map[string]string{"/jobs?x=1": "/jobs?x=1", "https://evil.example/": "/", "//evil.example": "/", `/\evil.example`: "/"} {
		if w := post(operator, "/theme", url.Values{"theme": {"dark"}, "next": {next}}, "Sec-Fetch-Site", "same-origin"); w.Header().Get("Location") != want {
			t.Errorf("after choosing a theme %q leads to %q, want %q", next, w.Header().Get("Location"), want)
		}
	}
}

// Result files are shown in place by what they are, and never run as a page.
func TestPreviews(t *testing.T) {
	t.Parallel()
	d := cannedSmall()
	c := serve(d, "alice", cloudcrowd.RoleRequester)
	job := d.jobIn(t, cloudcrowd.JobDone)
	body := get(t, c, "/jobs/"+string(job.ID)).Body.String()
	for _, want := range []string{`id="plot-spectrum.tsv-t"`, "black_scholes", "picture.png?inline=1", "1,258 trading days", "/v1/jobs/" + string(job.ID) + "/outputs/report/-1/risk.json"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page of a finished job lacks %q", want)
		}
	}
	w := get(t, c, "/jobs/"+string(job.ID)+"/files/report/-1/picture.png?inline=1")
	if w.Code != 200 || w.Header().Get("Content-Type") != "image/png" || w.Header().Get("Content-Security-Policy") != filePolicy {
		t.Errorf("the picture answers %d as %s under %q", w.Code, w.Header().Get("Content-Type"), w.Header().Get("Content-Security-Policy"))
	}
	w = get(t, c, "/jobs/"+string(job.ID)+"/files/report/-1/risk.json?inline=1")
	if w.Header().Get("Content-Type") != "application/octet-stream" || !strings.HasPrefix(w.Header().Get("Content-Disposition"), "attachment") {
		t.Errorf("a file that is no picture is served as %s, %s", w.Header().Get("Content-Type"), w.Header().Get("Content-Disposition"))
	}
	for _, path := range []string{"/files/report/-1/../../secret", "/files/report/-1/none.txt", "/files/other/0/risk.json"} {
		if w := get(t, c, "/jobs/"+string(job.ID)+path); w.Code == 200 {
			t.Errorf("%s answers 200", path)
		}
	}
	lost := cannedFailing()
	body = get(t, serve(lost, "alice", cloudcrowd.RoleRequester), "/jobs/"+string(lost.jobIn(t, cloudcrowd.JobDone).ID)).Body.String()
	if !strings.Contains(body, "could not be read from the blob store") {
		t.Error("a result that cannot be read is not said to be so")
	}
}

// Any bytes make a preview without failing, and a bounded one.
func FuzzPreview(f *testing.F) {
	f.Add("a.tsv", []byte("a\tb\n1\t2\n3\t4\n5\t6\n"))
	f.Add("a.csv", []byte("1,2\n\"x"))
	f.Add("a.json", []byte(`{"a":[1`))
	f.Add("a.txt", []byte("\xff\xfe\x00"))
	f.Add("a.csv", []byte("x,y\n1e308,NaN\n-1e308,Inf\n0,0\n"))
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		p := Preview{}
		fillPreview(&p, cloudcrowd.StageOutput{OutputFile: cloudcrowd.OutputFile{Path: name, SizeBytes: int64(len(b)) + 1}}, b)
		if len(p.Rows) > previewRows || len(p.Text) > previewText {
			t.Errorf("a preview of %d bytes holds %d rows and %d bytes of text", len(b), len(p.Rows), len(p.Text))
		}
		if strings.Contains(string(p.Plot), "NaN") || strings.Contains(string(p.Plot), "Inf") {
			t.Errorf("the plot holds no numbers: %s", p.Plot)
		}
	})
}

// Every page below the address it is mounted at works there.
func TestBase(t *testing.T) {
	t.Parallel()
	d := cannedSmall()
	c := New(Config{Backend: d, Auth: fixedViewer{"operator", cloudcrowd.RoleOperator}, Base: "/console/"})
	body := get(t, c, "/console/jobs").Body.String()
	if strings.Contains(body, `href="/jobs`) || !strings.Contains(body, `href="/console/jobs/`) {
		t.Error("links do not carry the base path")
	}
	if w := get(t, c, "/console/assets/console.css?v="+assetHash("console.css")); w.Code != 200 || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
		t.Errorf("the style sheet answers %d, %q", w.Code, w.Header().Get("Cache-Control"))
	}
}
