package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// refused starts a server that must not start, and checks that it says why.
func (h *host) refused(words ...string) {
	h.s.t.Helper()
	h.begin()
	until(h.s.t, "server "+h.name+" refuses to start", func() bool { return h.process.gone() || len(h.process.output()) > 0 })
	if !h.process.gone() {
		until(h.s.t, "server "+h.name+" ends", h.process.gone)
	}
	b, err := os.ReadFile(h.process.log)
	if err != nil {
		h.s.t.Fatal(err)
	}
	if h.process.cmd.ProcessState.ExitCode() == 0 {
		h.s.t.Errorf("server %s ended with status 0", h.name)
	}
	for _, w := range words {
		if !strings.Contains(string(b), w) {
			h.s.t.Errorf("server %s: no %q in\n%s", h.name, w, b)
		}
	}
	h.process.replace()
}

// What an operator gets wrong is refused with what is wrong and what to do, and does no harm to the servers that run.
func TestServersMistakes(t *testing.T) {
	t.Parallel()
	s := prepareServers(t, nil, "one", "shards", "blobs", "folder", "copied", "bus")
	one, shards, blobs, folder, copied, bus := s.hosts[0], s.hosts[1], s.hosts[2], s.hosts[3], s.hosts[4], s.hosts[5]
	s.hosts, s.more = s.hosts[:1], s.more[:1]
	one.begin()
	s.settled()
	s.hire("ada")
	s.online("ada")
	id := s.submit(counting(4, 10, "{replicas: 1, quorum: 1}"))

	shards.args = append(shards.args, "--shards", "4")
	shards.refused("6 shards", "leave the setting out")

	if err := os.Remove(filepath.Join(blobs.data, "blobs")); err != nil {
		t.Fatal(err)
	}
	blobs.refused("blobs", "docs/blobs.md")

	folder.args[2] = one.data
	folder.refused(one.data, "a folder of its own")

	b, err := os.ReadFile(filepath.Join(one.data, "server.id"))
	if err == nil {
		err = os.WriteFile(filepath.Join(copied.data, "server.id"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	copied.refused("server.id", "copies of each other")

	for i, arg := range bus.args {
		if arg == "--cluster-listen" {
			bus.args = append(append([]string{}, append(bus.args[:i:i], bus.args[i+4:]...)...), "--bus", "nats://"+steadyAddress(t))
			break
		}
	}
	bus.refused("bus", "cannot be reached")

	if one.process.gone() {
		t.Fatal("the server that ran ended")
	}
	job := s.ended(id, cloudcrowd.JobDone)
	if got := s.answer(job, "lines.txt"); got != counted(4, 10) {
		t.Errorf("the answer is\n%s", got)
	}
	s.audit(job)
}

// The database is killed and started again under load, longer away than leases live: nothing is lost, no server ends, and all serve again.
func TestServersDatabaseRestarted(t *testing.T) {
	t.Parallel()
	s := newServers(t, []string{"--failover", "1500ms"}, "ada", "grace", "linus")
	l := newLoad(s.crowd, 3, 2)
	lots := chance(t)
	for round := range setting(t, killsSetting, 2) {
		s.victim(l, lots)
		s.postgres.Kill()
		if round%2 == 1 {
			pass(t, failover) // beyond the lease
		}
		if err := s.postgres.Run(); err != nil {
			t.Fatal(err)
		}
	}
	s.settled()
	l.settle()
	for _, h := range s.hosts {
		if h.process.gone() {
			t.Errorf("server %s ended", h.name)
		}
	}
	t.Logf("%d jobs and %s of gifts were acknowledged, %d requests were repeated", len(l.jobs), l.issued, l.unasked)
}
