package worker

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// An output that goes into the cache is a file of its own: whoever still has the attempt's open changes nothing that others read. Other bytes than the digest's, and
// what would fill the cache, are not taken.
func TestAdopt(t *testing.T) {
	t.Parallel()
	missing := errors.New("not here")
	c, err := openCache(t.TempDir(), 800)
	if err != nil {
		t.Fatal(err)
	}
	c.fetch = func(context.Context, span, string, io.Writer) error { return missing }
	write := func(name, text string) (cloudcrowd.Digest, string) {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return digest([]byte(text)), path
	}
	read := func(d cloudcrowd.Digest) (string, error) {
		p, err := c.get(t.Context(), span{Digest: d}, "")
		if err != nil {
			return "", err
		}
		defer p.release()
		b, err := os.ReadFile(p.path)
		return string(b), err
	}
	d, path := write("out", "right")
	open, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	c.adopt(d, path, 5)
	if !c.has(d) {
		t.Fatal("it was not taken")
	}
	if _, err := open.WriteAt([]byte("wrong"), 0); err != nil {
		t.Fatal(err)
	}
	if text, err := read(d); text != "right" || err != nil {
		t.Errorf("the cache has %q, %v after the attempt's file was written to", text, err)
	}
	c.adopt(d, path, 5) // it is there already
	other, _ := write("other", "other")
	c.adopt(other, path, 5)
	large, place := write("large", string(make([]byte, 101)))
	c.adopt(large, place, 101)
	for _, d := range []cloudcrowd.Digest{other, large} {
		if text, err := read(d); !errors.Is(err, missing) {
			t.Errorf("the cache has %q, %v", text, err)
		}
	}
	files, err := os.ReadDir(c.dir)
	if err != nil || len(files) != 1 {
		t.Errorf("%d files, %v", len(files), err)
	}
}
