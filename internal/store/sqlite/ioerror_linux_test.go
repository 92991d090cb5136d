package sqlite

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// failing names the store's folder in the child process of TestSyncFails.
const failing = "SQLITE_FAILING_DIR"

// When the disk fails a sync for once, the commit under way is answered unavailable and the store writes nothing more, though every later sync would
// succeed; a store opened anew goes on with all that was acknowledged. The system's calls are made to fail by strace.
func TestSyncFails(t *testing.T) {
	if dir := os.Getenv(failing); dir != "" {
		commitUntilSyncFails(t, dir)
		return
	}
	strace := needStrace(t)
	dir := t.TempDir()
	child := exec.CommandContext(t.Context(), strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO:when=40", os.Args[0], "-test.run=^TestSyncFails$", "-test.count=1", "-test.v")
	child.Env = append(os.Environ(), failing+"="+dir)
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "acknowledged") {
		t.Fatalf("the child: %v\n%s", err, out)
	}
}

// needStrace returns where strace is; a test without it is skipped.
func needStrace(t *testing.T) string {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err == nil {
		err = exec.CommandContext(t.Context(), strace, "-f", "-e", "trace=fsync", "true").Run()
	}
	if err != nil {
		if os.Getenv("CLOUDCROWD_REQUIRE_ALL") == "1" {
			t.Fatalf("strace is needed: %v", err)
		}
		t.Skipf("SKIPPED: strace is needed to see or change what is asked of the disk: %v", err)
	}
	return strace
}

func commitUntilSyncFails(t *testing.T, dir string) {
	runtime.LockOSThread() // strace counts by thread: on one of them the sync fails once, on several it would fail once each
	s := open(t, dir)
	b := newBookkeeper(t, s)
	var err error
	for range 1000 {
		if err = b.commit(); err != nil {
			break
		}
	}
	e, ok := errors.AsType[*cloudcrowd.Error](err)
	if !ok || e.Code != cloudcrowd.Unavailable || !strings.Contains(e.Msg, "failed") {
		t.Fatalf("%v, want code unavailable that speaks of a failed disk", err)
	}
	t.Logf("%d commits were acknowledged, then: %v", b.head.Seq, err)
	if err := b.commit(); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable || !strings.Contains(err.Error(), "earlier") {
		t.Errorf("%v, want the store to refuse", err)
	}
	if err := s.Close(); err != nil {
		t.Logf("closing: %v", err)
	}
	acknowledged := b.head.Seq
	b = newBookkeeper(t, open(t, dir))
	if b.head.Seq < acknowledged || b.head.Seq > acknowledged+1 {
		t.Errorf("the journal ends at %d, %d were acknowledged", b.head.Seq, acknowledged)
	}
	if err := b.commit(); err != nil {
		t.Error(err)
	}
	b.check()
}
