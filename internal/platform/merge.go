package platform

import (
	"context"
	"io"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/merge"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

var onePage = store.Page{Limit: 1}

func transfersOf(a cloudcrowd.AccountID) store.TransferFilter {
	return store.TransferFilter{Account: a}
}

// Merge performs a built-in merge over blobs; it is the Task Manager's MergeFunc.
func Merge(ctx context.Context, m *cloudcrowd.Merge, split *cloudcrowd.Split, parts []taskmanager.MergePart, blobs blob.Store) ([]cloudcrowd.OutputFile, error) {
	list := make([]merge.Part, len(parts))
	for i, p := range parts {
		list[i] = merge.Part{Index: p.Index, Unit: p.Unit, Outputs: p.Outputs}
	}
	f := &mergeFiles{ctx: ctx, blobs: blobs}
	defer f.abort()
	if err := merge.Run(ctx, m, split, list, f); err != nil {
		return nil, err
	}
	return f.commit()
}

type mergeFiles struct {
	ctx   context.Context
	blobs blob.Store
	made  []*mergeFile
}

type mergeFile struct {
	blob.Writer
	path string
}

// Close implements io.Closer; the blob is committed when the whole merge has succeeded.
func (*mergeFile) Close() error { return nil }

// Open implements merge.Files.
func (f *mergeFiles) Open(d cloudcrowd.Digest) (io.ReadCloser, error) {
	return f.blobs.Open(f.ctx, d, 0, -1)
}

// Create implements merge.Files.
func (f *mergeFiles) Create(path string) (io.WriteCloser, error) {
	w, err := f.blobs.Create(f.ctx)
	if err != nil {
		return nil, err
	}
	m := &mergeFile{w, path}
	f.made = append(f.made, m)
	return m, nil
}

func (f *mergeFiles) commit() ([]cloudcrowd.OutputFile, error) {
	var list []cloudcrowd.OutputFile
	for _, m := range f.made {
		size := m.Size()
		d, err := m.Commit()
		if err != nil {
			return nil, err
		}
		list = append(list, cloudcrowd.OutputFile{Path: m.path, Digest: d, SizeBytes: size})
	}
	slices.SortFunc(list, func(a, b cloudcrowd.OutputFile) int { return strings.Compare(a.Path, b.Path) })
	return list, nil
}

func (f *mergeFiles) abort() {
	for _, m := range f.made {
		m.Abort()
	}
}
