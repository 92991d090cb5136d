package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

// layout says under which name each result file is stored below the output folder. Where every file has a name of its own, the names are
// kept as they are. Otherwise files are put into folders by stage, and by task where several tasks of a stage made the same name.
func layout(outputs []cloudcrowd.StageOutput) []string {
	names := make([]string, len(outputs))
	for i, o := range outputs {
		names[i] = o.Path
	}
	if unique(names) {
		return names
	}
	crowded := map[string]bool{} // stages in which a name appears twice
	seen := map[string]bool{}
	for _, o := range outputs {
		key := strings.ToLower(o.Stage + "/" + o.Path)
		crowded[o.Stage] = crowded[o.Stage] || seen[key]
		seen[key] = true
	}
	for i, o := range outputs {
		names[i] = path.Join(o.Stage, o.Path)
		if crowded[o.Stage] {
			names[i] = path.Join(o.Stage, fmt.Sprintf("%06d", o.Task), o.Path)
		}
	}
	return names
}

// unique reports whether all names differ, on file systems that know no capitals too, and no name is a folder of another.
func unique(names []string) bool {
	sorted := make([]string, len(names))
	for i, n := range names {
		sorted[i] = strings.ToLower(n) + "/"
	}
	slices.Sort(sorted)
	for i := 1; i < len(sorted); i++ {
		if strings.HasPrefix(sorted[i], sorted[i-1]) {
			return false
		}
	}
	return true
}

// fetch stores the result files of a job below dir and returns their paths. Nothing is written outside dir, whatever the names say and
// whatever links dir holds. A file appears under its name only when it is whole and matches its digest.
func (a *app) fetch(ctx context.Context, api *client.Client, job cloudcrowd.Job, dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var paths []string
	for i, name := range layout(job.Outputs) {
		name = filepath.FromSlash(name)
		if !filepath.IsLocal(name) {
			return paths, cloudcrowd.Errorf(cloudcrowd.Invalid, "the job has a result file named %q, which is not a name for this machine", name).
				WithHint("`cloudcrowd blobs get %s` fetches it under another name", job.Outputs[i].Digest)
		}
		if err := fetchFile(ctx, api, root, name, job.ID, job.Outputs[i]); err != nil {
			return paths, fmt.Errorf("%s: %w", name, err)
		}
		paths = append(paths, filepath.Join(dir, name))
	}
	return paths, nil
}

func fetchFile(ctx context.Context, api *client.Client, root *os.Root, name string, job cloudcrowd.JobID, o cloudcrowd.StageOutput) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	r, err := api.OpenOutput(ctx, job, o.Stage, o.Task, o.Path)
	if err != nil {
		return err
	}
	defer r.Close()
	part := name + ".part"
	f, err := root.Create(part)
	if err != nil {
		return err
	}
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, hash), r)
	if err = errors.Join(err, f.Close()); err == nil && hex.EncodeToString(hash.Sum(nil)) != string(o.Digest) {
		err = cloudcrowd.Errorf(cloudcrowd.DigestMismatch, "the bytes received do not match the digest %s", o.Digest)
	}
	if err == nil {
		err = root.Rename(part, name)
	}
	if err != nil {
		root.Remove(part)
	}
	return err
}

// folderName makes a plain folder name of a job's name: "k-mer spectrum of E. coli" is "k-mer-spectrum-of-e-coli".
func folderName(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
	s := strings.Trim(strings.Join(words, "-"), "-")
	if len(s) > 60 {
		s = strings.TrimRight(s[:60], "-")
	}
	if s == "" {
		return "job"
	}
	return s
}
