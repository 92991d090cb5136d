package wasm

import (
	"os"
	"path/filepath"
	"testing"

	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
)

// bench runs one program b.N times, with fresh folders each time that are made outside the measured time.
func bench(b *testing.B, s *Sandbox, spec sandbox.Spec, before func()) {
	b.Helper()
	spec.Out = filepath.Join(b.TempDir(), "out")
	for b.Loop() {
		b.StopTimer()
		if before != nil {
			before()
		}
		if err := os.RemoveAll(spec.Out); err != nil {
			b.Fatal(err)
		}
		if err := os.Mkdir(spec.Out, 0o700); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if o := attempt(b, s, spec); o.Status != sandbox.Succeeded {
			b.Fatalf("%+v", o)
		}
	}
}

// BenchmarkWarmNoop is the sandbox's own overhead: a warm child runs an empty program, with an input folder.
func BenchmarkWarmNoop(b *testing.B) {
	s := open(b, Config{})
	spec := write(b, noop.bytes()).spec(b)
	spec.In = b.TempDir()
	attempt(b, s, spec)
	bench(b, s, spec, nil)
}

// BenchmarkWarmGo runs a Go program that does nothing in a warm child.
func BenchmarkWarmGo(b *testing.B) {
	s := open(b, Config{CacheDir: codeCache})
	spec := guests["behave"].spec(b, "nothing")
	attempt(b, s, spec)
	bench(b, s, spec, nil)
}

// BenchmarkColdGo starts a child for a Go program whose compiled code is in the cache.
func BenchmarkColdGo(b *testing.B) {
	s := open(b, Config{CacheDir: codeCache})
	spec := guests["behave"].spec(b, "nothing")
	attempt(b, s, spec)
	bench(b, s, spec, func() { dropChildren(s) })
}

// BenchmarkColdNoop starts a child for an empty program.
func BenchmarkColdNoop(b *testing.B) {
	s := open(b, Config{CacheDir: codeCache})
	spec := write(b, noop.bytes()).spec(b)
	attempt(b, s, spec)
	bench(b, s, spec, func() { dropChildren(s) })
}

// BenchmarkCompileGo compiles a Go program for the first time.
func BenchmarkCompileGo(b *testing.B) {
	s := open(b, Config{CacheDir: b.TempDir()})
	spec := guests["behave"].spec(b, "nothing")
	bench(b, s, spec, func() {
		dropChildren(s)
		s.cache.drop(spec.ModuleDigest)
	})
}

// dropChildren ends all warm children.
func dropChildren(s *Sandbox) {
	for _, p := range s.children() {
		s.mu.Lock()
		s.idle = nil
		s.mu.Unlock()
		p.stop()
	}
}
