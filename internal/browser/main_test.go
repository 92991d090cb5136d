package browser

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// home is the folder of one run of the tests, program the command under test.
var home, program string

// TestMain builds the command once.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if home, err = os.MkdirTemp("", "cloudcrowd-browser-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(home)
		program = filepath.Join(home, "cloudcrowd")
		if runtime.GOOS == "windows" {
			program += ".exe"
		}
		build := exec.Command("go", "build", "-o", program, "../../cmd/cloudcrowd")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v: %v\n%s", build.Args, err, out)
			return 1
		}
		return m.Run()
	}())
}

// chromium finds a browser. Without one a test is skipped, or fails where everything has to run.
func chromium(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("NOT TESTED: needs a browser, and -short was given")
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const hint = "no Chromium was found; install it (Debian: apt-get install chromium)"
	if os.Getenv("CLOUDCROWD_REQUIRE_ALL") == "1" {
		t.Fatal(hint)
	}
	t.Skip("NOT TESTED: " + hint)
	return ""
}
