// Package postgrestest starts real PostgreSQL servers for tests: each in a folder of its own, on a Unix socket in it, with the durability that
// PostgreSQL has by default. It needs the programs initdb and postgres, and no server of the system.
package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a server of a test.
type Server struct {
	dir, bin string
	schemas  atomic.Int64
	settings []string

	mu      sync.Mutex
	running *exec.Cmd
	ended   chan struct{} // closed when running has ended
	log     bytes.Buffer
}

// shared is the server of a test binary.
var shared struct {
	sync.Mutex
	server *Server
	err    error
}

// Main runs the tests and stops the server that they shared. For TestMain: os.Exit(postgrestest.Main(m)).
func Main(m *testing.M) int {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		shared.server.remove()
	}
	return code
}

// Shared returns the one server of the test binary and starts it at the first call; the package's TestMain must call Main. It skips the test where
// PostgreSQL is not installed.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		var dir string
		if dir, shared.err = os.MkdirTemp("", "cloudcrowd-pg-"); shared.err == nil {
			shared.server, shared.err = start(dir)
		}
	}
	check(t, shared.err)
	return shared.server
}

// Start starts a server for one test, which may kill it. settings are lines of postgresql.conf.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "cloudcrowd-pg-")
	if err != nil {
		t.Fatal(err)
	}
	s, err := start(dir, settings...)
	check(t, err)
	t.Cleanup(s.remove)
	return s
}

// StartOnSmallDisk starts a server whose files are on a file system of so many bytes, at the path it returns. It skips the test where that cannot be
// mounted.
func StartOnSmallDisk(t testing.TB, size int) (s *Server, disk string) {
	t.Helper()
	disk, err := os.MkdirTemp("", "cloudcrowd-pg-")
	if err != nil {
		t.Fatal(err)
	}
	if err := mountSmall(disk, size); err != nil {
		_ = os.Remove(disk)
		if os.Getenv("CLOUDCROWD_REQUIRE_ALL") == "1" {
			t.Fatalf("a small file system cannot be mounted: %v", err)
		}
		t.Skipf("NOT TESTED: a small file system cannot be mounted (needs root): %v", err)
	}
	t.Cleanup(func() {
		unmount(disk)
		_ = os.Remove(disk)
	})
	s, err = start(disk)
	check(t, err)
	t.Cleanup(s.remove)
	return s, disk
}

// Revive starts the server again if it has ended by itself.
func (s *Server) Revive(t testing.TB) {
	t.Helper()
	select {
	case <-s.ended:
		s.Stop()
	default:
		return
	}
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
}

var errNotInstalled = errors.New("PostgreSQL is not installed: no initdb in the PATH, nor in /usr/lib/postgresql/*/bin")

func check(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, errNotInstalled) && os.Getenv("CLOUDCROWD_REQUIRE_ALL") != "1" {
		t.Skipf("NOT TESTED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// binaries is the folder of PostgreSQL's programs.
func binaries() (string, error) {
	if p, err := exec.LookPath("initdb"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			return filepath.Dir(p), nil
		}
	}
	list, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(list) == 0 {
		return "", errNotInstalled
	}
	return filepath.Dir(slices.MaxFunc(list, func(a, b string) int { return version(a) - version(b) })), nil
}

// version is the number in /usr/lib/postgresql/15/bin/initdb.
func version(p string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(p))))
	return n
}

func start(dir string, settings ...string) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		_ = os.Remove(dir)
		return nil, err
	}
	s := &Server{dir: dir, bin: bin, settings: settings}
	if err := s.create(); err != nil {
		s.remove()
		return nil, err
	}
	return s, nil
}

func (s *Server) create() error {
	if err := giveAway(s.dir); err != nil {
		return err
	}
	// A collation that sorts otherwise than by bytes shows queries that rely on the database's.
	arguments := []string{"--pgdata", s.data(), "--auth", "trust", "--username", "cloudcrowd", "--encoding", "UTF8", "--locale", "C", "--no-sync"}
	out, err := s.program(context.Background(), "initdb", append(slices.Clone(arguments), "--locale-provider", "icu", "--icu-locale", "en")...).CombinedOutput()
	if err != nil {
		if err := os.RemoveAll(s.data()); err != nil {
			return err
		}
		out, err = s.program(context.Background(), "initdb", arguments...).CombinedOutput()
	}
	if err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return s.Run()
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// program is one of PostgreSQL's, as a user it agrees to run as, in a folder that he can see.
func (s *Server) program(ctx context.Context, name string, arguments ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, filepath.Join(s.bin, name), arguments...)
	c.Dir = s.dir
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	c.SysProcAttr = attributes()
	return c
}

