package platform

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/authz"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/store/sqlite"
)

// backupFormat is the newest form of backups this program writes, and the only one it reads.
const backupFormat = 1

// Names within a backup.
const (
	manifestFile  = "manifest.json"
	blobListFile  = "blobs.txt" // a line "DIGEST BYTES" for each, by digest
	secretsFolder = "secrets"
	acmeFolder    = "acme"
)

// Manifest says what a backup holds. It is written last into a folder and first into an archive.
type Manifest struct {
	Format   int             `json:"format"`
	At       cloudcrowd.Time `json:"at"`      // the moment it shows
	Version  string          `json:"version"` // of the program that made it
	Origin   string          `json:"origin"`  // tells servers apart: a digest of the signing key
	Set      string          `json:"set,omitempty"`
	Database Part            `json:"database"`
	Secrets  []Part          `json:"secrets,omitempty"`
	BlobList Part            `json:"blob_list"`
	Blobs    int64           `json:"blobs"`
	Bytes    int64           `json:"blob_bytes"`
	Rows     map[int]int64   `json:"journal_rows"`      // last row by shard
	Damaged  []string        `json:"damaged,omitempty"` // blobs of the server that could not be read and are not here
}

// Part is a file of a backup.
type Part struct {
	Name   string            `json:"name"` // slash-separated
	Size   int64             `json:"size_bytes"`
	Digest cloudcrowd.Digest `json:"sha256"`
}

// BackupOptions tune a backup.
type BackupOptions struct {
	NoSecrets bool // leave out the operator's token, the invite, keys of certificates, and the signing key
	Version   string
}

// BackupReport is what a backup did.
type BackupReport struct {
	Manifest
	Path     string  `json:"path"`
	NewBlobs int64   `json:"new_blobs"` // that the folder did not have
	Seconds  float64 `json:"seconds"`
}

// sink is a backup being written.
type sink interface {
	// work is a folder on the destination's disk for what is put together before it is written.
	work() string
	begin(m *Manifest) error
	part(m *Manifest, p Part, from string) error
	blob(ctx context.Context, i blob.Info, blobs blob.Store) (added bool, err error)
	finish(m *Manifest) error
	abort()
}

// Backup copies a server's data directory as it is at one moment, also while the server works, to a folder or, if to ends in .tar.zst, to an archive. Blobs
// never change, so a folder that holds an earlier backup of the same server gets the new ones only. What the server acknowledged before the call is in
// it; a bucket's blobs are fetched. Damaged blobs of the server are named in the report and left out. Errors: NotFound without a database, Conflict if to is something else.
func Backup(ctx context.Context, dataDir, to string, o BackupOptions) (_ BackupReport, err error) {
	began := time.Now()
	if inside(dataDir, to) {
		return BackupReport{}, cloudcrowd.Fieldf("--out", "%s is inside of the data folder", to).WithHint("keep backups on another disk, better on another machine")
	}
	blobs, err := openBlobsReadOnly(ctx, dataDir, "")
	if err != nil {
		return BackupReport{}, err
	}
	defer closeBlobs(blobs)
	var out sink
	if strings.HasSuffix(to, archiveSuffix) {
		out, err = newArchive(to)
	} else {
		out, err = newFolder(to)
	}
	if err != nil {
		return BackupReport{}, err
	}
	defer func() {
		if err != nil {
			out.abort()
		}
	}()
	m := &Manifest{Format: backupFormat, Version: o.Version, At: cloudcrowd.TimeOf(began)}
	database := filepath.Join(out.work(), databaseFile)
	if err := sqlite.Copy(ctx, filepath.Join(dataDir, databaseFile), database); err != nil {
		return BackupReport{}, err
	}
	if err := m.describe(ctx, database, o); err != nil {
		return BackupReport{}, err
	}
	// From here on the order does not matter: a blob is stored before anything names it, and never changes.
	list := filepath.Join(out.work(), blobListFile)
	infos, err := m.listBlobs(ctx, blobs, list)
	if err != nil {
		return BackupReport{}, err
	}
	sources := map[string]string{databaseFile: database, blobListFile: list}
	if m.Database, err = partOf(databaseFile, database); err != nil {
		return BackupReport{}, err
	}
	if m.BlobList, err = partOf(blobListFile, list); err != nil {
		return BackupReport{}, err
	}
	if !o.NoSecrets {
		if err := m.findSecrets(dataDir, sources); err != nil {
			return BackupReport{}, err
		}
	}
	if err := out.begin(m); err != nil {
		return BackupReport{}, err
	}
	for _, p := range append([]Part{m.Database, m.BlobList}, m.Secrets...) {
		if err := out.part(m, p, sources[p.Name]); err != nil {
			return BackupReport{}, err
		}
	}
	r := BackupReport{Path: to}
	for _, i := range infos {
		added, err := out.blob(ctx, i, blobs)
		if err != nil {
			return BackupReport{}, err
		}
		if added {
			r.NewBlobs++
		}
	}
	if err := out.finish(m); err != nil {
		return BackupReport{}, err
	}
	r.Manifest, r.Seconds = *m, time.Since(began).Seconds()
	return r, nil
}

