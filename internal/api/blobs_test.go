package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// A file goes up once, comes back byte for byte, and bytes that do not match their digest are not stored.
func TestBlobs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := context.Background(), r.client("alice")
	data := bytes.Repeat([]byte("genome "), 30_000)
	path := filepath.Join(t.TempDir(), "genome.txt")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var done, total int64
	f, err := c.PutFile(ctx, path, func(d, t int64) { done, total = d, t })
	if err != nil || f.Name != "genome.txt" || f.Digest != sum(data) || f.SizeBytes != int64(len(data)) || done != f.SizeBytes || total != f.SizeBytes {
		t.Fatalf("%+v, %d of %d, %v", f, done, total, err)
	}
	var got bytes.Buffer
	if n, err := c.FetchBlob(ctx, f.Digest, "", &got); err != nil || n != f.SizeBytes || !bytes.Equal(got.Bytes(), data) {
		t.Fatal(n, err)
	}
	for _, x := range [][2]int64{{0, 1}, {7, 14}, {f.SizeBytes - 3, 3}, {5, -1}, {0, -1}, {9, 0}} {
		rc, err := c.OpenBlob(ctx, f.Digest, x[0], x[1], "")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(rc)
		rc.Close()
		want := data[x[0]:]
		if x[1] >= 0 {
			want = want[:x[1]]
		}
		if err != nil || !bytes.Equal(b, want) {
			t.Errorf("%v: %d bytes, %v", x, len(b), err)
		}
	}
	url := "/v1/blobs/" + string(f.Digest)
	etag := `"` + string(f.Digest) + `"`
	if resp, _ := r.do("alice", "GET", url, "", "If-None-Match", etag); resp.StatusCode != 304 || resp.Header.Get("ETag") != etag {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	if resp, b := r.do("alice", "HEAD", url, ""); resp.StatusCode != 200 || len(b) != 0 || resp.ContentLength != f.SizeBytes {
		t.Errorf("%d", resp.StatusCode)
	}
	if resp, _ := r.do("alice", "GET", url, "", "Range", "bytes=999999999-"); resp.StatusCode != 416 {
		t.Errorf("%d", resp.StatusCode)
	}
	wrong := sum([]byte("something else"))
	resp, b := r.do("alice", "PUT", "/v1/blobs/"+string(wrong), "not it")
	if p := r.problem(b); resp.StatusCode != 422 || p.Code != cloudcrowd.DigestMismatch || r.blobs.m[wrong] != nil {
		t.Errorf("%d %s", resp.StatusCode, b)
	}
	if has, err := c.HasBlob(ctx, wrong); has || err != nil {
		t.Error(has, err)
	}
	if resp, _ := r.do("alice", "PUT", "/v1/blobs/rubbish", "x"); resp.StatusCode != 422 {
		t.Errorf("%d", resp.StatusCode)
	}
	r.blobs.full = true
	if _, err := c.PutBytes(ctx, []byte("more")); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
		t.Error(err)
	}
}

// lazyBlobs does not read what it has already, as the contract allows.
type lazyBlobs struct{ *fakeBlobs }

func (l lazyBlobs) Put(ctx context.Context, d cloudcrowd.Digest, size int64, r io.Reader) error {
	if _, err := l.Stat(ctx, d); err == nil {
		return nil
	}
	return l.fakeBlobs.Put(ctx, d, size, r)
}

// Knowing a digest is no right to its bytes: not by asking, not by a feigned upload, not by a job that names it.
func TestDigestIsNoKey(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.Blobs = lazyBlobs{c.Blobs.(*fakeBlobs)} })
	ctx := context.Background()
	d, err := r.client("alice").PutBytes(ctx, []byte("alice's data"))
	if err != nil {
		t.Fatal(err)
	}
	m := r.client("mallory")
	for _, body := range []string{"", "mallory's lie", "alice's dat"} {
		if resp, _ := r.do("mallory", "PUT", "/v1/blobs/"+string(d), body); resp.StatusCode != 422 {
			t.Errorf("an upload of %q was taken: %d", body, resp.StatusCode)
		}
	}
	if has, err := m.HasBlob(ctx, d); has || err != nil {
		t.Error("its existence is told", err)
	}
	if _, err := m.OpenBlob(ctx, d, 0, -1, ""); cloudcrowd.CodeOf(err) != cloudcrowd.NotFound {
		t.Error(err)
	}
	spec := cloudcrowd.JobSpec{Inputs: map[string]cloudcrowd.Input{"x": {Files: []cloudcrowd.InputFile{{Name: "x", Digest: d}}}}}
	if _, err := m.Submit(ctx, spec, ""); cloudcrowd.CodeOf(err) != cloudcrowd.NotFound {
		t.Error(err)
	}
	if _, err := m.Plan(ctx, spec); cloudcrowd.CodeOf(err) != cloudcrowd.NotFound {
		t.Error(err)
	}
	if _, err := r.client("alice").Submit(ctx, spec, ""); err != nil {
		t.Error(err)
	}
	if _, err := m.PutBytes(ctx, []byte("alice's data")); err != nil { // who has the bytes may use them
		t.Error(err)
	}
	if has, _ := m.HasBlob(ctx, d); !has {
		t.Error("not known after a true upload")
	}
}

