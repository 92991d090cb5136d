package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

// strike makes a running process's system calls fail: those of the given names on the given file (all files, if it is ""), with the given error, as
// strace's inject option has it. The disk is well again when heal is called.
func (p *process) strike(t testing.TB, file, calls, how string) (heal func()) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		lack(t, "strace is needed to make the disk fail: %v", err)
	}
	args := []string{"-f", "-p", fmt.Sprint(p.cmd.Process.Pid), "-o", os.DevNull, "-e", "trace=" + calls, "-e", "inject=" + calls + ":" + how}
	if file != "" {
		args = append(args, "-P", file)
	}
	cmd := exec.Command(strace, args...)
	bind(cmd)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	attached, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		var said []string
		for lines.Scan() {
			said = append(said, lines.Text())
			if strings.Contains(lines.Text(), "attached") {
				select {
				case attached <- nil:
				default:
				}
			}
		}
		select {
		case attached <- fmt.Errorf("%s", strings.Join(said, "; ")):
		default:
		}
		_ = cmd.Wait() // it is interrupted
	}()
	var once sync.Once
	heal = func() {
		once.Do(func() {
			_ = cmd.Process.Signal(os.Interrupt) // it may have ended with the process
			<-ended
		})
	}
	t.Cleanup(heal)
	if err := <-attached; err != nil {
		lack(t, "strace cannot attach to a process: %v", err)
	}
	return heal
}

// gifts are credits issued to an account one by one, each with a key of its own, and what became of them.
type gifts struct {
	mu           sync.Mutex
	keys         []string // all
	acknowledged int
	refused      int
}

// give issues one credit's millionth, once.
func (g *gifts) give(t testing.TB, api *client.Client) error {
	g.mu.Lock()
	key := fmt.Sprint("gift ", len(g.keys))
	g.keys = append(g.keys, key)
	g.mu.Unlock()
	_, err := api.Issue(t.Context(), gifted, 1, "", key)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err == nil:
		g.acknowledged++
	case cloudcrowd.CodeOf(err) == cloudcrowd.Unavailable:
		g.refused++
	default:
		t.Errorf("issue: %v", err)
	}
	return err
}

func (g *gifts) turnedDown() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refused
}

// The server's disk fails one sync or one write, under load. Nothing is acknowledged from then on, though the disk is well again at once, because what it
// claims to have synced it may have dropped; reading goes on; the overview says why. After a restart everything acknowledged is there, running work goes on,
// and what was refused can be asked for again.
func TestServerDiskFails(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, file, calls, how string }{
		{"sync", "cloudcrowd.db-wal", "fsync,fdatasync", "error=EIO:when=1"},
		{"write", "cloudcrowd.db-wal", "pwrite64", "error=EIO:when=1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCrowd(t, shortLease, "ada", "grace")
			op := c.once(c.serving.AdminToken)
			running := c.midway(func() cloudcrowd.JobID { return c.submit(counting(6, 30, pair)) })
			spec := c.spec(c.api, counting(1, 1, pair))
			var given gifts
			var givers sync.WaitGroup
			stop := make(chan struct{})
			for range 3 {
				givers.Go(func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(time.Millisecond):
							_ = given.give(t, op) // what became of it is noted
						}
					}
				})
			}
			until(t, "credits are issued", func() bool { given.mu.Lock(); defer given.mu.Unlock(); return given.acknowledged > 20 })
			heal := c.server.strike(t, filepath.Join(c.data, test.file), test.calls, test.how)
			until(t, "the server notices", func() bool { return given.turnedDown() > 0 || c.server.gone() })
			heal()
			close(stop)
			givers.Wait()
			before := given.acknowledged
			if !c.server.gone() {
				for range 3 {
					if err := given.give(t, op); err == nil {
						t.Error("credits were issued after the disk had failed")
					}
				}
				if _, err := c.impatient().Submit(t.Context(), spec, ""); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
					t.Errorf("a job submitted after the disk had failed: %v", err)
				} else {
					t.Log(err)
				}
				until(t, "the overview says so", func() bool {
					status, err := c.op.Status(t.Context())
					if err != nil {
						t.Fatalf("reading: %v", err)
					}
					return status.ReadOnly != ""
				})
				c.job(running) // reading goes on
			}
			c.server.kill()
			c.again()
			c.online("ada", "grace")
			account, err := c.op.Account(t.Context(), gifted)
			if err != nil || account.Balance < cloudcrowd.Credits(before) || account.Balance > cloudcrowd.Credits(len(given.keys)) {
				t.Errorf("%d of %d gifts were acknowledged, the account has %d, %v", before, len(given.keys), account.Balance, err)
			}
			for _, key := range given.keys {
				if _, err := c.op.Issue(t.Context(), gifted, 1, "", key); err != nil {
					t.Fatal(err)
				}
			}
			if account, err = c.op.Account(t.Context(), gifted); err != nil || account.Balance != cloudcrowd.Credits(len(given.keys)) {
				t.Errorf("%d gifts were asked for, each at least once: the account has %d, %v", len(given.keys), account.Balance, err)
			}
			job := c.ended(running, cloudcrowd.JobDone)
			if got := c.answer(job, "lines.txt"); got != counted(6, 30) {
				t.Errorf("the answer is\n%s", got)
			}
			c.audit(job)
			t.Logf("%d gifts were acknowledged, %d were not", before, len(given.keys)-before)
		})
	}
}

