package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd/internal/filelock"
	"cloudcrowd.dev/cloudcrowd/internal/platform"
	"cloudcrowd.dev/cloudcrowd/internal/tlsconf"
)

// An address in use is a problem, unless a server runs on the very data folder: then it is most likely that server's.
func TestConfigCheckAddress(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	check := func() (int, string) {
		a, out, errs := quietApp()
		code := a.main(t.Context(), []string{"config", "check", "--", "--data", dir, "--listen", l.Addr().String()})
		return code, out.String() + errs.String()
	}
	if code, text := check(); code != 8 || !strings.Contains(text, "cannot listen on "+l.Addr().String()) {
		t.Errorf("status %d: %s", code, text)
	}
	lock, _, err := filelock.Take(filepath.Join(dir, platform.LockFile))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	if code, text := check(); code != 0 || !strings.Contains(text, "was not tried") {
		t.Errorf("beside a server: status %d: %s", code, text)
	}
}

// A certificate that cannot be used now is a problem, one that soon ends a note.
func TestConfigCheckCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, _, _, err := tlsconf.Server(tlsconf.Config{Listen: "192.0.2.1:8443", DataDir: dir}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, platform.CertificateFile) // holds key and certificate
	if _, err := os.Stat(file); err != nil {
		t.Fatal(err)
	}
	year := 365 * 24 * time.Hour
	for after, want := range map[time.Duration]struct {
		problem, note string
	}{
		0: {}, -year: {problem: "valid from"}, 11 * year: {problem: "was valid until"}, 10*year - 24*time.Hour: {note: "is valid until"},
	} {
		var f findings
		tryCertificate(file, file, time.Now().Add(after), &f)
		text, note := "", ""
		if len(f.Problems) > 0 {
			text = f.Problems[0].Text
		}
		if len(f.Notes) > 0 {
			note = f.Notes[0].Text
		}
		if !strings.Contains(text, want.problem) || want.problem == "" && text != "" || !strings.Contains(note, want.note) || want.note == "" && note != "" {
			t.Errorf("after %s: %q, note %q", after, text, note)
		}
	}
}

// A database that does not answer is a problem of --store, with the password left out.
func TestConfigCheckDatabase(t *testing.T) {
	t.Parallel()
	a, out, errs := quietApp()
	a.getenv = func(name string) string {
		return map[string]string{"CLOUDCROWD_SERVER_STORE": "postgres://crowd:geheim@127.0.0.1:1/crowd"}[name]
	}
	code := a.main(t.Context(), []string{"config", "check", "--", "--data", t.TempDir(), "--listen", "127.0.0.1:0"})
	text := out.String() + errs.String()
	if code != 8 || !strings.Contains(text, "--store: ") || !strings.Contains(text, "cannot be reached") || strings.Contains(text, "geheim") {
		t.Errorf("status %d: %s", code, text)
	}
}