// A worker reads what its lease grants, and stores no more than granted in all.
func TestGrants(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, w := context.Background(), r.client("")
	a, b := []byte("input a"), []byte("input b")
	r.blobs.m[sum(a)], r.blobs.m[sum(b)] = a, b
	later := time.Now().Add(time.Hour)
	var got bytes.Buffer
	if _, err := w.FetchBlob(ctx, sum(a), r.signer.Read(sum(a), later), &got); err != nil || got.String() != string(a) {
		t.Fatal(err)
	}
	for name, grant := range map[string]string{
		"for another blob": r.signer.Read(sum(b), later), "expired": r.signer.Read(sum(a), time.Now().Add(-time.Second)), "made up": "AAAA",
		"for storing": r.signer.Upload(cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: testJob(1)}, N: 1}, "U", 100, later),
	} {
		if _, err := w.OpenBlob(ctx, sum(a), 0, -1, grant); cloudcrowd.CodeOf(err) != cloudcrowd.Forbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
	grant := r.signer.Upload(cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: testJob(1)}, N: 1}, "U", 10, later)
	put := func(s string) cloudcrowd.Code {
		return cloudcrowd.CodeOf(w.PutBlob(ctx, sum([]byte(s)), int64(len(s)), func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }, grant, nil))
	}
	if resp, _ := r.do("", "PUT", "/v1/blobs/"+string(sum([]byte("right"))), "wrong", "Authorization", "Grant "+grant); resp.StatusCode != 422 {
		t.Error("a wrong upload was taken")
	}
	for _, x := range []struct {
		s    string
		want cloudcrowd.Code
	}{{"123456", ""}, {"123456", ""}, {"12345", cloudcrowd.TooLarge}, {"1234", ""}, {"1", cloudcrowd.TooLarge}, {"123456", ""}} {
		if got := put(x.s); got != x.want {
			t.Errorf("%q: %q, want %q", x.s, got, x.want)
		}
	}
	if resp, _ := r.do("", "GET", "/v1/whoami", "", "Authorization", "Grant "+grant); resp.StatusCode != 401 {
		t.Error("a grant is taken for a token")
	}
}

// Output files come by stage, task and path, as attachments in a sandbox; SaveOutput writes them whole or not at all.
func TestOutputs(t *testing.T) {
	t.Parallel()
	r, names := furnish(t)
	ctx, c := context.Background(), r.client("alice")
	job, err := c.Job(ctx, cloudcrowd.JobID(names["JOB"]))
	if err != nil {
		t.Fatal(err)
	}
	dest := filepath.Join(t.TempDir(), "new", "out.txt")
	if err := c.SaveOutput(ctx, job.ID, job.Outputs[0], dest, nil); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(dest); string(b) != "result" {
		t.Errorf("%s", b)
	}
	wrong := job.Outputs[0]
	wrong.Digest = sum([]byte("other"))
	if err := c.SaveOutput(ctx, job.ID, wrong, dest+"2", nil); cloudcrowd.CodeOf(err) != cloudcrowd.DigestMismatch {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Dir(dest)); len(left) != 1 {
		t.Error("something was left behind", left)
	}
	resp, _ := r.do("alice", "GET", "/v1/jobs/"+names["JOB"]+"/outputs/count/0/dir/out.txt", "", "Range", "bytes=2-3")
	if resp.StatusCode != http.StatusPartialContent || resp.Header.Get("Content-Disposition") != "attachment; filename=out.txt" || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	for _, path := range []string{"count/0/dir/other.txt", "count/7/dir/out.txt", "nostage/0/dir/out.txt", "count/x/dir/out.txt", "count/-2/dir/out.txt", "count/-1/dir/out.txt"} {
		if resp, b := r.do("alice", "GET", "/v1/jobs/"+names["JOB"]+"/outputs/"+path, ""); resp.StatusCode != 404 {
			t.Errorf("%s: %d %s", path, resp.StatusCode, b)
		}
	}
	rc, err := c.AttemptLog(ctx, cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: job.ID}, N: 1})
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(rc); string(b) != "result" {
		t.Errorf("%s", b)
	}
	rc.Close()
}

