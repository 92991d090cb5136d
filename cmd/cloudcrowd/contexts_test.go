package main

import (
	"net"
	"testing"
)

// A second server takes the name "local" while it runs; when it ends, the first has it again, unless that ended meanwhile.
func TestLocalContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := &app{getenv: func(name string) string { return map[string]string{"CLOUDCROWD_CONFIG_DIR": dir}[name] }}
	now := func() target {
		c, err := a.loadContexts()
		if err != nil {
			t.Fatal(err)
		}
		return c.Targets[c.Current]
	}
	start := func(s target) (before target) {
		chosen, before, err := a.rememberLocal(s)
		if err != nil || !chosen || !now().same(s) {
			t.Fatalf("%v, %v, %+v is chosen, want %+v", chosen, err, now(), s)
		}
		return before
	}
	end := func(s, before target) {
		if err := a.forgetLocal(s, before); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	first, second := target{URL: "http://" + l.Addr().String(), Token: "a"}, target{URL: "http://127.0.0.1:9", Token: "b"}

	none := start(first)
	before := start(second)
	end(second, before)
	if !now().same(first) {
		t.Errorf("the second server ended: %+v is chosen, want the first, which still runs", now())
	}

	before = start(second)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	end(first, none)
	if !now().same(second) {
		t.Errorf("the first server ended: %+v is chosen, want the second, which still runs", now())
	}
	end(second, before)
	if !now().same(target{}) {
		t.Errorf("both servers ended, %+v is chosen", now())
	}
}
