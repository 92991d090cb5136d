package storetest

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// killed names the store's folder in a child process of Kill.
const killed = "STORETEST_KILLED_DIR"

// Kill commits in a child process and kills it without warning, again and again over the same store. After every death each row it had
// acknowledged is there with its checksum, at most the one under way came on top, the ledger balances and agrees with the rows, and the
// projection stands at a whole stretch. The calling test is run again in the child, so Kill must be all it does.
func Kill(t *testing.T, open func(t *testing.T, dir string) store.Store) {
	if dir := os.Getenv(killed); dir != "" {
		commitUntilKilled(t, open(t, dir))
		return
	}
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	acknowledged := int64(0)
	for round := range rounds {
		acknowledged = max(acknowledged, killOnce(t, dir, rng.IntN(120), time.Duration(rng.IntN(3000))*time.Microsecond))
		s := open(t, dir)
		list := readRows(t, s, 0, 0)
		if n := int64(len(list)); n < acknowledged || n > acknowledged+1 {
			t.Fatalf("round %d: %d rows, %d were acknowledged", round, n, acknowledged)
		}
		acknowledged = int64(len(list))
		CheckSum(t, s)
		a := got(s.Account(t.Context(), "anna"))(t)
		if want := cloudcrowd.Credits(acknowledged); a.Balance != want || a.Held != 0 {
			t.Fatalf("round %d: account %+v after %d rows", round, a, acknowledged)
		}
		if n := len(allPages(t, 1000, func(p store.Page) ([]cloudcrowd.Transfer, string, error) {
			return s.Transfers(t.Context(), store.TransferFilter{}, p)
		})); n != 10*len(list) {
			t.Fatalf("round %d: %d transfers after %d rows", round, n, len(list))
		}
		to := got(s.ProjectedTo(t.Context(), 0))(t)
		if n := len(allPages(t, 1000, func(p store.Page) ([]cloudcrowd.Task, string, error) { return s.Tasks(t.Context(), jobID(1), -1, p) })); to > acknowledged || int64(n) < to {
			t.Fatalf("round %d: projected to %d of %d, %d tasks", round, to, acknowledged, n)
		}
		must(t, s.Close())
	}
	if acknowledged < int64(rounds) {
		t.Errorf("only %d rows in %d rounds", acknowledged, rounds)
	}
}

// killOnce starts a child, lets it acknowledge some commits and kills it a little later, in the middle of whatever it does then. It returns the
// last seq the child acknowledged.
func killOnce(t *testing.T, dir string, commits int, later time.Duration) (last int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	child.Env = append(os.Environ(), killed+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		seq, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			t.Fatalf("the child says %q", lines.Text())
		}
		if last = seq; n == commits {
			time.AfterFunc(later, func() { _ = child.Process.Kill() })
		}
	}
	if err := child.Wait(); err == nil || ctx.Err() != nil {
		t.Fatalf("the child ended by itself: %v", err)
	}
	return last
}

// commitUntilKilled is the child: it prints each seq once its commit was acknowledged, and projects now and then.
func commitUntilKilled(t *testing.T, s store.Store) {
	b := newBook(t, s, 0)
	projected := got(s.ProjectedTo(t.Context(), 0))(t)
	for {
		next := b.batch()
		for range 10 {
			issue(&next, "anna", 1)
		}
		// Each of the others goes to somebody else, so that a row is worth one credit to anna.
		for i := range 9 {
			next.Transfers[i].Credit = cloudcrowd.AccountID(fmt.Sprintf("owner%02d", i))
		}
		b.commit(next)
		if _, err := fmt.Println(next.Seq); err != nil {
			return
		}
		if next.Seq%7 != 0 {
			continue
		}
		p := store.Projected{From: projected, To: next.Seq}
		for seq := projected + 1; seq <= next.Seq; seq++ {
			p.Tasks = append(p.Tasks, sampleTask(jobID(1), 0, int32(seq)))
		}
		must(t, s.Project(t.Context(), p))
		projected = next.Seq
	}
}
