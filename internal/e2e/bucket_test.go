package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"cloudcrowd.dev/cloudcrowd"
)

// A server that keeps its blobs in a bucket runs a job whose input is far larger than a block; the workers read program and input from the bucket with
// signed addresses. Where the bucket refuses them, or the operator does not want it, they have the same from the server. The data folder holds no blob,
// fsck finds the bucket by itself, and the server continues after it was killed.
func TestBucket(t *testing.T) {
	t.Parallel()
	const bucket = "pool"
	for name, tt := range map[string]struct {
		refuse  bool // the service answers 403 to signed addresses
		options []string
	}{
		"direct": {}, "refused": {refuse: true}, "indirect": {options: []string{"--blobs-direct=false"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := s3mem.New()
			if err := objects.CreateBucket(bucket); err != nil {
				t.Fatal(err)
			}
			var whole, parts, refused atomic.Int64
			service := gofakes3.New(objects).Server()
			s3 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch signed := r.URL.Query().Has("X-Amz-Signature"); {
				case signed && tt.refuse:
					refused.Add(1)
					http.Error(w, "no", http.StatusForbidden)
					return
				case signed && r.Header.Get("Range") != "":
					parts.Add(1)
				case signed:
					whole.Add(1)
				}
				service.ServeHTTP(w, r)
			}))
			t.Cleanup(s3.Close)
			var lines strings.Builder
			for i := range 60_000 {
				fmt.Fprintf(&lines, "line %d of the input %x\n", i, i*i)
			}
			dir := t.TempDir()
			input := filepath.Join(dir, "data.txt")
			if err := os.WriteFile(input, []byte(lines.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			options := append([]string{"--blobs", "s3://" + bucket + "?endpoint=" + url.QueryEscape(s3.URL)}, tt.options...)
			c := crowdIn(t, dir, filepath.Join(dir, "data"), options, "AWS_ACCESS_KEY_ID=TESTKEY", "AWS_SECRET_ACCESS_KEY=test-secret", "AWS_EC2_METADATA_DISABLED=true")
			c.hire("ada")
			c.hire("grace")
			c.online("ada", "grace")
			description := fmt.Sprintf(`
name: copying
inputs:
  data: %s
stages:
  copy:
    split: {lines: {input: data, size: 10000}}
    run: {wasm: ./program.wasm, args: [copy]}
    resources: {output: 4MiB}
    verify: {replicas: 2}
  all:
    after: [copy]
    merge: concat
`, input)
			id := c.submit(description)
			c.server.kill()
			c.again()
			job := c.ended(id, cloudcrowd.JobDone)
			if c.answer(job, "lines.txt") != lines.String() {
				t.Error("the result is not the input")
			}
			direct := whole.Load() > 0 && parts.Load() > 0
			if direct != (name == "direct") || (refused.Load() > 0) != tt.refuse {
				t.Errorf("%d blobs and %d parts were read directly, %d times it was refused", whole.Load(), parts.Load(), refused.Load())
			}
			if files, err := filepath.Glob(filepath.Join(c.data, "blobs*", "*")); err != nil || len(files) != 0 {
				t.Errorf("in the data folder: %v, %v", files, err)
			}
			for _, name := range []string{"server.log", "ada.log", "grace.log"} {
				b, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil || strings.Contains(string(b), "X-Amz") || strings.Contains(string(b), "test-secret") {
					t.Errorf("%s holds a secret, %v", name, err)
				}
			}
			c.fsck()
			// What the bucket lost is named.
			if _, err := objects.DeleteObject(bucket, "blobs/"+string(job.Outputs[0].Digest)); err != nil {
				t.Fatal(err)
			}
			r := command(t, c.env, "fsck", "--data", c.data, "--json")
			if r.status != 8 || !strings.Contains(r.stdout, string(job.Outputs[0].Digest)) {
				t.Errorf("fsck: status %d, %s%s", r.status, r.stdout, r.stderr)
			}
		})
	}
}
