package console

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// inlineTypes are the result files a browser may draw; all others are only offered for saving.
var inlineTypes = map[string]string{".png": "image/png", ".apng": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp", ".svg": "image/svg+xml"}

// file serves one result file of a job, as a download, or in place (?inline=1) if it is a picture. It never runs as a page: see filePolicy.
func (c *Console) file(w http.ResponseWriter, r *http.Request, v viewer) error {
	j, err := c.ownJob(r.Context(), v, cloudcrowd.JobID(r.PathValue("job")))
	if err != nil {
		return err
	}
	name, stage := r.PathValue("path"), r.PathValue("stage")
	task, err := strconv.Atoi(r.PathValue("task"))
	if err == nil {
		for _, o := range j.Outputs {
			if o.Path == name && o.Stage == stage && int(o.Task) == task {
				return c.serveBlob(w, r, path.Base(name), o.Digest, o.SizeBytes, r.URL.Query().Get("inline") != "")
			}
		}
	}
	return cloudcrowd.Errorf(cloudcrowd.NotFound, "Job %s has no result file %q of stage %q.", j.ID, name, stage)
}

// log serves what an attempt printed, as text.
func (c *Console) log(w http.ResponseWriter, r *http.Request, v viewer) error {
	t, err := c.ownTask(r.Context(), v, r.PathValue("task"))
	if err != nil {
		return err
	}
	for _, a := range t.Attempts {
		if strconv.Itoa(int(a.ID.N)) == r.PathValue("attempt") && a.Result != nil && a.Result.Log != "" {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			return c.serveBlob(w, r, a.ID.String()+".log", a.Result.Log, -1, true)
		}
	}
	return cloudcrowd.Errorf(cloudcrowd.NotFound, "Attempt %s of task %s left no log.", r.PathValue("attempt"), t.ID)
}

func (c *Console) serveBlob(w http.ResponseWriter, r *http.Request, name string, d cloudcrowd.Digest, size int64, inline bool) error {
	if c.cfg.Blobs == nil {
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "This console has no access to stored files.")
	}
	tag := `"` + string(d) + `"`
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	rc, err := c.cfg.Blobs.Open(r.Context(), d, 0, -1)
	if err != nil {
		return err
	}
	defer rc.Close()
	h := w.Header()
	h.Set("ETag", tag)
	h.Set("Cache-Control", "private, max-age=3600")
	h.Set("Content-Security-Policy", filePolicy)
	if size >= 0 {
		h.Set("Content-Length", strconv.FormatInt(size, 10))
	}
	kind := inlineTypes[strings.ToLower(path.Ext(name))]
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/octet-stream")
		if inline && kind != "" {
			h.Set("Content-Type", kind)
		} else {
			h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q; filename*=UTF-8''%s", fileName(name), url.PathEscape(name)))
		}
	}
	if _, err := io.Copy(w, rc); err != nil {
		panic(http.ErrAbortHandler) // the length was promised: break off rather than pass a part for the whole
	}
	return nil
}

// escapePath escapes each part of a slash-separated path.
func escapePath(p string) string {
	parts := strings.Split(p, "/")
	for i, s := range parts {
		parts[i] = url.PathEscape(s)
	}
	return strings.Join(parts, "/")
}
