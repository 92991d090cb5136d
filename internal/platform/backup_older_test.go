package platform

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd/internal/store/sqlite/pagesum"
)

// A backup of an earlier schema is verified and restored, and brought up to date where it is put; one of a newer schema is refused with both versions.
func TestBackupOfOtherSchema(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change string
		clean  bool
	}{
		"older": {"DELETE FROM goose_db_version WHERE version_id = (SELECT max(version_id) FROM goose_db_version)", true},
		"newer": {"INSERT INTO goose_db_version (version_id, is_applied) VALUES (1000, 1)", false},
	} {
		dir, db := aHistory(t)
		_ = db.Close()
		to := filepath.Join(quickDir(t), "backup")
		r, err := Backup(t.Context(), dir, to, BackupOptions{})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(to, r.Set, databaseFile)
		if db, err = sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(DELETE)&vfs="+pagesum.VFS()); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(c.change); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		m := r.Manifest
		if m.Database, err = partOf(databaseFile, path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, manifestFile), m.encode(), 0o600); err != nil {
			t.Fatal(err)
		}
		v, err := VerifyBackup(t.Context(), to)
		if err != nil || (v.Verdict == Clean) != c.clean || !c.clean && !strings.Contains(v.Problems[0].Text, "newer version") {
			t.Errorf("%s: %+v, %v", name, v.Problems, err)
		}
		if after, err := partOf(databaseFile, path); err != nil || after != m.Database {
			t.Errorf("%s: verifying changed the backup, %v", name, err)
		}
		data := filepath.Join(quickDir(t), "data")
		back, err := Restore(t.Context(), to, data)
		if err != nil || (back.Verdict == Clean) != c.clean || c.clean && back.Fsck.Verdict != Clean {
			t.Errorf("%s: %+v, %v", name, back, err)
		}
		left, err := filepath.Glob(filepath.Join(data, databaseFile+".restored*"))
		if err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}
}