// describe reads from the copy of the database what the manifest says of it, and removes the signing key if it is to be left out.
func (m *Manifest) describe(ctx context.Context, database string, o BackupOptions) error {
	db, err := sqlite.OpenSnapshot(ctx, database)
	if err != nil {
		return err
	}
	key, err := db.Setting(ctx, authz.SigningKeySetting)
	if err == nil {
		m.Origin = hex.EncodeToString(sumOf([]byte("cloudcrowd-origin:" + key))[:8])
		m.Rows, err = db.JournalEnds(ctx)
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	if o.NoSecrets {
		err = sqlite.ForgetSetting(ctx, database, authz.SigningKeySetting)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		_ = os.Remove(database + suffix) // empty, left by looking at it
	}
	return err
}

func sumOf(b []byte) []byte { s := sha256.Sum256(b); return s[:] }

// listBlobs reads every blob of the server and lists those that are whole, in a file and in memory.
func (m *Manifest) listBlobs(ctx context.Context, blobs blob.Store, to string) (infos []blob.Info, err error) {
	var text strings.Builder
	err = blobs.List(ctx, func(i blob.Info) error {
		err := blobs.Verify(ctx, i.Digest)
		if _, rotten := errors.AsType[*blob.CorruptError](err); rotten {
			m.Damaged = append(m.Damaged, string(i.Digest))
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%s %d\n", i.Digest, i.SizeBytes)
		m.Blobs++
		m.Bytes += i.SizeBytes
		infos = append(infos, i)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return infos, os.WriteFile(to, []byte(text.String()), 0o600)
}

// findSecrets lists what the data directory holds beside database and blobs: the operator's secrets, and certificates with their keys.
func (m *Manifest) findSecrets(dataDir string, sources map[string]string) error {
	var found []string
	for _, name := range []string{secretsFile, CertificateFile} {
		if exists(filepath.Join(dataDir, name)) {
			found = append(found, name)
		}
	}
	err := fs.WalkDir(os.DirFS(dataDir), acmeFolder, func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.Type().IsRegular() && path.Ext(name) != ".lock":
			found = append(found, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range found {
		from := filepath.Join(dataDir, filepath.FromSlash(name))
		p, err := partOf(path.Join(secretsFolder, name), from)
		if err != nil {
			return err
		}
		m.Secrets = append(m.Secrets, p)
		sources[p.Name] = from
	}
	return nil
}

// partOf measures a file.
func partOf(name, from string) (Part, error) {
	f, err := os.Open(from)
	if err != nil {
		return Part{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return Part{name, n, cloudcrowd.Digest(hex.EncodeToString(h.Sum(nil)))}, err
}

// inside reports whether to lies in dir.
func inside(dir, to string) bool {
	a, err1 := filepath.Abs(dir)
	b, err2 := filepath.Abs(to)
	if err1 != nil || err2 != nil {
		return false
	}
	rel, err := filepath.Rel(a, b)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

func (m *Manifest) encode() []byte {
	b, _ := json.MarshalIndent(m, "", "  ") // plain values: cannot fail
	return append(b, '\n')
}

func decodeManifest(b []byte) (*Manifest, error) {
	m := &Manifest{}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, cloudcrowd.Errorf(cloudcrowd.DigestMismatch, "the manifest is damaged: %v", err)
	}
	if m.Format != backupFormat {
		return nil, cloudcrowd.Errorf(cloudcrowd.Conflict, "the backup has format %d, this program reads %d", m.Format, backupFormat).WithHint("use the version of CloudCrowd that made it (%s)", m.Version)
	}
	if strings.ContainsAny(m.Set, `/\`) || m.Set == ".." {
		return nil, cloudcrowd.Errorf(cloudcrowd.DigestMismatch, "the manifest is damaged: set %q", m.Set)
	}
	return m, nil
}
