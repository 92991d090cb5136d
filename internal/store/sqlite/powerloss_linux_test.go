package sqlite

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// powered names the store's folder in the child process of TestPowerLoss.
const powered = "SQLITE_POWERED_DIR"

// The machine loses power at any moment: what was synced is on the disk; of what was written since, any part may be, each write whole, not at all, or some of
// its sectors. Every commit that was acknowledged is there all the same, at most one more, and the store goes on. What a child process asks of the
// disk is recorded by strace; the disk is then made as it might have been left. A disk whose syncs do nothing loses commits, and the test sees it.
func TestPowerLoss(t *testing.T) {
	if dir := os.Getenv(powered); dir != "" {
		commitForPowerLoss(t, dir)
		return
	}
	strace := needStrace(t)
	dir := t.TempDir()
	before := map[string][]byte{}
	s := open(t, dir)
	if err := newBookkeeper(t, s).commit(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range lasting {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
			before[name] = b
		}
	}
	record := filepath.Join(t.TempDir(), "strace")
	child := exec.CommandContext(t.Context(), strace, "-f", "--seccomp-bpf", "-y", "-qq", "-xx", "-s", "1000000", "-o", record,
		"-e", "trace=pwrite64,write,lseek,fsync,fdatasync,ftruncate,unlink,unlinkat,rename,renameat,renameat2", os.Args[0], "-test.run=^TestPowerLoss$", "-test.count=1")
	child.Env = append(os.Environ(), powered+"="+dir)
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("the child: %v\n%s", err, out)
	}
	log := readRecord(t, record, dir)
	last, kinds := log.acknowledged(len(log.events)), map[string]int{}
	for _, e := range log.events {
		kinds[e.file+" "+e.kind]++
	}
	if last < powerCommits || kinds["cloudcrowd.db write"] == 0 || kinds["cloudcrowd.db-wal sync"] < powerCommits {
		t.Fatalf("%d commits were acknowledged; %v", last, kinds)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	for round := range rounds {
		moment := log.from + rng.IntN(len(log.events)-log.from+1)
		if err := afterPowerLoss(t, before, log, moment, rng, true); err != nil {
			t.Errorf("round %d, after %d of %d calls: %v", round, moment, len(log.events), err)
		}
	}
	lost := 0
	for range 10 {
		if afterPowerLoss(t, before, log, len(log.events), rng, false) != nil {
			lost++
		}
	}
	if lost == 0 {
		t.Error("a disk that syncs nothing lost nothing: the test cannot fail")
	}
}

const powerCommits = 120

// lasting are the files of a store that count after a failure of the machine: the rest is made anew by who opens it.
var lasting = []string{"cloudcrowd.db", "cloudcrowd.db-wal", "cloudcrowd.db.head"}

// commitForPowerLoss is the child: it says on standard output what was acknowledged, with many checkpoints and projections in between.
func commitForPowerLoss(t *testing.T, dir string) {
	s := open(t, dir)
	s.turn.Lock()
	s.room.every, s.room.bound = 7, 60
	s.turn.Unlock()
	b := newBookkeeper(t, s)
	say := func() { _, _ = fmt.Fprintf(os.Stdout, "acknowledged %d\n", b.head.Seq) }
	say()
	for i := range int64(powerCommits) {
		if err := b.commit(); err != nil {
			t.Fatal(err)
		}
		if say(); i%11 == 0 {
			if err := s.Project(t.Context(), store.Projected{From: i / 11, To: i/11 + 1}); err != nil {
				t.Fatal(err)
			}
		}
		if i%25 == 0 {
			s.checkpoint() // beside those the store makes by itself, whose time nobody knows
		}
	}
	os.Exit(0) // nothing is closed
}

// asked is one thing that was asked of the disk.
type asked struct {
	kind   string // write, truncate, sync, remove; ack: a commit was acknowledged
	file   string // one of lasting
	data   []byte
	offset int64 // truncate: the size; ack: the row
	begun  int   // sync: what was asked before this is on the disk from now on
}

type record struct {
	events []asked
	from   int // from which on the child had opened the store
}

func (r *record) acknowledged(moment int) (seq int64) {
	for _, e := range r.events[:moment] {
		if e.kind == "ack" {
			seq = e.offset
		}
	}
	return seq
}

var (
	called  = regexp.MustCompile(`^(\d+) +(\w+)\((.*)$`)
	resumed = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>.* = (-?\d+)`)
	onFile  = regexp.MustCompile(`^(\d+)<([^>]*)>(?:, (.*))?$`)
	hexed   = regexp.MustCompile(`\\x([0-9a-f]{2})`)
)

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(hexed.ReplaceAllString(strings.Trim(text, `"`), "$1"))
	if err != nil {
		t.Fatalf("strace wrote %.60q: %v", text, err)
	}
	return b
}

