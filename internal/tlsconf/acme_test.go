package tlsconf

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func slogNone() *slog.Logger { return slog.New(slog.DiscardHandler) }

// A certificate is obtained from an ACME authority by answering its TLS-ALPN challenge on the served port itself. The authority is Pebble, run here.
func TestACME(t *testing.T) {
	t.Parallel()
	pebble, err := exec.LookPath("pebble")
	if err != nil {
		if os.Getenv("CLOUDCROWD_REQUIRE_ALL") == "1" {
			t.Fatal("pebble is not installed: go install github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1")
		}
		t.Skip("SKIPPED: pebble is not installed: go install github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1")
	}
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem")
	split(t, cert, key)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	api, admin := freeAddress(t), freeAddress(t)
	b, _ := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": api, "managementListenAddress": admin, "certificate": cert, "privateKey": key, "httpPort": 1, "tlsPort": json.Number(port),
	}})
	file := filepath.Join(dir, "pebble.json")
	os.WriteFile(file, b, 0o600)
	var out bytes.Buffer
	p := exec.Command(pebble, "-config", file)
	p.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	p.Stdout, p.Stderr = &out, &out
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Process.Kill(); p.Wait() })
	await(t, func() bool { c, err := net.Dial("tcp", api); closeIf(c); return err == nil })

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	config, pin, url, err := Server(Config{
		Listen: "0.0.0.0:" + port, Domain: "localhost", DataDir: dir, Email: "operator@example.org", ACMEDirectory: "https://" + api + "/dir", ACMERoots: cert, Context: ctx,
	})
	if err != nil || pin != "" || url != "https://localhost:"+port {
		t.Fatalf("pin %q, %s, %v", pin, url, err)
	}
	s := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: log.New(io.Discard, "", 0)}
	go s.Serve(tls.NewListener(l, config))
	defer s.Close()
	var issuer string
	await(t, func() bool {
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{ServerName: "localhost", InsecureSkipVerify: true})
		if err != nil {
			return false
		}
		defer c.Close()
		leaf := c.ConnectionState().PeerCertificates[0]
		issuer = leaf.Issuer.CommonName
		return leaf.VerifyHostname("localhost") == nil
	})
	if !strings.Contains(issuer, "Pebble") {
		t.Fatalf("issued by %s\n%s", issuer, out.String())
	}
}

// freeAddress is a free loopback address that stays free until Pebble takes it: systems do not give ports so low to whoever asks for any.
func freeAddress(t *testing.T) string {
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

func closeIf(c net.Conn) {
	if c != nil {
		c.Close()
	}
}

// await asks again and again, for another process cannot be waited on otherwise.
func await(t *testing.T, done func() bool) {
	t.Helper()
	limit := time.After(2 * time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal(fmt.Errorf("waited two minutes in vain"))
		}
	}
}
