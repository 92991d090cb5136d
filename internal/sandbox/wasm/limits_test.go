package wasm

import (
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
)

// A tower of calls without any loop, which no check inside the engine would stop, dies at its deadline.
func TestTowerOfCallsDies(t *testing.T) {
	t.Parallel()
	s := open(t, Config{})
	spec := write(t, tower(40).bytes()).spec(t)
	spec.Limits.Time = 300 * time.Millisecond
	o := attempt(t, s, spec)
	if o.Status != sandbox.TimedOut || o.Usage.CPUSeconds <= 0 {
		t.Fatalf("%+v", o)
	}
	if o := attempt(t, s, write(t, tower(10).bytes()).spec(t)); o.Status != sandbox.Succeeded {
		t.Fatalf("a small tower: %+v", o)
	}
}

// Memory is refused exactly beyond the limit, and a module that declares more is not even started.
func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	s := open(t, Config{})
	// Grows by the given pages and traps if that is refused.
	grow := func(pages int32) program {
		const opIf, opI32Lt, empty = 0x04, 0x48, 0x40
		return write(t, module{min: 1, bodies: [][]byte{cat(constant(pages), []byte{opMemoryGrow, 0}, constant(0), []byte{opI32Lt, opIf, empty, opUnreach, opEnd})}}.bytes())
	}
	for _, c := range []struct {
		program program
		pages   int64
		want    sandbox.Status
	}{
		{grow(9), 10, sandbox.Succeeded},
		{grow(10), 10, sandbox.OutOfMemory},
		{grow(65535), 10, sandbox.OutOfMemory},
		{write(t, module{min: 10, bodies: [][]byte{nil}}.bytes()), 10, sandbox.Succeeded},
		{write(t, module{min: 11, bodies: [][]byte{nil}}.bytes()), 10, sandbox.OutOfMemory},
	} {
		spec := c.program.spec(t)
		spec.Limits.MemoryBytes = c.pages * pageBytes
		if o := attempt(t, s, spec); o.Status != c.want {
			t.Errorf("limit of %d pages: %+v, want %s", c.pages, o, c.want)
		} else if o.Status == sandbox.Succeeded && o.Usage.PeakMemoryBytes != c.pages*pageBytes {
			t.Errorf("peak %d", o.Usage.PeakMemoryBytes)
		}
	}
}

// Programs that make the engine, not their own memory, take gigabytes are stopped, and the sandbox goes on.
func TestMemoryOfTheHost(t *testing.T) {
	t.Parallel()
	s := open(t, Config{})
	path := []byte{i32, i32, i32, i32, i32, i64, i64, i32, i32}
	const opTableGrow, opRefNull, opLoop, opBr, empty = 0x0f, 0xd0, 0x03, 0x0c, 0x40
	openTop := cat(constant(4), constant(1), constant(0), constant(1), constant(0), []byte{0x42, 0, 0x42, 0}, constant(0), constant(64), call(0), []byte{opDrop})
	programs := map[string]module{
		"a table of two billion": {min: 1, tables: vec([]byte{0x70, 0, 1}), bodies: [][]byte{cat(
			[]byte{opRefNull, 0x70}, constant(1<<31-1), []byte{0xfc, opTableGrow, 0, opDrop, opUnreach})}},
		"a descriptor of two billion": {min: 1, data: []byte("."), imports: []importOf{{"path_open", path, false}, {"fd_renumber", []byte{i32, i32}, false}},
			bodies: [][]byte{cat(openTop, constant(6), constant(1<<31-1), call(1), []byte{opDrop, opUnreach})}},
		"descriptors without end": {min: 1, data: []byte("."), imports: []importOf{{"path_open", path, false}},
			bodies: [][]byte{cat([]byte{opLoop, empty}, openTop, []byte{opBr, 0, opEnd})}},
		"recursion without end": {min: 1, bodies: [][]byte{cat(call(0))}},
	}
	for name, m := range programs {
		spec := write(t, m.bytes()).spec(t)
		spec.Limits = sandbox.Limits{MemoryBytes: 64 << 20, Time: 10 * time.Second}
		o := attempt(t, s, spec)
		if o.Status == sandbox.Succeeded || o.Status == sandbox.Broken {
			t.Errorf("%s: %+v", name, o)
		}
		t.Logf("%s: %s, %s", name, o.Status, o.Reason)
	}
	if o := attempt(t, s, write(t, noop.bytes()).spec(t)); o.Status != sandbox.Succeeded {
		t.Fatalf("afterwards: %+v", o)
	}
}

// What does not compile is the program's failure, with the reason.
func TestInvalidCode(t *testing.T) {
	t.Parallel()
	s := open(t, Config{CacheDir: codeCache})
	o := attempt(t, s, write(t, module{min: 1, bodies: [][]byte{{opDrop}}}.bytes()).spec(t))
	if o.Status != sandbox.Trapped || !strings.Contains(o.Reason, "compile") {
		t.Fatalf("%+v", o)
	}
	o = attempt(t, s, write(t, []byte("\x00asm garbage")).spec(t))
	if o.Status != sandbox.Trapped {
		t.Fatalf("%+v", o)
	}
	o = attempt(t, s, write(t, module{min: 1, bodies: [][]byte{nil}, imports: []importOf{{"path_open", nil, false}}}.bytes()).spec(t))
	if o.Status != sandbox.Trapped {
		t.Fatalf("an import of the wrong type: %+v", o)
	}
}