// A damaged blob is named and not served; who has it is told so by HEAD, stores it again, and it is served.
func TestDamagedBlob(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := context.Background(), r.client("alice")
	data := []byte("ACGT")
	d, err := c.PutBytes(ctx, data)
	if err != nil {
		t.Fatal(err)
	}
	r.blobs.rot = map[cloudcrowd.Digest]bool{d: true}
	resp, b := r.do("alice", "GET", "/v1/blobs/"+string(d), "", "Range", "bytes=1-2")
	if resp.StatusCode != 500 || !strings.Contains(string(b), string(d)) || !strings.Contains(string(b), "damaged") || resp.Header.Get("ETag") != "" {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, b)
	}
	if _, err := c.OpenBlob(ctx, d, 0, -1, ""); cloudcrowd.CodeOf(err) != cloudcrowd.Internal {
		t.Error(err)
	}
	if _, err := c.PutBytes(ctx, data); err != nil || r.blobs.rot[d] {
		t.Errorf("it was not stored again, %v", err)
	}
	var got bytes.Buffer
	if _, err := c.FetchBlob(ctx, d, "", &got); err != nil || got.String() != string(data) {
		t.Errorf("%q, %v", &got, err)
	}
	if has, err := c.HasBlob(ctx, d); !has || err != nil {
		t.Error(has, err)
	}
}

// Whatever range is asked for, the answer is that part of the blob and says so, or a refusal; never other bytes.
func FuzzBlobRange(f *testing.F) {
	for _, s := range []string{"", "bytes=0-0", "bytes=5-", "bytes=-7", "bytes=0-3,8-9", "bytes=9-5", "bytes=99999999999999999999-", "bytes=-0", "bytes= 1 - 2 ", "bits=1-2", "bytes=0-,0-,0-",
		"bytes=-9223372036854775808", "bytes=9223372036854775807-"} {
		f.Add(s, uint16(1000))
		f.Add(s, uint16(0))
	}
	r := newRig(f)
	f.Fuzz(func(t *testing.T, wanted string, size uint16) {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(i * 251 >> 3)
		}
		d := sum(data)
		r.blobs.mu.Lock()
		r.blobs.m = map[cloudcrowd.Digest][]byte{d: data}
		r.blobs.mu.Unlock()
		request := httptest.NewRequest("GET", "/v1/blobs/"+string(d), nil)
		request.Header.Set("Authorization", "Grant "+r.signer.Read(d, time.Now().Add(time.Hour)))
		request.Header["Range"] = []string{wanted}
		recorder := httptest.NewRecorder()
		r.handler.ServeHTTP(recorder, request)
		body := recorder.Body.Bytes()
		switch recorder.Code {
		case http.StatusOK:
			if !bytes.Equal(body, data) {
				t.Fatalf("%q: %d bytes of %d", wanted, len(body), size)
			}
		case http.StatusPartialContent:
			checkSpan(t, recorder.Header().Get("Content-Range"), body, data)
		case http.StatusRequestedRangeNotSatisfiable, http.StatusTooManyRequests:
		default:
			t.Fatalf("%q: status %d", wanted, recorder.Code)
		}
	})
}

// checkSpan compares a part of an answer with the bytes it claims to be.
func checkSpan(t *testing.T, says string, b, data []byte) {
	t.Helper()
	var from, to, size int
	if _, err := fmt.Sscanf(says, "bytes %d-%d/%d", &from, &to, &size); err != nil || size != len(data) || from > to || to >= size || !bytes.Equal(b, data[from:to+1]) {
		t.Fatalf("%q: %d bytes of %d, %v", says, len(b), len(data), err)
	}
}