// The disk fails while a blob is stored: it is refused and not there, nothing is left over; after a restart it is stored.
func TestBlobDiskFails(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, nil)
	content := []byte(strings.Repeat("ACGT\n", 50_000))
	digest := digestOf(string(content))
	heal := c.server.strike(t, "", "fsync,fdatasync", "error=EIO:when=1")
	api := c.impatient()
	if _, err := api.PutBytes(t.Context(), content); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
		t.Errorf("stored by a disk that fails: %v", err)
	} else {
		t.Log(err)
	}
	heal()
	if _, err := api.PutBytes(t.Context(), content); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
		t.Errorf("stored after a sync had failed: %v", err)
	}
	c.notStored(digest)
	c.server.kill()
	c.again()
	if left := c.unfinished(); len(left) > 0 {
		t.Errorf("%v is left over", left)
	}
	c.notStored(digest)
	if stored, err := c.api.PutBytes(t.Context(), content); err != nil || stored != digest {
		t.Errorf("%s, %v", stored, err)
	}
	c.balance()
	c.fsck()
}

// A worker's disk fails while it keeps its results: it says so and takes no work until it can write again; the job ends right, and afterwards the worker
// takes its part again.
func TestWorkerDiskFails(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, shortLease, "ada", "grace", "linus")
	id := c.midway(func() cloudcrowd.JobID { return c.submit(counting(6, 50, pair)) })
	heal := c.workers["ada"].strike(t, filepath.Join(c.folder("ada"), "spool", "log"), "write,fsync", "error=EIO")
	until(t, "ada notices, or all is done", func() bool {
		return strings.Contains(strings.Join(c.workers["ada"].output(), "\n"), "the disk cannot be written") || c.job(id).State.Ended()
	})
	job := c.ended(id, cloudcrowd.JobDone)
	if got := c.answer(job, "lines.txt"); got != counted(6, 50) {
		t.Errorf("the answer is\n%s", got)
	}
	if job.Refused > 0 {
		t.Errorf("%d results were refused", job.Refused)
	}
	c.audit(job)
	heal()
	c.workers["ada"].kill()
	c.work("ada", "")
	c.online("ada", "grace", "linus")
	job = c.ended(c.submit(counting(2, 30, "{replicas: 3, quorum: 3}")), cloudcrowd.JobDone)
	if got := c.answer(job, "lines.txt"); got != counted(2, 30) {
		t.Errorf("the answer is\n%s", got)
	}
	c.audit(job)
}
