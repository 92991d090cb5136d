package browser

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/examples"
	"cloudcrowd.dev/cloudcrowd/internal/jobfile"
)

// platform is a server and its workers.
type platform struct {
	t      *testing.T
	dir    string
	server *exec.Cmd
	URL    string         `json:"url"`
	Admin  string         `json:"admin"`
	Join   string         `json:"join"`
	api    *client.Client // operator
}

// newPlatform starts a server without workers.
func newPlatform(t *testing.T) *platform {
	t.Helper()
	p := &platform{t: t, dir: t.TempDir()}
	p.serve(steadyAddress(t))
	options, _, err := client.FromLink(p.Admin)
	if err != nil {
		t.Fatal(err)
	}
	if p.api, err = client.New(options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.api.Close)
	return p
}

// start runs the command in the background, killed when the test ends, and returns its first line of stdout with a brace: the answer to --json.
func (p *platform) start(name string, args ...string) (*exec.Cmd, string) {
	p.t.Helper()
	file := filepath.Join(p.dir, name+".log")
	log, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close() // the child has its own
	cmd := exec.Command(program, args...)
	cmd.Stderr = log
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CLOUDCROWD_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home)
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		kill(cmd)
		if p.t.Failed() {
			b, _ := os.ReadFile(file)
			p.t.Logf("--- %s:\n%s", name, b[max(0, len(b)-3000):])
		}
	})
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			p.t.Fatalf("%s ended before it served: %v", name, err)
		}
		if strings.HasPrefix(line, "{") {
			go func() { _, _ = io.Copy(io.Discard, lines) }()
			return cmd, line
		}
	}
}

// kill ends a process without a warning. Safe to call twice.
func kill(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // its status is that it was killed
	}
}

// serve starts the server on an address; after a restart it must be the same one to the world.
func (p *platform) serve(listen string) {
	p.t.Helper()
	var line string
	p.server, line = p.start("server", "server", "--data", filepath.Join(p.dir, "data"), "--listen", listen, "--no-context", "--json")
	before := *p
	if err := json.Unmarshal([]byte(line), p); err != nil {
		p.t.Fatalf("%v: %s", err, line)
	}
	if before.URL != "" && (before.URL != p.URL || before.Admin != p.Admin) {
		p.t.Fatalf("after the restart the server is at %s, before at %s", p.URL, before.URL)
	}
}

// crash kills the server.
func (p *platform) crash() { kill(p.server) }

// again starts the killed server on the same folder and port.
func (p *platform) again() {
	p.t.Helper()
	u, err := url.Parse(p.URL)
	if err != nil {
		p.t.Fatal(err)
	}
	p.serve(u.Host)
}

// hire starts honest workers, each of an owner of its own. All share compiled code, which saves most of their time.
func (p *platform) hire(names ...string) {
	p.t.Helper()
	for _, name := range names {
		invite, err := p.api.CreateInvite(p.t.Context(), client.InviteRequest{Owner: cloudcrowd.AccountID(name), MaxUses: 1})
		if err != nil {
			p.t.Fatal(err)
		}
		dir, compiled := filepath.Join(p.dir, name), filepath.Join(home, "compiled")
		for _, d := range []string{dir, compiled} {
			if err := os.MkdirAll(d, 0o700); err != nil {
				p.t.Fatal(err)
			}
		}
		if err := os.Symlink(compiled, filepath.Join(dir, "compiled")); err != nil {
			p.t.Logf("%s compiles for itself: %v", name, err)
		}
		p.start(name, "worker", "--join", invite.Link, "--data", dir, "--name", name, "--slots", "1", "--memory", "2GiB", "--json", "--log", "info")
	}
}

// submit submits an example with some parameters replaced.
func (p *platform) submit(example string, params map[string]string) cloudcrowd.JobID {
	p.t.Helper()
	e, ok := examples.Find(example)
	if !ok {
		p.t.Fatalf("there is no example %s", example)
	}
	path, err := e.Extract(filepath.Join(p.dir, example))
	if err != nil {
		p.t.Fatal(err)
	}
	file, err := jobfile.Load(path, jobfile.Options{Params: params})
	if err != nil {
		p.t.Fatal(err)
	}
	spec, err := file.Resolve(func(u jobfile.Upload) (cloudcrowd.Digest, int64, error) {
		f, err := p.api.PutFile(p.t.Context(), u.Path, nil)
		return f.Digest, f.SizeBytes, err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	job, err := p.api.Submit(p.t.Context(), spec, "")
	if err != nil {
		p.t.Fatal(err)
	}
	return job.ID
}

// result reads a result file of a job through the API.
func (p *platform) result(id cloudcrowd.JobID, path string) []byte {
	p.t.Helper()
	job, err := p.api.Job(p.t.Context(), id)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, o := range job.Outputs {
		if o.Path != path {
			continue
		}
		r, err := p.api.OpenOutput(p.t.Context(), id, o.Stage, o.Task, o.Path)
		if err != nil {
			p.t.Fatal(err)
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		if err != nil {
			p.t.Fatal(err)
		}
		return b
	}
	p.t.Fatalf("job %s has no result %s but %v", id, path, job.Outputs)
	return nil
}

// steadyAddress is a free loopback address that a server finds free again after a restart: systems do not give ports so low to whoever asks for any.
func steadyAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000)))
		if err != nil {
			continue
		}
		defer l.Close()
		return l.Addr().String()
	}
	t.Fatal("no port is free")
	return ""
}
