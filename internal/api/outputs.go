package api

import (
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/authz"
)

func (h *Handler) outputRoutes() {
	h.raw("GET /v1/jobs/{job}/outputs/{stage}/{task}/{path...}", h.getOutput)
	h.raw("GET /v1/attempts/{attempt}/log", h.getLog)
}

// getOutput streams one file a task left, or one a built-in merge made (task -1).
func (h *Handler) getOutput(w http.ResponseWriter, r *http.Request) error {
	p := authz.FromContext(r.Context())
	if err := p.May(authz.ReadResults); err != nil {
		return err
	}
	job, err := h.job(r.Context(), p, authz.ReadResults, cloudcrowd.JobID(r.PathValue("job")))
	if err != nil {
		return err
	}
	stage, name := r.PathValue("stage"), r.PathValue("path")
	number, err := strconv.ParseInt(r.PathValue("task"), 10, 32)
	missing := notFound("output", stage+"/"+r.PathValue("task")+"/"+name)
	if err != nil || number < -1 {
		return missing
	}
	index := int32(number)
	d := cloudcrowd.Digest("")
	for _, o := range job.Outputs {
		if o.Stage == stage && o.Task == index && o.Path == name {
			d = o.Digest
		}
	}
	if at := job.Spec.StageIndex(stage); d == "" && at >= 0 && index >= 0 {
		t, err := h.Backend.Task(r.Context(), cloudcrowd.TaskID{Job: job.ID, Stage: int32(at), Index: index})
		if err != nil && cloudcrowd.CodeOf(err) != cloudcrowd.NotFound {
			return err
		}
		for _, o := range t.Outputs {
			if o.Path == name {
				d = o.Digest
			}
		}
	}
	if d == "" {
		return missing
	}
	w.Header().Set("Content-Type", mediaType(name))
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(name)}))
	w.Header().Set("Cache-Control", "private, no-cache")
	return h.serveBlob(w, r, d)
}

// mediaType goes by the file's name and knows only forms that pages show as pictures or text. A file is always an attachment in a sandbox: a
// stranger's program wrote it.
func mediaType(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".png", ".apng":
		return "image/png"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".gif":
		return "image/gif"
	case ".webp":
		return "image/webp"
	case ".svg":
		return "image/svg+xml"
	case ".json":
		return "application/json"
	case ".csv":
		return "text/csv; charset=utf-8"
	case ".tsv":
		return "text/tab-separated-values; charset=utf-8"
	case ".txt", ".log", ".md", ".fasta", ".fa", ".fastq", ".fq":
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

// getLog streams what an attempt printed. An attempt that printed nothing has an empty log.
func (h *Handler) getLog(w http.ResponseWriter, r *http.Request) error {
	p := authz.FromContext(r.Context())
	if err := p.May(authz.ReadResults); err != nil {
		return err
	}
	text := r.PathValue("attempt")
	id, err := cloudcrowd.ParseAttemptID(text)
	if err != nil {
		return notFound("attempt", text)
	}
	t, err := h.task(r.Context(), p, authz.ReadResults, id.Task.String())
	if err != nil {
		return hide(err, "attempt", text)
	}
	for _, a := range t.Attempts {
		if a.ID != id {
			continue
		}
		if a.Result == nil {
			return cloudcrowd.Errorf(cloudcrowd.Conflict, "the attempt is %s and has no log", a.State).WithHint("logs come with the result")
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "private, no-cache")
		if a.Result.Log == "" {
			w.WriteHeader(http.StatusOK)
			return nil
		}
		return h.serveBlob(w, r, a.Result.Log)
	}
	return notFound("attempt", text)
}
