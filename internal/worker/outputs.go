package worker

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

// manifest lists the files below dir, sorted by path; bare says that there is nothing, not even a folder. An Error (not the disk's) says what about them
// cannot be a result.
func manifest(dir string) (list []cloudcrowd.OutputFile, bare bool, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return nil, err == nil, err
	}
	list, err = listOutputs(dir)
	return list, false, err
}

func listOutputs(dir string) ([]cloudcrowd.OutputFile, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var files []cloudcrowd.OutputFile
	err = fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if !entry.Type().IsRegular() {
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "the program left %q, which is no regular file", clipText(path, wire.MaxPath))
		}
		if !wire.ValidPath(path) {
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "the program left a file named %q; names are UTF-8 without backslashes and control characters, at most %d bytes with their folders",
				clipText(path, wire.MaxPath), wire.MaxPath)
		}
		if len(files) == wire.MaxOutputs {
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "the program left more than %d files", wire.MaxOutputs)
		}
		f, err := root.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		sum := sha256.New()
		n, err := io.Copy(sum, f)
		if err != nil {
			return err
		}
		files = append(files, cloudcrowd.OutputFile{Path: path, Digest: cloudcrowd.Digest(hex.EncodeToString(sum.Sum(nil))), SizeBytes: n})
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(files, func(x, y cloudcrowd.OutputFile) int { return cmp.Compare(x.Path, y.Path) })
	if len(files) > 1000 { // the list itself must fit a frame
		report := cloudcrowd.Report{
			Attempt: cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: "j0000000000000000"}, N: 1},
			Result:  cloudcrowd.Result{Outcome: cloudcrowd.Succeeded, Outputs: files},
		}
		if _, err := wire.EncodeUp(&cloudcrowd.Up{Reports: []cloudcrowd.Report{report}}); err != nil {
			return nil, cloudcrowd.Errorf(cloudcrowd.Invalid, "the program left %d files; the list of their names is too long for a report", len(files))
		}
	}
	return files, nil
}

// logText is what an attempt printed, as one text: a line "==> stdout <==" or "==> stderr <==" before each part that is not empty. Stdout that became the
// output itself is not repeated.
func logText(o *sandbox.Outcome, outputs []cloudcrowd.OutputFile) []byte {
	var b bytes.Buffer
	part := func(name string, text []byte) {
		if len(text) == 0 {
			return
		}
		if n := b.Len(); n > 0 && b.Bytes()[n-1] != '\n' {
			b.WriteByte('\n')
		}
		b.WriteString("==> " + name + " <==\n")
		b.Write(text)
	}
	if len(outputs) != 1 || outputs[0].Path != "stdout" {
		part("stdout", o.Stdout)
	}
	part("stderr", o.Stderr)
	return b.Bytes()
}

// storeLog writes the log beside the outputs of an attempt.
func storeLog(folder string, log []byte) (cloudcrowd.Digest, error) {
	sum := sha256.Sum256(log)
	return cloudcrowd.Digest(hex.EncodeToString(sum[:])), os.WriteFile(filepath.Join(folder, "log"), log, 0o600)
}

// clipTail is the end of b as valid UTF-8 of at most n bytes.
func clipTail(b []byte, n int) string {
	if len(b) > n {
		b = b[len(b)-n:]
	}
	s := strings.ToValidUTF8(string(b), "?")
	if len(s) > n {
		s = strings.ToValidUTF8(s[len(s)-n:], "")
	}
	return s
}
