package taskmanager

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
)

// A merge that cannot be done now, as on a full disk, is tried again, less and less often; whoever asks is told what is wrong, without what is the server's alone; and
// when it works, the job ends. One that is cancelled meanwhile leaves nothing.
func TestPassingTrouble(t *testing.T) {
	t.Parallel()
	tries, broken := 0, true
	r := newRig(t, func(c *Config) {
		c.Merge = func(ctx context.Context, m *cloudcrowd.Merge, s *cloudcrowd.Split, parts []MergePart, blobs blob.Store) ([]cloudcrowd.OutputFile, error) {
			if tries++; broken {
				return nil, &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "the disk is full", Err: errors.New("write /srv/secret: no space left on device")}
			}
			return concat(ctx, m, s, parts, blobs)
		}
	})
	w := r.join("w", "bob", 2, nil)
	id := r.submit("ada", "", r.spec("s", 2, true, one))
	gone := r.submit("ada", "", r.spec("gone", 2, true, one))
	r.work(w)
	if _, err := call(r, func(ctx context.Context) (int, error) { return 0, r.m.Cancel(ctx, gone, "ada", "") }); err != nil {
		t.Fatal(err)
	}
	r.pass(2 * time.Minute)
	if tries > 40 { // every quarter of a second it would be a thousand
		t.Errorf("tried %d times", tries)
	}
	want := "The server cannot prepare or merge stage all at present: the disk is full."
	told := func(lines []string) bool {
		return slices.ContainsFunc(lines, func(s string) bool { return strings.HasPrefix(s, want) && !strings.Contains(s, "secret") })
	}
	if notes := r.job(id).Notes; !told(notes) {
		t.Errorf("the job's notes: %q", notes)
	}
	if e := must(r, func(ctx context.Context) (cloudcrowd.Explanation, error) { return r.m.Explain(ctx, id) }); !told(e.Lines) {
		t.Errorf("explained: %q", e.Lines)
	}
	if n := len(r.m.loop.undone); n != 1 {
		t.Errorf("%d pieces of work are kept, not one", n)
	}
	broken = false
	r.pass(time.Minute)
	if j := r.job(id); j.State != cloudcrowd.JobDone || told(j.Notes) {
		t.Errorf("the job is %s: %q", j.State, j.Notes)
	}
	r.check()
}
