package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd/internal/sandbox/wasm"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write generated files anew")

func TestMain(m *testing.M) {
	if wasm.IsChild() {
		wasm.ChildMain()
		return
	}
	testscript.Main(m, map[string]func(){"cloudcrowd": main})
}

// Scripts run the real program; each has a folder, a home and contexts of its own.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, scripts("testdata/script"))
}

// The scripts of testdata/e2e run real servers and workers.
func TestEndToEnd(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts servers and workers; -short leaves it out")
	}
	testscript.Run(t, scripts("testdata/e2e"))
}

func scripts(dir string) testscript.Params {
	return testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                scriptCommands,
		Setup: func(e *testscript.Env) error {
			repository, err := filepath.Abs("../..")
			if err != nil {
				return err
			}
			e.Setenv("CLOUDCROWD_CONFIG_DIR", filepath.Join(e.WorkDir, "config"))
			e.Setenv("REPOSITORY", repository)
			for _, name := range []string{"GOPATH", "GOCACHE", "GOMODCACHE", "GOFLAGS", "GOPROXY", "LOCALAPPDATA"} {
				if value := os.Getenv(name); value != "" {
					e.Setenv(name, value)
				}
			}
			if cache, err := os.UserCacheDir(); err == nil && os.Getenv("GOCACHE") == "" {
				e.Setenv("GOCACHE", filepath.Join(cache, "go-build"))
			}
			return nil
		},
	}
}

// tree is the command tree of a program that is not run.
func tree() *cobra.Command { return (&app{getenv: func(string) string { return "" }}).root() }

// docs/cli.md holds the manual pages as the program prints them.
func TestManualIsUpToDate(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	writeManual(&got, tree())
	generated(t, "../../docs/cli.md", got.Bytes())
}

// docs/configuration.md holds every setting as the program defines it.
func TestReferenceIsUpToDate(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	writeReference(&got)
	generated(t, "../../docs/configuration.md", got.Bytes())
}

// generated compares a file with what it is made of; with -update it writes it.
func generated(t *testing.T, path string, got []byte) {
	t.Helper()
	path = filepath.FromSlash(path)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the program makes; write it anew with: go generate ./cmd/...", path)
	}
}

// Every page has a description, fits a terminal of 80 columns but for its examples, and names only pages that exist.
func TestPagesAreComplete(t *testing.T) {
	t.Parallel()
	root := tree()
	walk(root, func(c *cobra.Command) {
		if c.Short == "" || c.Long == "" {
			t.Errorf("%s: no description", c.CommandPath())
		}
		if c.Runnable() && !c.HasSubCommands() && c.Example == "" {
			t.Errorf("%s: no example", c.CommandPath())
		}
		var page bytes.Buffer
		writePage(&page, c)
		body, _, _ := strings.Cut(page.String(), "\nEXAMPLES\n")
		for line := range strings.Lines(body) {
			if n := textWidth(strings.TrimRight(line, "\n")); n > 80 {
				t.Errorf("%s: a line of %d characters: %s", c.CommandPath(), n, line)
			}
		}
		for _, name := range strings.Split(c.Annotations["see"], ", ") {
			words := strings.Fields(strings.TrimPrefix(name, "help "))
			if found, _, err := root.Find(words); err != nil || len(words) > 0 && found.Name() != words[len(words)-1] {
				t.Errorf("%s: see also %q, which is no page", c.CommandPath(), name)
			}
		}
	})
}

// Options that cannot be read end with status 2 and name the nearest one.
func TestUnknownOption(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	a := &app{stdout: &out, stderr: &errs, getenv: func(string) string { return "" }}
	if code := a.main(context.Background(), []string{"run", "--buget", "3", "--json", "job.yaml"}); code != 2 {
		t.Errorf("status %d, want 2", code)
	}
	if !strings.Contains(errs.String(), "did you mean --budget?") {
		t.Errorf("no hint: %s", errs.String())
	}
	if !strings.HasPrefix(out.String(), `{"error":{"code":"invalid"`) {
		t.Errorf("no error object: %s", out.String())
	}
}
