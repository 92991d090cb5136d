package e2e

import (
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

// Away from loopback everything is TLS by the certificate of the links: with the pin a worker joins and works, with another pin it refuses to speak, and
// plain HTTP is refused by both ends.
func TestPinnedCertificate(t *testing.T) {
	t.Parallel()
	address := outwardAddress(t)
	dir := t.TempDir()
	c := &crowd{t: t, owner: t, dir: dir, data: filepath.Join(dir, "data"), workers: map[string]*process{}}
	c.serve(net.JoinHostPort(address, "0"))
	u, err := url.Parse(c.serving.URL)
	if err != nil || u.Scheme != "https" {
		t.Fatalf("served at %s, %v", c.serving.URL, err)
	}
	link, pin, ok := strings.Cut(c.serving.Join, "&pin=")
	if !ok || !strings.Contains(c.serving.Admin, "&pin="+pin) {
		t.Fatalf("links without a pin: %s", c.serving.Join)
	}

	c.op = c.as(c.serving.AdminToken)
	c.api, c.token = c.newRequester(requester, wealth)
	c.hire("ada")
	c.hire("grace")
	c.online("ada", "grace")
	job := c.ended(c.submit(counting(3, 1, pair)), cloudcrowd.JobDone)
	if got := c.answer(job, "lines.txt"); got != counted(3, 1) {
		t.Errorf("the answer is\n%s", got)
	}

	wrong := strings.Repeat("0123456789abcdef", 4)
	impostor, err := client.New(client.Options{URL: c.serving.URL, Token: c.serving.AdminToken, Pin: wrong, Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := impostor.Status(t.Context()); cloudcrowd.CodeOf(err) != cloudcrowd.Forbidden || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a client with another pin: %v", err)
	}
	unpinned, err := client.New(client.Options{URL: c.serving.URL, Token: c.serving.AdminToken, Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unpinned.Status(t.Context()); err == nil {
		t.Error("a client without a pin believes a certificate that nobody vouches for")
	}
	for name, join := range map[string]string{
		"wrong pin":  link + "&pin=" + wrong,
		"no pin":     link,
		"plain http": strings.Replace(link, "https://", "http://", 1),
	} {
		folder := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		r := command(t, []string{"CLOUDCROWD_WORKER_JOIN=" + join}, "worker", "--data", folder, "--slots", "1")
		if r.status == 0 || !strings.Contains(r.stderr, "error:") {
			t.Errorf("a worker with %s: status %d\n%s", name, r.status, r.stderr)
		}
		if name == "wrong pin" && !strings.Contains(r.stderr, "certificate") || name == "plain http" && !strings.Contains(r.stderr, "https") {
			t.Errorf("a worker with %s: %s", name, r.stderr)
		}
		if _, err := os.Stat(filepath.Join(folder, "server.json")); err == nil {
			t.Errorf("a worker with %s has joined", name)
		}
	}
	if _, err := client.New(client.Options{URL: "http://" + u.Host}); err == nil {
		t.Error("a client of plain HTTP to another machine was made")
	}
	if resp, err := http.Get("http://" + u.Host + "/healthz"); err == nil {
		resp.Body.Close()
		if resp.StatusCode < 400 {
			t.Errorf("the server answers plain HTTP with %s", resp.Status)
		}
	}
	c.audit(job)
}

// outwardAddress is an address of this machine that is not loopback.
func outwardAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			return n.IP.String()
		}
	}
	lack(t, "this machine has no address but loopback")
	return ""
}
