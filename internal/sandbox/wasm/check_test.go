package wasm

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"cloudcrowd.dev/cloudcrowd"
)

// The list of functions is exactly what the engine provides.
func TestFunctionsAreTheEngines(t *testing.T) {
	t.Parallel()
	r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter())
	host, err := wasi_snapshot_preview1.NewBuilder(r).Compile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(host.ExportedFunctions())); !slices.Equal(got, wasiFunctions) {
		t.Fatalf("the engine provides %q", got)
	}
}

// Check accepts what real compilers make and names what is wrong with the rest.
func TestCheck(t *testing.T) {
	t.Parallel()
	real, err := os.ReadFile(guests["behave"].path)
	if err != nil {
		t.Fatal(err)
	}
	good := noop.bytes()
	withImport := func(module, field string, kind ...byte) []byte {
		return cat(good[:8], section(1, vec([]byte{0x60, 0, 0})), section(2, vec(cat(name(module), name(field), kind))))
	}
	exporting := func(exports ...[]byte) []byte {
		return cat(good[:8], section(1, vec([]byte{0x60, 0, 0})), section(3, vec(uleb(0))), section(5, vec([]byte{0, 1})), section(7, vec(exports...)))
	}
	start, memory := cat(name("_start"), []byte{kindFunction, 0}), cat(name("memory"), []byte{kindMemory, 0})
	for _, c := range []struct {
		name   string
		module []byte
		want   string // part of the message; "" for none
	}{
		{"a Go program", real, ""},
		{"the smallest command", good, ""},
		{"with a custom section", cat(good, section(0, name("note"))), ""},
		{"empty", nil, "\\0asm"},
		{"text", []byte("(module)"), "\\0asm"},
		{"a component", []byte("\x00asm\x0d\x00\x01\x00"), "component"},
		{"a foreign version", []byte("\x00asm\x02\x00\x00\x00"), "version"},
		{"only a header", good[:8], "_start"},
		{"cut", good[:len(good)-3], "longer than the file"},
		{"a foreign import", withImport("env", "puts", kindFunction, 0), "env.puts"},
		{"an unknown function", withImport(wasiModule, "sock_open", kindFunction, 0), "wasi_snapshot_preview1.sock_open"},
		{"an imported memory", withImport("env", "memory", kindMemory, 0, 1), "env.memory"},
		{"an imported global", withImport(wasiModule, "fd_write", kindGlobal, i32, 0), "not a function"},
		{"an unknown kind", withImport(wasiModule, "fd_write", 9), "unknown kind"},
		{"an unprintable import", withImport("a\nb", "c", kindFunction, 0), `"a\nb.c"`},
		{"no _start", exporting(memory), "_start"},
		{"_start is a memory", exporting(cat(name("_start"), []byte{kindMemory, 0}), memory), "_start"},
		{"no memory", exporting(start), "memory"},
		{"exported twice", exporting(start, memory, start), "twice"},
		{"shared memory", cat(good[:8], section(5, vec([]byte{3, 1, 1}))), "shared"},
		{"two memories", cat(good[:8], section(5, vec([]byte{0, 1}, []byte{0, 1}))), "2 memories"},
		{"too much memory", cat(good[:8], section(5, vec(cat([]byte{0}, uleb(65537))))), "65536"},
		{"a huge table", cat(good[:8], section(4, vec(cat([]byte{0x70, 0}, uleb(1<<31))))), "elements"},
		{"sections out of order", cat(good[:8], section(7, vec()), section(5, vec())), "out of order"},
		{"a section twice", cat(good[:8], section(7, vec()), section(7, vec())), "out of order"},
		{"an unknown section", cat(good[:8], section(99, nil)), "unknown"},
		{"bytes too many", cat(good[:8], section(7, append(vec(), 1))), "too many"},
		{"a number too large", cat(good[:8], []byte{7, 0xff, 0xff, 0xff, 0xff, 0x7f}), "too large"},
		{"a name that is not text", cat(good[:8], section(7, vec(cat(name("\xff"), []byte{0, 0})))), "UTF-8"},
		{"a billion imports", cat(good[:8], section(2, uleb(1<<30))), "imports"},
	} {
		err := Check(c.module)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if cloudcrowd.CodeOf(err) != cloudcrowd.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want something about %q", c.name, err, c.want)
		}
	}
	if err := Check(make([]byte, MaxModuleBytes+1)); cloudcrowd.CodeOf(err) != cloudcrowd.TooLarge {
		t.Errorf("a module too large: %v", err)
	}
}

// Check never panics, and every refusal is an error with a code.
func FuzzCheck(f *testing.F) {
	f.Add(noop.bytes())
	f.Add(tower(3).bytes())
	f.Add(module{min: 1, imports: []importOf{{"proc_exit", []byte{i32}, true}}, bodies: [][]byte{nil}, tables: vec([]byte{0x70, 0, 1}), data: []byte("x")}.bytes())
	f.Add([]byte("\x00asm\x01\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := Check(b); err != nil && cloudcrowd.CodeOf(err) == cloudcrowd.Internal {
			t.Fatalf("%v", err)
		}
	})
}
