// Package internal_test holds the rules of who may import whom, for the whole project.
package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "cloudcrowd.dev/cloudcrowd"

// core are the packages that decide and perform nothing.
var core = []string{"internal/lifecycle", "internal/decompose", "internal/scheduler", "internal/verify", "internal/ledger", "internal/market", "internal/forecast"}

// banned are packages, and what lies below them, that the core must not import, with the reason.
var banned = map[string]string{
	"net":          "decisions take facts as arguments; a decision that asks the network cannot be replayed",
	"os":           "decisions take facts as arguments; a decision that reads files cannot be replayed",
	"syscall":      "decisions take facts as arguments",
	"database/sql": "the loop loads and commits, so that state and money commit together",
	"log":          "the core returns what happened; whoever performs it logs",
	"crypto/rand":  "the random source is an argument, so that a lottery can be drawn again",
	"sync":         "the core is driven by one goroutine; what needs locks is not a decision",
}

// clocks are functions of package time that read or wait for the clock.
var clocks = []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTicker", "NewTimer"}

// seeded are the functions of math/rand that do not use its global source.
var seeded = []string{"New", "NewPCG", "NewChaCha8", "NewZipf", "NewSource"}

// edges meet the outside; each is known to cmd and platform only. A contract (store, blob, sandbox) is no edge, its implementations are.
var edges = []string{"internal/gateway", "internal/api", "internal/console", "internal/worker", "internal/sandbox/", "internal/store/", "internal/blob/"}

// source is one parsed file that is not a test.
type source struct {
	dir       string // below the project's root, "." for the root itself
	name      string
	file      *ast.File
	generated bool
}

// sources parses the project.
func sources(t *testing.T) []source {
	t.Helper()
	var list []source
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != "." && (strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata" || d.Name() == "node_modules"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", filepath.FromSlash(p)), nil, parser.ParseComments)
		if err != nil {
			return err
		}
		list = append(list, source{dir: path.Dir(p), name: p, file: f, generated: ast.IsGenerated(f)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// imports maps the names under which a file imports packages to their paths.
func (s source) imports() map[string]string {
	m := map[string]string{}
	for _, i := range s.file.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		name := path.Base(p)
		if name == "v2" {
			name = path.Base(path.Dir(p))
		}
		if i.Name != nil {
			name = i.Name.Name
		}
		m[name] = p
	}
	return m
}

func below(p, parent string) bool { return p == parent || strings.HasPrefix(p, parent+"/") }

// The core reads no clock, no disk, no network and no secret randomness: it takes facts, the time and a random source, and returns values.
func TestCoreIsPure(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range sources(t) {
		if !slices.Contains(core, s.dir) {
			continue
		}
		seen[s.dir] = true
		imports := s.imports()
		for _, p := range imports {
			for b, why := range banned {
				if below(p, b) {
					t.Errorf("%s imports %s: %s", s.name, p, why)
				}
			}
			if inner, ok := strings.CutPrefix(p, module+"/"); ok && !slices.Contains(core, inner) {
				t.Errorf("%s imports %s: the core rests on the vocabulary and on itself alone", s.name, p)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			switch p := imports[pkg.Name]; {
			case p == "time" && slices.Contains(clocks, sel.Sel.Name):
				t.Errorf("%s uses time.%s: the time is an argument, so that a decision can be replayed", s.name, sel.Sel.Name)
			case below(p, "math/rand") && ast.IsExported(sel.Sel.Name) && !slices.Contains(seeded, sel.Sel.Name) && globalRand(sel.Sel.Name):
				t.Errorf("%s uses the global rand.%s: the random source is an argument, so that a decision can be replayed", s.name, sel.Sel.Name)
			}
			return true
		})
	}
	for _, c := range core[:6] {
		if !seen[c] {
			t.Errorf("%s was not found", c)
		}
	}
}

// globalRand reports whether a name of math/rand is a function over its global source; types are not.
func globalRand(name string) bool {
	return !slices.Contains([]string{"Rand", "Source", "Source64", "PCG", "ChaCha8", "Zipf"}, name)
}

// edge returns the group of edges a package belongs to: "store" for internal/store/sqlite, "" for no edge.
func edge(dir string) string {
	for _, e := range edges {
		if strings.HasSuffix(e, "/") && strings.HasPrefix(dir, e) || below(dir, e) {
			return strings.TrimSuffix(e, "/")
		}
	}
	return ""
}

// Edges never import each other: what one needs of another it takes as an interface or value of a contract, and cmd and platform put them together.
func TestEdgesDoNotMeet(t *testing.T) {
	t.Parallel()
	found := map[string]bool{}
	for _, s := range sources(t) {
		from := edge(s.dir)
		if from == "" {
			continue
		}
		found[from] = true
		for _, p := range s.imports() {
			inner, ok := strings.CutPrefix(p, module+"/")
			if !ok {
				continue
			}
			if to := edge(inner); to != "" && to != from {
				t.Errorf("%s imports %s: edges meet in cmd and platform only", s.name, inner)
			}
			if slices.Contains(core, inner) {
				t.Errorf("%s imports %s: edges speak to the task manager, which asks the core", s.name, inner)
			}
		}
	}
	for _, e := range edges {
		if !found[strings.TrimSuffix(e, "/")] {
			t.Errorf("%s was not found", e)
		}
	}
}

// The vocabulary needs nothing but the standard library, and of that no disk, wire or clock.
func TestRootImportsStdOnly(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.dir != "." {
			continue
		}
		for _, p := range s.imports() {
			first, _, _ := strings.Cut(p, "/")
			if strings.Contains(first, ".") {
				t.Errorf("%s imports %s: the vocabulary imports the standard library only", s.name, p)
			}
			for _, b := range []string{"net", "os", "database/sql", "log"} {
				if below(p, b) {
					t.Errorf("%s imports %s: the vocabulary performs nothing", s.name, p)
				}
			}
		}
	}
}

// Every package says in a comment what it is for.
func TestPackageComments(t *testing.T) {
	t.Parallel()
	said, all := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		if s.generated {
			continue
		}
		all[s.dir] = true
		if s.file.Doc != nil && strings.TrimSpace(s.file.Doc.Text()) != "" {
			said[s.dir] = true
		}
	}
	for dir := range all {
		if !said[dir] {
			t.Errorf("package %s has no package comment", dir)
		}
	}
}
