package platform

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"cloudcrowd.dev/cloudcrowd/internal/store/sqlite/pagesum"
)

// Whatever page of the tables that follow from the journals is damaged, and of their indexes, a repair makes them as they were and keeps the old database. Where another page
// is damaged, it names it and changes nothing.
func TestRepair(t *testing.T) {
	t.Parallel()
	for table, mends := range map[string]bool{"jobs": true, "jobs_state": true, "segments": true, "listings": true, "records": true, "accounts": true, "holds": true, "transfers": true,
		"transfers_debit": true, "snapshots": true, "journal": false, "workers": false, "settings": false, "tokens": false} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			dir, db := aHistoryOf(t, 3)
			path := filepath.Join(dir, databaseFile)
			if _, err := db.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
				t.Fatal(err)
			}
			var page int64
			if err := db.QueryRow("SELECT rootpage FROM sqlite_schema WHERE name = ?", table).Scan(&page); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[(page-1)*pagesum.PageSize+50] ^= 4
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if r := check(t, dir, FsckOptions{Quick: true}); r.Verdict != Faulty {
				t.Fatal("nothing is damaged")
			}
			here, err := os.Getwd()
			if err != nil {
				t.Fatal(err)
			}
			relative, err := filepath.Rel(here, dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, dry := range []bool{true, false} {
				r, err := Repair(t.Context(), relative, dry)
				if err != nil || (r.Verdict == Clean) != mends || (len(r.Problems) == 0) != mends {
					t.Fatalf("%+v, %v, want mended: %v", r, err, mends)
				}
				if now, err := os.ReadFile(path); err != nil || bytes.Equal(now, b) != (dry || !mends) {
					t.Errorf("dry run %v: the database is replaced or is not, %v", dry, err)
				}
				if old, err := os.ReadFile(r.Kept); r.Kept != "" && (err != nil || !bytes.Equal(old, b)) {
					t.Errorf("%d bytes are kept, %v", len(old), err)
				}
				if (r.Kept != "") != (mends && !dry) {
					t.Errorf("kept as %q", r.Kept)
				}
			}
			if _, err := os.Stat(filepath.Join(dir, repairFolder)); !os.IsNotExist(err) {
				t.Errorf("left: %v", err)
			}
			if mends {
				mustBeClean(t, check(t, dir, FsckOptions{}))
			}
		})
	}
}
