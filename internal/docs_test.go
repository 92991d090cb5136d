package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	quoted = regexp.MustCompile("`([^`\n]+)`")
	goFile = regexp.MustCompile(`^[a-z0-9_/]+\.go$`)
	folder = regexp.MustCompile(`^(internal|cmd|client)(/[a-z0-9_]+)+/?$`)
	symbol = regexp.MustCompile(`^([A-Za-z]\w*)\.([A-Za-z]\w*)$`)
	linked = regexp.MustCompile(`\]\(([a-z0-9-]+\.md)(?:#([^)]+))?\)`)
)

// names are everything the project declares, as "Type.Method", "package.Name" and, for fields, "Type.Field".
func names(t *testing.T) (declared, files map[string]bool) {
	t.Helper()
	declared, files = map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		files[s.name], files[path.Base(s.name)] = true, true
		pkg := s.file.Name.Name
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				declared[pkg+"."+d.Name.Name] = true
				if d.Recv != nil {
					declared[receiver(d.Recv.List[0].Type)+"."+d.Name.Name] = true
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						declared[pkg+"."+spec.Name.Name] = true
						if st, ok := spec.Type.(*ast.StructType); ok {
							for _, f := range st.Fields.List {
								for _, n := range f.Names {
									declared[spec.Name.Name+"."+n.Name] = true
								}
							}
						}
					case *ast.ValueSpec:
						for _, n := range spec.Names {
							declared[pkg+"."+n.Name] = true
						}
					}
				}
			}
		}
	}
	return declared, files
}

func receiver(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.StarExpr:
		return receiver(x.X)
	case *ast.IndexExpr:
		return receiver(x.X)
	case *ast.Ident:
		return x.Name
	}
	return ""
}

// The pages that explain the core name files, folders, functions and fields that exist, so that they are not left behind by the code.
func TestDocsNameWhatExists(t *testing.T) {
	t.Parallel()
	declared, files := names(t)
	for _, page := range []string{"life-of-a-job", "state-machines", "verification", "scheduling", "ledger", "rationale", "cluster"} {
		b, err := os.ReadFile(filepath.Join("..", "docs", page+".md"))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, m := range quoted.FindAllStringSubmatch(string(b), -1) {
			name := m[1]
			switch {
			case goFile.MatchString(name):
				if _, err := os.Stat(filepath.Join("..", filepath.FromSlash(name))); err != nil && !files[name] {
					t.Errorf("docs/%s.md names %s, which is not there", page, name)
				}
			case folder.MatchString(name):
				if _, err := os.Stat(filepath.Join("..", filepath.FromSlash(name))); err != nil {
					t.Errorf("docs/%s.md names the folder %s, which is not there", page, name)
				}
			case symbol.MatchString(name):
				if ext := path.Ext(name); ext != ".md" && ext != ".yaml" && !declared[name] {
					t.Errorf("docs/%s.md names %s, which is not declared", page, name)
				}
			}
		}
	}
}

var testName = regexp.MustCompile(`\b((?:Test|Fuzz)[A-Z][A-Za-z0-9]+)(…?)`)

// Every test that a page names as its witness is there, and every fuzz test is in the table of testing.md.
func TestDocsNameTests(t *testing.T) {
	t.Parallel()
	tests, fuzz := map[string]bool{}, map[string]bool{}
	err := filepath.WalkDir("..", func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				if tests[f.Name.Name] = true; strings.HasPrefix(f.Name.Name, "Fuzz") {
					fuzz[f.Name.Name] = true
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal("no docs", err)
	}
	for _, page := range append(pages, "../README.md", "../CHANGELOG.md") {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testName.FindAllStringSubmatch(string(b), -1) {
			if m[2] == "" && !tests[m[1]] {
				t.Errorf("%s names %s, which is not there", page, m[1])
			}
			if path.Base(page) == "testing.md" {
				delete(fuzz, m[1])
			}
		}
	}
	for name := range fuzz {
		t.Errorf("docs/testing.md does not name %s", name)
	}
}

// Links between pages lead somewhere.
func TestDocsLinks(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal("no docs", err)
	}
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range linked.FindAllStringSubmatch(string(b), -1) {
			target, err := os.ReadFile(filepath.Join("../docs", m[1]))
			if err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
			} else if m[2] != "" && !anchors(string(target))[m[2]] {
				t.Errorf("%s links to %s#%s, a heading that is not there", page, m[1], m[2])
			}
		}
	}
}

// anchors are the names headings get in HTML.
func anchors(page string) map[string]bool {
	m := map[string]bool{}
	for line := range strings.Lines(page) {
		if text := strings.TrimLeft(line, "#"); text != line {
			m[strings.Map(func(r rune) rune {
				switch {
				case r == ' ':
					return '-'
				case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r > 127:
					return r
				}
				return -1
			}, strings.ToLower(strings.TrimSpace(text)))] = true
		}
	}
	return m
}
