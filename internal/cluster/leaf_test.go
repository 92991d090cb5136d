package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

// deployedNATS starts a NATS server on a file of deploy/nats; replace are its passages that are different here, as for strings.NewReplacer.
func deployedNATS(t *testing.T, name string, replace ...string) *natsserver.Server {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../deploy/nats", name))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(string(b), replace[i]) {
			t.Fatalf("%s has no %q", name, replace[i])
		}
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(strings.NewReplacer(replace...).Replace(string(b))), 0o600); err != nil {
		t.Fatal(err)
	}
	options, err := natsserver.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	options.NoSigs, options.NoLog = true, true
	s, err := natsserver.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatalf("%s: no NATS server", name)
	}
	return s
}

// localCertificate makes a certificate of 127.0.0.1 that is its own authority.
func localCertificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hub"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{"hub.pem": {Type: "CERTIFICATE", Bytes: der}, "hub.key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "hub.pem"), filepath.Join(dir, "hub.key")
}

// Servers whose NATS are connected by a leaf node, as deploy/nats sets them up, are one crowd: jobs of either run at workers of both, also when the link was cut.
func TestLeafNode(t *testing.T) {
	t.Parallel()
	cert, key := localCertificate(t)
	hub := deployedNATS(t, "hub.conf", "0.0.0.0:4222", "127.0.0.1:-1", "0.0.0.0:7422", "127.0.0.1:-1", "/etc/nats/hub.pem", cert, "/etc/nats/hub.key", key,
		"$BUS_PASSWORD", "secret", "$LEAF_PASSWORD", "other")
	state, err := hub.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	entrance := fmt.Sprint("tls://far:other@127.0.0.1:", state.LeafNode.Port)
	hubURL := "tls://cloudcrowd:secret@127.0.0.1:" + port(t, hub.ClientURL())
	at := "127.0.0.1:-1"
	far := func() *natsserver.Server {
		return deployedNATS(t, "leaf.conf", "127.0.0.1:4222", at, "$HUB", entrance, "/etc/nats/ca.pem", cert, "$BUS_PASSWORD", "third")
	}
	leaf := far()
	at = "127.0.0.1:" + port(t, leaf.ClientURL())
	leafURL := "nats://cloudcrowd:third@" + at

	r := newRig(t, 4)
	r.trust = cert
	for _, wrong := range []string{strings.Replace(hubURL, "secret", "guess", 1), strings.Replace(hubURL, "cloudcrowd:", "far:", 1)} {
		if b, err := OpenBus(BusConfig{Name: "x", Crowd: "test", External: wrong, Trust: cert}); err == nil || strings.Contains(err.Error(), "guess") {
			b.Close()
			t.Errorf("%s: %v", wrong, err)
		}
	}
	if _, err := OpenBus(BusConfig{Name: "x", Crowd: "test", External: hubURL}); err == nil {
		t.Error("a certificate that nobody trusts is taken")
	}
	r.until("the leaf is connected", func() bool { return hub.NumLeafNodes() == 1 })
	a, b := r.start("a", hubURL), r.start("b", leafURL)
	r.spread(a, b)

	// The longest frame of a worker goes over the link.
	var longest atomic.Int64
	if _, err := b.bus.subscribe("frame", func(m *nats.Msg) { longest.Store(int64(len(m.Data))) }); err != nil {
		t.Fatal(err)
	}
	r.until("the longest frame arrives", func() bool {
		a.bus.publish("frame", nats.Header{headWorker: {strings.Repeat("U", 56)}, headServer: {"a"}}, make([]byte, wire.MaxFrame))
		return longest.Load() == wire.MaxFrame
	})

	r.issue(a, "ada")
	r.join("w1", 2, a)
	r.join("w2", 2, b)
	var jobs []cloudcrowd.JobID
	for i := range 8 {
		jobs = append(jobs, r.submit([]*host{a, b}[i%2], "ada", r.spec("x", 100), fmt.Sprint(i)))
	}
	leaf.Shutdown()
	leaf.WaitForShutdown()
	far()
	for i, id := range jobs {
		if j := r.ended([]*host{b, a}[i%2], id); j.State != cloudcrowd.JobDone || j.TasksDone != 100 {
			t.Errorf("%+v", j.JobSummary)
		}
	}
	r.balanced()
}

// A NATS that cannot take the frames of workers is refused, with what to do.
func TestSmallPayload(t *testing.T) {
	t.Parallel()
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("no NATS server")
	}
	if _, err := OpenBus(BusConfig{Name: "x", Crowd: "test", External: s.ClientURL()}); err == nil || !strings.Contains(err.Error(), "1.0 MiB") && !strings.Contains(err.Error(), "1 MiB") {
		t.Errorf("%v", err)
	}
}

func port(t *testing.T, url string) string {
	t.Helper()
	i := strings.LastIndexByte(url, ':')
	if i < 0 {
		t.Fatalf("no port in %q", url)
	}
	return url[i+1:]
}
