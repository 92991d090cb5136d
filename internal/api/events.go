package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/authz"
)

func (h *Handler) eventRoutes() { h.raw("GET /v1/events", h.getEvents) }

// getEvents is the live feed as server-sent events. It ends when the reader goes, the server stops, or the reader is too slow; the reader comes back
// with Last-Event-ID and misses nothing.
func (h *Handler) getEvents(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	p := authz.FromContext(ctx)
	if err := p.May(authz.ReadEvents); err != nil {
		return err
	}
	job := cloudcrowd.JobID(r.URL.Query().Get("job"))
	if job != "" {
		if err := h.onJob(ctx, p, authz.ReadJob, job); err != nil {
			return err
		}
	}
	after := r.Header.Get("Last-Event-ID")
	if after == "" {
		after = r.URL.Query().Get("after")
	}
	if len(after) > 100 {
		return cloudcrowd.Fieldf("Last-Event-ID", "not the id of an event")
	}
	release, ok := h.limits.stream(p.Account)
	if !ok {
		return cloudcrowd.Errorf(cloudcrowd.RateLimited, "too many live feeds are open").WithHint("close some, or ask for the list of jobs now and then")
	}
	defer release()
	feed, err := h.Backend.Events(ctx, after, p.Sees(authz.ReadEvents), job)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // proxies shall not wait for more
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	if _, err := fmt.Fprintf(w, "retry: 2000\n\n"); err != nil {
		return nil
	}
	control.Flush()
	beat := time.NewTicker(h.Limits.Heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.closing:
			return nil
		case <-beat.C:
			if _, err := fmt.Fprint(w, ": still here\n\n"); err != nil {
				return nil
			}
		case e, ok := <-feed:
			if !ok {
				return nil
			}
			data, err := json.Marshal(e)
			if err != nil {
				return nil
			}
			if _, err := fmt.Fprintf(w, "id: %s\nevent: %s\ndata: %s\n\n", oneLine(e.ID), oneLine(e.Type), data); err != nil {
				return nil
			}
			if len(feed) > 0 {
				continue // flush once for all that waits
			}
		}
		if control.Flush() != nil {
			return nil
		}
	}
}

func oneLine(s string) string { return strings.NewReplacer("\r", " ", "\n", " ").Replace(s) }
