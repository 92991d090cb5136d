package api

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// A feed that breaks every two events is resumed where it broke: every event comes once, in order, and only one's own.
func TestEventsResume(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.backend.cut = 2
	for i := range 11 {
		r.backend.emit("alice", testJob(1), fmt.Sprint(i))
		r.backend.emit("mallory", testJob(2), "not hers")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	next := 0
	for e, err := range r.client("alice").Events(ctx, "0-0-0", "") {
		if err != nil || e.Text != fmt.Sprint(next) {
			t.Fatalf("%+v, %v; want event %d", e, err, next)
		}
		if next++; next == 11 {
			break
		}
	}
	if next != 11 {
		t.Fatalf("%d events", next)
	}
}

// The feed of a stranger's job, or without a token, is an error at once, not an endless retry.
func TestEventsRefused(t *testing.T) {
	t.Parallel()
	r, names := furnish(t)
	for who, want := range map[string]cloudcrowd.Code{"mallory": cloudcrowd.NotFound, "": cloudcrowd.Unauthorized} {
		n := 0
		for _, err := range r.client(who).Events(context.Background(), "", cloudcrowd.JobID(names["JOB"])) {
			if n++; cloudcrowd.CodeOf(err) != want {
				t.Errorf("%q: %v", who, err)
			}
		}
		if n != 1 {
			t.Errorf("%q: %d errors", who, n)
		}
	}
}

// The form on the wire: id, event, data; comments as heartbeat; the end of the server ends the feed; one feed too many is refused.
func TestEventsForm(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.Limits = Limits{StreamsEach: 1, Heartbeat: 5 * time.Millisecond} })
	r.backend.emit("alice", testJob(1), "a\nb")
	req, _ := http.NewRequest("GET", r.server.URL+"/v1/events", nil)
	req.Header.Set("Authorization", "Bearer "+r.tokens["alice"])
	req.Header.Set("Last-Event-ID", "0-0-0")
	resp, err := r.server.Client().Do(req)
	if err != nil || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatal(err, resp.Header)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	var got []string
	for lines.Scan() {
		got = append(got, lines.Text())
		// On a busy machine some heartbeats come before the event.
		if lines.Text() == ": still here" && slices.Contains(got, "event: task.accepted") {
			break
		}
	}
	text := strings.Join(got, "\n")
	if !strings.Contains(text, "id: 0-1-0\nevent: task.accepted\ndata: {\"id\":\"0-1-0\"") || !strings.HasPrefix(text, "retry: 2000\n\n") {
		t.Errorf("%s", text)
	}
	if resp, _ := r.do("alice", "GET", "/v1/events", ""); resp.StatusCode != 429 {
		t.Errorf("%d", resp.StatusCode)
	}
	r.handler.Close()
	for lines.Scan() {
	}
	if lines.Err() != nil {
		t.Error(lines.Err())
	}
}
