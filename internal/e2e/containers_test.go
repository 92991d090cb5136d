package e2e

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"cloudcrowd.dev/cloudcrowd"
)

// containers are a server and workers as deploy/compose.yaml describes them, from an image whose last stage is that of deploy/Dockerfile, made of the program
// under test. No registry is asked. Everything has the run's name and is removed when the test ends.
type containers struct {
	t        testing.TB
	name     string // of this run; image and network are called so
	services map[string]service
	host     string            // address at which the server is reached from here
	env      map[string]string // what compose would find in its environment
}

// service is what the test reads of a service of a compose file. A key that is not here would be ignored: the test refuses it.
type service struct {
	Image           string
	Build           any
	Restart         string
	ReadOnly        bool `yaml:"read_only"`
	Tmpfs           []string
	CapDrop         []string `yaml:"cap_drop"`
	SecurityOpt     []string `yaml:"security_opt"`
	Command         []string
	Environment     map[string]string
	Ports           []string
	Volumes         []string
	DependsOn       any    `yaml:"depends_on"`
	StopGracePeriod string `yaml:"stop_grace_period"`
	Healthcheck     struct {
		Test []string
		Rest map[string]any `yaml:",inline"`
	}
}

// newContainers builds the image and makes the network.
func newContainers(t testing.TB) *containers {
	t.Helper()
	if os.Getenv("CLOUDCROWD_WITHOUT_DOCKER") == "1" {
		t.Skip("NOT TESTED: CLOUDCROWD_WITHOUT_DOCKER says that this machine cannot run containers")
	}
	if runtime.GOOS != "linux" {
		lack(t, "the program under test is none of Linux, which containers need")
	}
	if out, err := exec.CommandContext(t.Context(), "docker", "info").CombinedOutput(); err != nil {
		lack(t, "no Docker daemon answers: %v, %s", err, last(string(out)))
	}
	c := &containers{t: t, name: "cloudcrowd-e2e-" + strings.ToLower(rand.Text()[:8]), host: steadyAddress(t), env: map[string]string{}}
	b, err := os.ReadFile("../../deploy/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]service
		Rest     map[string]any `yaml:",inline"`
	}
	d := yaml.NewDecoder(strings.NewReader(string(b)))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil {
		t.Fatal(err)
	}
	c.services = file.Services
	c.build()
	t.Cleanup(func() { c.remove("network", "rm", c.name) })
	c.docker("network", "create", c.name)
	return c
}

// build makes the image: the last stage of deploy/Dockerfile, which finds here the folders that the first one makes, and the program under test.
func (c *containers) build() {
	c.t.Helper()
	b, err := os.ReadFile("../../deploy/Dockerfile")
	if err != nil {
		c.t.Fatal(err)
	}
	first, stage, ok := strings.Cut(string(b), "\nFROM scratch\n")
	_, folders, made := strings.Cut(first, "&& mkdir ")
	if !ok || !made || !strings.Contains(stage, "COPY --from=build ") {
		c.t.Fatalf("deploy/Dockerfile makes no folders, or has no last stage from scratch:\n%s", b)
	}
	dir := c.t.TempDir()
	must := func(err error) {
		c.t.Helper()
		if err != nil {
			c.t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "etc/ssl/certs"), 0o755))
	make := exec.CommandContext(c.t.Context(), "sh", "-c", "mkdir "+strings.ReplaceAll(folders, "/out/", "out/"))
	make.Dir = dir
	if out, err := make.CombinedOutput(); err != nil {
		c.t.Fatalf("%v: %v\n%s", make.Args, err, out)
	}
	must(os.WriteFile(filepath.Join(dir, "etc/ssl/certs/ca-certificates.crt"), nil, 0o644))
	must(os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\n"+strings.ReplaceAll(stage, "COPY --from=build ", "COPY ")), 0o644))
	if err := os.Link(program, filepath.Join(dir, "out", "cloudcrowd")); err != nil {
		b, err := os.ReadFile(program)
		must(err)
		must(os.WriteFile(filepath.Join(dir, "out", "cloudcrowd"), b, 0o755))
	}
	c.t.Cleanup(func() { c.remove("image", "rm", c.name) })
	c.docker("build", "--network", "none", "--tag", c.name, dir)
}

