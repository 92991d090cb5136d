package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// OpenOutput reads one output file of a task; task -1 is a built-in merge. When the connection breaks, reading goes on where it was. The caller closes the
// reader.
func (c *Client) OpenOutput(ctx context.Context, job cloudcrowd.JobID, stage string, task int32, path string) (io.ReadCloser, error) {
	parts := strings.Split(path, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	_, body, err := c.open(ctx, call{
		method: http.MethodGet, repeat: true,
		path: "/v1/jobs/" + url.PathEscape(string(job)) + "/outputs/" + url.PathEscape(stage) + "/" + strconv.Itoa(int(task)) + "/" + strings.Join(parts, "/"),
	}, 0, "")
	if err != nil {
		return nil, err
	}
	return body, nil
}

// SaveOutput writes one of Job.Outputs to the file dest, whose folder is made if needed. The file appears only when it is complete and its digest was
// checked. Progress may be nil.
func (c *Client) SaveOutput(ctx context.Context, job cloudcrowd.JobID, o cloudcrowd.StageOutput, dest string, p Progress) (err error) {
	if err := os.MkdirAll(filepath.Dir(dest), 0o777); err != nil {
		return &cloudcrowd.Error{Code: cloudcrowd.Invalid, Msg: "cannot make the folder of " + dest, Err: err}
	}
	r, err := c.OpenOutput(ctx, job, o.Stage, o.Task, o.Path)
	if err != nil {
		return err
	}
	defer r.Close()
	if p != nil {
		r = &meter{ReadCloser: r, total: o.SizeBytes, report: p}
	}
	f, err := os.CreateTemp(filepath.Dir(dest), ".cloudcrowd-*")
	if err != nil {
		return &cloudcrowd.Error{Code: cloudcrowd.Invalid, Msg: "cannot write to the folder of " + dest, Err: err}
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err = c.checkedCopy(f, r, o.Digest); err != nil {
		return err
	}
	f.Chmod(0o644)
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), dest)
}

// AttemptLog reads the kept stdout and stderr of an ended attempt. The caller closes the reader.
func (c *Client) AttemptLog(ctx context.Context, id cloudcrowd.AttemptID) (io.ReadCloser, error) {
	resp, err := c.send(ctx, call{method: http.MethodGet, path: "/v1/attempts/" + id.String() + "/log", repeat: true})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}
