package file

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/blob/sums"
)

// Beside the owner of the directory a reader sees and verifies every blob, and changes nothing: not what is being written, not damaged sums.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), filepath.Join(t.TempDir(), "blobs")
	if _, err := OpenReadOnly(dir); cloudcrowd.CodeOf(err) != cloudcrowd.NotFound {
		t.Errorf("%v, want code not found", err)
	}
	owner, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 3*blockSize/16)
	d, err := blob.PutBytes(ctx, owner, big)
	if err != nil {
		t.Fatal(err)
	}
	small, err := blob.PutBytes(ctx, owner, []byte("small"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := owner.Create(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if err := os.WriteFile(owner.path(d)+sums.Suffix, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) != 1 {
		t.Errorf("%d files are being written, %v, want the one", len(left), err)
	}
	r, err := s.Open(ctx, d, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, big) {
		t.Errorf("%d bytes, %v, want all", len(b), err)
	}
	_ = r.Close()
	for _, d := range []cloudcrowd.Digest{d, small} {
		if err := s.Verify(ctx, d); err != nil {
			t.Error(err)
		}
	}
	if b, err := os.ReadFile(owner.path(d) + sums.Suffix); err != nil || string(b) != "damaged" {
		t.Errorf("the sums became %q, %v", b, err)
	}
	_, create := s.Create(ctx)
	for name, err := range map[string]error{"Put": s.Put(ctx, blob.DigestOf(nil), 0, bytes.NewReader(nil)), "Create": create, "Delete": s.Delete(ctx, small)} {
		if cloudcrowd.CodeOf(err) != cloudcrowd.Forbidden {
			t.Errorf("%s: %v, want code forbidden", name, err)
		}
	}
	if err := os.WriteFile(owner.path(small), []byte("smell"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := errors.AsType[*blob.CorruptError](s.Verify(ctx, small)); !ok {
		t.Error("a damaged blob was not noticed")
	}
	if err := os.RemoveAll(filepath.Dir(owner.path(small))); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := s.List(ctx, func(blob.Info) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("%d blobs, %v, want one", n, err)
	}
}