// docker runs a command of docker and returns what it printed.
func (c *containers) docker(args ...string) string {
	c.t.Helper()
	out, err := exec.CommandContext(c.t.Context(), "docker", args...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// remove runs a command of docker that removes something, also when the test has failed. What was not made cannot be removed.
func (c *containers) remove(args ...string) {
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "No such") && !strings.Contains(string(out), "not found") {
		c.t.Errorf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// container is what the container of a service is called.
func (c *containers) container(service string) string { return c.name + "-" + service }

// expand puts the environment into a value, as compose does.
func (c *containers) expand(value string) string {
	return os.Expand(value, func(variable string) string {
		name, instead, _ := strings.Cut(variable, ":-")
		if v := c.env[name]; v != "" {
			return v
		}
		return instead
	})
}

// up starts the container of a service with everything the compose file says of it.
func (c *containers) up(name string) {
	c.t.Helper()
	s, ok := c.services[name]
	if !ok {
		c.t.Fatalf("the compose file has no service %s", name)
	}
	args := []string{"run", "--detach", "--name", c.container(name), "--network", c.name, "--network-alias", name, "--restart", s.Restart}
	if s.ReadOnly {
		args = append(args, "--read-only")
	}
	for option, list := range map[string][]string{"--tmpfs": s.Tmpfs, "--cap-drop": s.CapDrop, "--security-opt": s.SecurityOpt} {
		for _, v := range list {
			args = append(args, option, v)
		}
	}
	for _, v := range s.Volumes {
		volume, at, _ := strings.Cut(v, ":")
		volume = c.name + "-" + volume
		c.t.Cleanup(func() { c.remove("volume", "rm", "--force", volume) })
		args = append(args, "--volume", volume+":"+at)
	}
	for variable, v := range s.Environment {
		args = append(args, "--env", variable+"="+c.expand(v))
	}
	for _, v := range s.Ports {
		_, inside, _ := strings.Cut(v, ":")
		args = append(args, "--publish", c.host+":"+inside)
	}
	c.t.Cleanup(func() {
		if c.t.Failed() {
			out, _ := exec.Command("docker", "logs", "--tail", "40", c.container(name)).CombinedOutput()
			c.t.Logf("--- %s:\n%s", name, out)
		}
		c.remove("rm", "--force", "--volumes", c.container(name))
	})
	c.docker(append(append(args, c.name), s.Command...)...)
}

// logs is what a service has printed so far.
func (c *containers) logs(service string) string {
	c.t.Helper()
	return c.docker("logs", c.container(service))
}

// run runs the program in the container of a service, beside what runs there.
func (c *containers) run(service string, args ...string) string {
	c.t.Helper()
	return c.docker(append([]string{"exec", c.container(service), "/cloudcrowd"}, args...)...)
}

// healthy waits until the health check of the compose file finds a service well.
func (c *containers) healthy(service string) {
	c.t.Helper()
	check := c.services[service].Healthcheck.Test
	if len(check) < 2 || check[0] != "CMD" {
		c.t.Fatalf("the health check of %s is %q", service, check)
	}
	until(c.t, service+" is healthy", func() bool {
		return exec.CommandContext(c.t.Context(), "docker", append([]string{"exec", c.container(service)}, check[1:]...)...).Run() == nil
	})
}

// link is a link that the server has printed.
func (c *containers) link(kind string) string {
	c.t.Helper()
	link := regexp.MustCompile(`(?m)^` + kind + ` link +(\S+)$`)
	var found []string
	until(c.t, "the server prints its "+kind+" link", func() bool {
		found = link.FindStringSubmatch(c.logs("server"))
		return found != nil
	})
	return found[1]
}

// last is the last line of a text.
func last(text string) string { return result{stdout: text}.last() }

// The containers of deploy/compose.yaml: a server and two workers, walled in as the file says, find each other by the printed link; the server is killed in the middle of a
// job and started again, a worker is killed and replaced by a new container on its volume; the answer is right and paid for, and fsck, asked inside, finds nothing.
func TestContainers(t *testing.T) {
	t.Parallel()
	d := newContainers(t)
	if user := strings.TrimSpace(d.docker("image", "inspect", "--format", "{{.Config.User}}", d.name)); user != "65532:65532" {
		t.Errorf("the image's user is %q", user)
	}
	d.up("server")
	d.healthy("server")
	// The name "server" means something to containers only; who is outside says which port it is.
	c := &crowd{t: t, owner: t, dir: t.TempDir(), workers: map[string]*process{}}
	c.serving.Admin = strings.Replace(d.link("admin"), "https://server:8443/", "https://"+d.host+"/", 1)
	_, token, _ := strings.Cut(c.serving.Admin, "#t=")
	c.serving.AdminToken, _, _ = strings.Cut(token, "&")
	c.op = c.as(c.serving.AdminToken)
	c.api, c.token = c.newRequester(requester, wealth)

	d.env["CLOUDCROWD_JOIN"] = d.link("join")
	workers := []string{"worker-1", "worker-2"}
	for _, name := range workers {
		d.up(name)
	}
	for _, name := range workers {
		until(t, name+" is online", func() bool { return c.worker(name).Online })
		walls := d.logs(name)
		if !strings.Contains(walls, "behind rlimits, ") {
			t.Errorf("%s does not say what it is behind:\n%s", name, walls)
		}
		if strings.Contains(walls, "withholds") && os.Getenv("CLOUDCROWD_REQUIRE_ALL") == "1" {
			t.Errorf("%s lacks walls that a child has on this system:\n%s", name, walls)
		}
	}
	device := c.worker("worker-1").ID

	const n, spin = 12, 30
	id := c.midway(func() cloudcrowd.JobID { return c.submit(counting(n, spin, pair)) })
	d.docker("kill", d.container("server"))
	d.docker("kill", d.container("worker-1"))
	d.docker("start", d.container("server"))
	d.docker("rm", d.container("worker-1"))
	delete(d.env, "CLOUDCROWD_JOIN") // its volume knows the server
	d.up("worker-1")
	d.healthy("server")
	job := c.ended(id, cloudcrowd.JobDone)
	if got := c.answer(job, "lines.txt"); got != counted(n, spin) {
		t.Errorf("the answer is\n%s", got)
	}
	if again := c.worker("worker-1").ID; again != device {
		t.Errorf("on its volume worker-1 is %s, was %s", again, device)
	}
	seen := map[string]bool{}
	for _, a := range c.attempts(id) {
		seen[a.WorkerName] = seen[a.WorkerName] || a.State == cloudcrowd.AttemptAccepted
	}
	if !slices.Equal([]bool{seen["worker-1"], seen["worker-2"]}, []bool{true, true}) {
		t.Errorf("accepted attempts by worker: %v", seen)
	}
	c.money(job)
	c.balance()
	if out := last(d.run("server", "fsck", "--data", "/data/server")); !strings.HasPrefix(out, "clean: ") {
		t.Error(out)
	}
	d.run("server", "backup", "--data", "/data/server", "--out", "/data/backup")
	if out := last(d.run("server", "backup", "verify", "/data/backup")); out != "clean" { // it needs a /tmp that can be written
		t.Error(out)
	}

	// In good order, with nothing lost on the way.
	for _, name := range append(workers, "server") {
		d.docker("stop", d.container(name))
		if status := strings.TrimSpace(d.docker("inspect", "--format", "{{.State.ExitCode}}", d.container(name))); status != "0" {
			t.Errorf("%s was stopped and ended with %s", name, status)
		}
	}
}
