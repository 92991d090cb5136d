//go:build unix

package wasm

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
)

// No way out of /in, /out and /tmp is found by a program that tries many, and the secret beside them stays as it was.
func TestEscape(t *testing.T) {
	t.Parallel()
	s := open(t, Config{CacheDir: codeCache})
	secretDir, in := t.TempDir(), t.TempDir()
	secret := filepath.Join(secretDir, "secret")
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.WriteFile(secret, []byte("secret"), 0o666))
	check(os.WriteFile(filepath.Join(in, "ok"), []byte("ok"), 0o666))
	check(os.Mkdir(filepath.Join(in, "sub"), 0o777))
	check(os.Symlink("ok", filepath.Join(in, "inside-link")))
	check(os.Symlink(secret, filepath.Join(in, "out-link")))
	check(os.Symlink(strings.Repeat("../", 40)+secret[1:], filepath.Join(in, "rel-link")))
	check(os.Symlink(secretDir, filepath.Join(in, "dir-link")))
	check(os.Symlink("self", filepath.Join(in, "self")))
	check(syscall.Mkfifo(filepath.Join(in, "pipe"), 0o666))

	spec := guests["escape"].spec(t, secretDir)
	spec.In = in
	spec.Limits.LogBytes = 1 << 20
	o := attempt(t, s, spec)
	if o.Status != sandbox.Succeeded {
		t.Fatalf("%s: %s\n%s\n%s", o.Status, o.Reason, o.Stdout, o.Stderr)
	}
	held := 0
	for line := range strings.Lines(string(o.Stdout)) {
		switch {
		case strings.HasPrefix(line, "ESCAPED"), strings.HasPrefix(line, "FAILED"):
			t.Error(strings.TrimSpace(line))
		case strings.HasPrefix(line, "held"):
			held++
		}
	}
	if held < 350 {
		t.Errorf("only %d ways out were tried", held)
	}
	for dir, want := range map[string]string{secretDir: "secret", spec.Out: "dir result", in: "dir-link inside-link ok out-link pipe rel-link self sub"} {
		entries, err := os.ReadDir(dir)
		check(err)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s holds %q, want %q", dir, got, want)
		}
	}
	for path, want := range map[string]string{secret: "secret", filepath.Join(in, "ok"): "ok"} {
		if b, err := os.ReadFile(path); err != nil || string(b) != want {
			t.Errorf("%s is %q, %v", path, b, err)
		}
	}
}