// readRecord reads what strace wrote. A call counts from where it begins, a sync from where it ends.
func readRecord(t *testing.T, name, dir string) *record {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := &record{}
	places := map[string]int64{}  // of the file offset, by descriptor
	syncing := map[string]asked{} // by thread
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		line := lines.Text()
		if m := resumed.FindStringSubmatch(line); m != nil {
			if e, ok := syncing[m[1]]; ok && m[3] == "0" {
				r.events = append(r.events, e)
			}
			delete(syncing, m[1])
			continue
		}
		m := called.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		thread, call := m[1], m[2]
		args, result, done := strings.Cut(m[3], ") = ")
		args = strings.TrimSuffix(args, " <unfinished ...>")
		if strings.HasPrefix(call, "unlink") || strings.HasPrefix(call, "rename") {
			for _, quoted := range regexp.MustCompile(`"[^"]*"`).FindAllString(args, -1) {
				if base := filepath.Base(string(unhex(t, quoted))); slices.Contains(lasting, base) {
					t.Fatalf("%s of %s is not foreseen here", call, base)
				}
			}
			continue
		}
		on := onFile.FindStringSubmatch(args)
		if on == nil {
			continue
		}
		path := string(unhex(t, on[2]))
		e := asked{file: filepath.Base(path)}
		if call == "write" && on[1] == "1" {
			text, _, _ := strings.Cut(on[3], ", ")
			if said, ok := strings.CutPrefix(string(unhex(t, text)), "acknowledged "); ok {
				if r.from == 0 {
					r.from = len(r.events)
				}
				e.kind = "ack"
				if e.offset, err = strconv.ParseInt(strings.TrimSpace(said), 10, 64); err != nil {
					t.Fatal(err)
				}
				r.events = append(r.events, e)
			}
			continue
		}
		if filepath.Dir(path) != dir || !slices.Contains(lasting, e.file) {
			continue
		}
		rest := strings.Split(on[3], ", ")
		number := func(i int) int64 {
			n, err := strconv.ParseInt(rest[i], 10, 64)
			if err != nil {
				t.Fatalf("strace wrote %.200s: %v", line, err)
			}
			return n
		}
		switch call {
		case "lseek":
			if at, err := strconv.ParseInt(strings.Fields(result + " ")[0], 10, 64); done && err == nil {
				places[on[1]] = at
			} else {
				t.Fatalf("strace wrote %.200s", line)
			}
			continue
		case "pwrite64", "write":
			e.kind, e.data = "write", unhex(t, rest[0])
			if int64(len(e.data)) != number(1) {
				t.Fatalf("strace wrote %d of %d bytes", len(e.data), number(1))
			}
			if call == "pwrite64" {
				e.offset = number(2)
			} else {
				e.offset = places[on[1]]
				places[on[1]] += int64(len(e.data))
			}
		case "ftruncate":
			e.kind, e.offset = "truncate", number(0)
		case "fsync", "fdatasync":
			e.kind, e.begun = "sync", len(r.events)
			if !done {
				syncing[thread] = e
				continue
			}
			if !strings.HasPrefix(result, "0") {
				continue
			}
		}
		r.events = append(r.events, e)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return r
}

// sector is what a disk writes whole or not at all, in bytes.
const sector = 512

// left is a file as the disk may have it if power is lost after the first events. If syncs count, what was synced is there.
func (r *record) left(name string, was []byte, moment int, rng *rand.Rand, syncs bool) []byte {
	synced := 0
	for _, e := range r.events[:moment] {
		if syncs && e.file == name && e.kind == "sync" {
			synced = max(synced, e.begun)
		}
	}
	now := slices.Clone(was)
	put := func(data []byte, offset int64) {
		if grow := offset + int64(len(data)) - int64(len(now)); grow > 0 {
			now = append(now, make([]byte, grow)...)
		}
		copy(now[offset:], data)
	}
	fate := rng.Float64() // most is there, or little
	for i, e := range r.events[:moment] {
		if e.file != name {
			continue
		}
		kept := i < synced || rng.Float64() < fate
		switch {
		case e.kind == "truncate" && kept:
			if size := int(e.offset); size <= len(now) {
				now = now[:size]
			} else {
				now = append(now, make([]byte, size-len(now))...)
			}
		case e.kind != "write":
		case kept:
			put(e.data, e.offset)
		case rng.IntN(2) == 0: // torn
			for at := int64(0); at < int64(len(e.data)); {
				end := min(int64(len(e.data)), ((e.offset+at)/sector+1)*sector-e.offset)
				if rng.IntN(2) == 0 {
					put(e.data[at:end], e.offset+at)
				}
				at = end
			}
		}
	}
	return now
}

// afterPowerLoss opens the store as the disk may have been left, and says what is not as it must be.
func afterPowerLoss(t *testing.T, before map[string][]byte, r *record, moment int, rng *rand.Rand, syncs bool) error {
	t.Helper()
	dir := quickDir(t)
	defer os.RemoveAll(dir)
	names := maps.Clone(before)
	for _, e := range r.events[:moment] {
		if _, there := names[e.file]; !there && e.file != "" && e.kind != "ack" {
			names[e.file] = nil
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if err := os.WriteFile(filepath.Join(dir, name), r.left(name, names[name], moment, rng, syncs), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(t.Context(), filepath.Join(dir, "cloudcrowd.db"), Options{ProjectedRows: 16})
	if err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	defer s.Close()
	h, err := s.Acquire(t.Context(), 0)
	if err != nil {
		return fmt.Errorf("acquiring the shard: %w", err)
	}
	acknowledged, rows := r.acknowledged(moment), int64(0)
	if err := s.Rows(t.Context(), 0, 0, func(store.Row) error { rows++; return nil }); err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	if rows < acknowledged || rows > acknowledged+1 || rows != h.Seq {
		return fmt.Errorf("%d rows, the head is %d; %d were acknowledged", rows, h.Seq, acknowledged)
	}
	b := &bookkeeper{t, s, h}
	if err := b.commit(); err != nil {
		return fmt.Errorf("going on: %w", err)
	}
	a, err := s.Account(t.Context(), "anna")
	if err != nil || int64(a.Balance) != rows+1 {
		return fmt.Errorf("account %+v, %w, after %d rows", a, err, rows+1)
	}
	sum := int64(0)
	list, err := s.Accounts(t.Context())
	for _, a := range list {
		sum += int64(a.Balance)
	}
	if err != nil || sum != 0 {
		return fmt.Errorf("all accounts sum to %d, %w", sum, err)
	}
	return nil
}
