package platform

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/authz"
	"cloudcrowd.dev/cloudcrowd/internal/store/sqlite"
)

// furnished is a finished history's data directory with what a server puts beside it.
func furnished(t *testing.T) string {
	t.Helper()
	dir, _ := aHistory(t)
	s, err := StartServer(t.Context(), ServerConfig{DataDir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{CertificateFile: "key and certificate", acmeFolder + "/accounts/key.pem": "account key"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func mustBackup(t *testing.T, dir, to string, o BackupOptions) BackupReport {
	t.Helper()
	o.Version = "test"
	r, err := Backup(t.Context(), dir, to, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantClean(t *testing.T, backup string) {
	t.Helper()
	if r, err := VerifyBackup(t.Context(), backup); err != nil || r.Verdict != Clean {
		t.Fatalf("%s: %+v, %v", backup, r.Problems, err)
	}
}

// A backup in either form verifies, restores to a directory in which everything agrees and the secrets are the same, and is never restored over data.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	dir := furnished(t)
	for _, form := range []string{"folder", "file" + archiveSuffix} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			to := filepath.Join(quickDir(t), form)
			r := mustBackup(t, dir, to, BackupOptions{})
			if r.Blobs == 0 || r.NewBlobs != r.Blobs || r.Rows[0] == 0 || len(r.Secrets) != 3 || len(r.Damaged) > 0 {
				t.Fatalf("%+v", r)
			}
			wantClean(t, to)
			data := filepath.Join(quickDir(t), "data")
			back, err := Restore(t.Context(), to, data)
			if err != nil || back.Verdict != Clean || back.Fsck.Verdict != Clean || back.Fsck.Jobs == 0 || back.Fsck.Blobs != r.Blobs {
				t.Fatalf("%+v %+v, %v", back.Problems, back.Fsck, err)
			}
			for _, name := range []string{secretsFile, CertificateFile, acmeFolder + "/accounts/key.pem"} {
				want, _ := os.ReadFile(filepath.Join(dir, name))
				have, err := os.ReadFile(filepath.Join(data, name))
				if err != nil || string(have) != string(want) {
					t.Errorf("%s: %q, %v", name, have, err)
				}
				if info, err := os.Stat(filepath.Join(data, name)); err == nil && info.Mode().Perm() != 0o600 {
					t.Errorf("%s has mode %v", name, info.Mode())
				}
			}
			if _, err := Restore(t.Context(), to, data); cloudcrowd.CodeOf(err) != cloudcrowd.Conflict {
				t.Errorf("restored over data: %v", err)
			}
			s, err := StartServer(t.Context(), ServerConfig{DataDir: data, Listen: "127.0.0.1:0"})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A second backup to the same folder copies what is new, one of another server is refused, and the folder holds one set.
func TestBackupAgain(t *testing.T) {
	t.Parallel()
	dir, to := furnished(t), filepath.Join(quickDir(t), "backup")
	first := mustBackup(t, dir, to, BackupOptions{})
	second := mustBackup(t, dir, to, BackupOptions{})
	if first.NewBlobs == 0 || second.NewBlobs != 0 || second.Blobs != first.Blobs {
		t.Errorf("%d new of %d, then %d of %d", first.NewBlobs, first.Blobs, second.NewBlobs, second.Blobs)
	}
	if sets, _ := filepath.Glob(filepath.Join(to, "set-*")); len(sets) != 1 {
		t.Errorf("sets: %q", sets)
	}
	wantClean(t, to)
	other := quickDir(t)
	s, err := StartServer(t.Context(), ServerConfig{DataDir: other, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for what, place := range map[string]string{"another server's": to, "somebody's files": dir, "inside": filepath.Join(other, "backup")} {
		if _, err := Backup(t.Context(), other, place, BackupOptions{}); err == nil {
			t.Errorf("%s: it was made", what)
		}
	}
	wantClean(t, to)
}

// Without secrets a backup holds neither files nor the signing key, and a server starts on it all the same.
func TestBackupWithoutSecrets(t *testing.T) {
	t.Parallel()
	dir, to := furnished(t), filepath.Join(quickDir(t), "backup")
	db, err := sqlite.OpenSnapshot(t.Context(), filepath.Join(dir, databaseFile))
	if err != nil {
		t.Fatal(err)
	}
	key, err := db.Setting(t.Context(), authz.SigningKeySetting)
	if err != nil || key == "" {
		t.Fatal("no key", err)
	}
	_ = db.Close()
	r := mustBackup(t, dir, to, BackupOptions{NoSecrets: true})
	if len(r.Secrets) != 0 {
		t.Errorf("%+v", r.Secrets)
	}
	if b, err := os.ReadFile(filepath.Join(to, r.Set, databaseFile)); err != nil || strings.Contains(string(b), key) {
		t.Errorf("the signing key is in the copy (%v)", err)
	}
	data := filepath.Join(quickDir(t), "data")
	back, err := Restore(t.Context(), to, data)
	if err != nil || back.Fsck == nil || back.Fsck.Verdict != Clean {
		t.Fatalf("%+v, %v", back, err)
	}
	s, err := StartServer(t.Context(), ServerConfig{DataDir: data, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// Whatever is damaged in a backup, one flipped bit or a missing file, is named, and nothing is restored from it.
func TestDamagedBackup(t *testing.T) {
	t.Parallel()
	dir := furnished(t)
	good := filepath.Join(quickDir(t), "backup")
	r := mustBackup(t, dir, good, BackupOptions{})
	list, err := os.ReadFile(filepath.Join(good, r.Set, blobListFile))
	if err != nil {
		t.Fatal(err)
	}
	digest := string(list[:64])
	blobName := filepath.Join(blobFolder, digest[:2], digest[2:])
	for name, c := range map[string]struct {
		file, says string
		do         func(path string) error
	}{
		"blob":            {blobName, digest, flip},
		"blob cut short":  {blobName, digest, func(p string) error { return os.Truncate(p, 1) }},
		"blob missing":    {blobName, digest, os.Remove},
		"database":        {filepath.Join(r.Set, databaseFile), databaseFile, flip},
		"no database":     {filepath.Join(r.Set, databaseFile), databaseFile, os.Remove},
		"list":            {filepath.Join(r.Set, blobListFile), blobListFile, flip},
		"secret":          {filepath.Join(r.Set, secretsFolder, secretsFile), secretsFile, flip},
		"manifest broken": {manifestFile, manifestFile, func(p string) error { return os.Truncate(p, 20) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := quickDir(t)
			if err := os.CopyFS(bad, os.DirFS(good)); err != nil {
				t.Fatal(err)
			}
			if err := c.do(filepath.Join(bad, c.file)); err != nil {
				t.Fatal(err)
			}
			named := func(v VerifyReport, err error) {
				t.Helper()
				if err != nil || v.Verdict != Faulty || !strings.Contains(fmt.Sprint(v.Problems), c.says) {
					t.Errorf("%s %+v, %v", v.Verdict, v.Problems, err)
				}
			}
			named(VerifyBackup(t.Context(), bad))
			data := filepath.Join(quickDir(t), "data")
			back, err := Restore(t.Context(), bad, data)
			named(back.VerifyReport, err)
			if left, _ := os.ReadDir(data); len(left) > 0 || back.Fsck != nil {
				t.Errorf("%d files stayed, checked: %v", len(left), back.Fsck)
			}
		})
	}
}

func unpacked(archive []byte) ([]byte, error) {
	in, err := zstd.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return io.ReadAll(in)
}

// A flipped bit anywhere in an archive that changes what is in it, and an archive that was cut, are found.
func TestDamagedArchive(t *testing.T) {
	t.Parallel()
	to := filepath.Join(quickDir(t), "backup"+archiveSuffix)
	mustBackup(t, furnished(t), to, BackupOptions{})
	wantClean(t, to)
	whole, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	content, err := unpacked(whole)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 40 {
		b := append([]byte(nil), whole...)
		at := rng.IntN(len(b))
		what := fmt.Sprintf("bit flipped in byte %d of %d", at, len(b))
		if i < 30 {
			b[at] ^= 1 << rng.IntN(8)
		} else {
			b, what = b[:at], fmt.Sprintf("cut after %d of %d bytes", at, len(b))
		}
		if same, err := unpacked(b); err == nil && bytes.Equal(same, content) {
			continue // a bit that the compression does not use
		}
		bad := filepath.Join(quickDir(t), "bad"+archiveSuffix)
		if err := os.WriteFile(bad, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if v, err := VerifyBackup(t.Context(), bad); err == nil && v.Verdict != Faulty {
			t.Errorf("%s: %s", what, v.Verdict)
		}
		data := filepath.Join(quickDir(t), "data")
		if back, err := Restore(t.Context(), bad, data); err == nil && back.Verdict != Faulty {
			t.Errorf("%s: restored", what)
		}
		if left, _ := os.ReadDir(data); len(left) > 0 {
			t.Errorf("%s: %d files stayed", what, len(left))
		}
	}
}

// A blob of the server that is damaged is named and left out; the rest is in the backup.
func TestBackupOfDamage(t *testing.T) {
	t.Parallel()
	dir, to := furnished(t), filepath.Join(quickDir(t), "backup")
	found, err := filepath.Glob(filepath.Join(dir, blobFolder, "??", strings.Repeat("?", 62)))
	if err != nil || len(found) == 0 {
		t.Fatal("no blobs", err)
	}
	if err := flip(found[0]); err != nil {
		t.Fatal(err)
	}
	r := mustBackup(t, dir, to, BackupOptions{})
	want := filepath.Base(filepath.Dir(found[0])) + filepath.Base(found[0])
	if len(r.Damaged) != 1 || r.Damaged[0] != want || r.Blobs != int64(len(found)-1) {
		t.Errorf("%q damaged, %d of %d blobs", r.Damaged, r.Blobs, len(found))
	}
	wantClean(t, to)
}

// flip changes a bit in the middle of a file.
func flip(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return fmt.Errorf("%s is empty", path)
	}
	b[len(b)/2] ^= 4
	return os.WriteFile(path, b, 0o600)
}
