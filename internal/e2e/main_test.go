package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// home is the folder of one run of the tests: what was built, and what the processes write.
var home string

// program is the command under test.
var program string

// TestMain builds the command and the program that workers run, once.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if home, err = os.MkdirTemp("", "cloudcrowd-e2e-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(home)
		program = filepath.Join(home, "cloudcrowd"+suffix())
		if err := build(program, []string{"CGO_ENABLED=0"}, "../../cmd/cloudcrowd"); err != nil { // as it is given away; containers have no libraries
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		wasi := []string{"GOOS=wasip1", "GOARCH=wasm"}
		if err := build(filepath.Join(home, "program.wasm"), wasi, "./testdata/program"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

func suffix() string {
	if runtime.GOOS == "windows" {
		return ".exe"
	}
	return ""
}

// build compiles packages to a file, or to a folder that ends with a separator.
func build(to string, env []string, packages ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-ldflags", "-s -w", "-o", to}, packages...)...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
	}
	return nil
}

// examplePrograms is the folder of the examples' programs compiled for this machine.
var examplePrograms = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(home, "native") + string(filepath.Separator)
	var packages []string
	for _, name := range []string{"kmers", "finance", "render", "logs", "physics"} {
		packages = append(packages, "../../examples/"+name+"/"+name)
	}
	return dir, build(dir, nil, packages...)
})

// lack skips a test that cannot run here, or fails it where everything has to run.
func lack(t testing.TB, format string, args ...any) {
	t.Helper()
	why := fmt.Sprintf(format, args...)
	if os.Getenv("CLOUDCROWD_REQUIRE_ALL") == "1" {
		t.Fatalf("cannot run here: %s", why)
	}
	t.Skipf("NOT TESTED: %s", why)
}