// Run starts the server and returns when it answers. It repeats starting: what a killed server left behind may take a moment to end.
func (s *Server) Run() error {
	for limit := time.Now().Add(time.Minute); ; {
		err := s.runOnce()
		if err == nil {
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("start PostgreSQL: %w\n%s", err, s.Log())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *Server) runOnce() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		return errors.New("it runs already")
	}
	arguments := []string{"-D", s.data(), "-k", s.dir, "-c", "listen_addresses=", "-c", "max_connections=300", "-c", "log_min_messages=warning"}
	for _, line := range s.settings {
		arguments = append(arguments, "-c", line)
	}
	c := s.program(context.Background(), "postgres", arguments...)
	c.Stderr, c.Stdout = &lockedWriter{s}, &lockedWriter{s}
	started := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		// The server dies with this process, which Linux ties to the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread() // else the thread ends, and with it what others have started from it before
		defer close(ended)
		err := c.Start()
		started <- err
		if err == nil {
			_ = c.Wait()
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		conn, err := pgx.Connect(ctx, s.url(nil))
		if err == nil {
			_ = conn.Close(ctx)
		}
		cancel()
		if err == nil {
			s.running, s.ended = c, ended
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("it ended: %v", c.ProcessState)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// signal ends the running server and returns when it is gone.
func (s *Server) signal(how os.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return
	}
	_ = s.running.Process.Signal(how)
	<-s.ended
	s.running = nil
}

// Kill ends the server without warning, as kill -9 does: its main process first, the others notice.
func (s *Server) Kill() { s.signal(os.Kill) }

// Stop ends the server in order, with all connections.
func (s *Server) Stop() { s.signal(os.Interrupt) }

func (s *Server) remove() {
	s.signal(syscall.SIGQUIT)
	_ = os.RemoveAll(s.dir)
}

// Major is the version of the PostgreSQL that is installed, as 15.
func Major(t testing.TB) int {
	t.Helper()
	bin, err := binaries()
	check(t, err)
	out, err := exec.Command(filepath.Join(bin, "postgres"), "--version").Output() // "postgres (PostgreSQL) 15.3"
	if err != nil {
		t.Fatal(err)
	}
	_, number, _ := strings.Cut(string(out), ") ")
	number, _, _ = strings.Cut(strings.TrimSpace(number), ".")
	n, err := strconv.Atoi(strings.TrimRight(strings.Fields(number)[0], "abcdefghijklmnopqrstuvwxyz"))
	if err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	return n
}

// Sum stops the server, gives every page a checksum, and starts it again.
func (s *Server) Sum(t testing.TB) {
	t.Helper()
	s.Stop()
	if out, err := s.program(context.Background(), "pg_checksums", "--enable", "--no-sync", "--pgdata", s.data()).CombinedOutput(); err != nil {
		t.Fatalf("pg_checksums: %v\n%s", err, out)
	}
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
}

// Flip changes one bit of every page of a table, at an address, on the disk of the server, which it stops and starts again.
func (s *Server) Flip(t testing.TB, address, table string) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), address)
	if err != nil {
		t.Fatal(err)
	}
	var path string
	err = conn.QueryRow(context.Background(), "SELECT pg_relation_filepath($1::text::regclass)", table).Scan(&path)
	_ = conn.Close(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	path = filepath.Join(s.data(), path)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const page = 8192
	for at := page - 20; at < len(b); at += page { // rows fill a page from its end
		b[at] ^= 1
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
}

// Socket is the path of the server's Unix socket.
func (s *Server) Socket() string { return filepath.Join(s.dir, ".s.PGSQL.5432") }

func (s *Server) url(q url.Values) string {
	if q == nil {
		q = url.Values{}
	}
	if !q.Has("host") {
		q.Set("host", s.dir)
	}
	return (&url.URL{Scheme: "postgres", User: url.User("cloudcrowd"), Path: "/postgres", RawQuery: q.Encode()}).String()
}

// Address makes an empty schema and returns the address of a store in it.
func (s *Server) Address(t testing.TB) string {
	t.Helper()
	schema := fmt.Sprintf("test%d", s.schemas.Add(1))
	s.Exec(t, "CREATE SCHEMA "+schema)
	return s.url(url.Values{"search_path": {schema}})
}

// Exec runs a statement past any store and returns how many rows it changed.
func (s *Server) Exec(t testing.TB, text string, arguments ...any) int64 {
	t.Helper()
	return Exec(t, s.url(nil), text, arguments...)
}

// Exec runs a statement at an address, past any store, and returns how many rows it changed.
func Exec(t testing.TB, address, text string, arguments ...any) int64 {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	tag, err := conn.Exec(context.Background(), text, arguments...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return tag.RowsAffected()
}

// Log is what the server has written.
func (s *Server) Log() string {
	logs.Lock()
	defer logs.Unlock()
	return s.log.String()
}

var logs sync.Mutex

// lockedWriter keeps what a server writes.
type lockedWriter struct{ s *Server }

func (w *lockedWriter) Write(b []byte) (int, error) {
	logs.Lock()
	defer logs.Unlock()
	return w.s.log.Write(b)
}
