package client

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// silence after which a connection to the feed is given up; the server writes a comment every 15 seconds.
const silence = 45 * time.Second

// Events follows the live feed, from the event after the given id on ("" means from now); job "" means all jobs the token may see. It
// reconnects by itself, to another server of the crowd if need be, resuming after the last event it saw, until ctx ends or the loop is left. It yields an error only when trying again is
// useless (no valid token, no such job), and ends then. When ctx ends it ends without an error.
func (c *Client) Events(ctx context.Context, after string, job cloudcrowd.JobID) iter.Seq2[cloudcrowd.Event, error] {
	return func(yield func(cloudcrowd.Event, error) bool) {
		pause := firstPause
		for ctx.Err() == nil {
			goOn, seen, err := c.follow(ctx, &after, job, yield)
			switch {
			case !goOn || ctx.Err() != nil:
				return
			case err != nil && !worthRepeating(err):
				yield(cloudcrowd.Event{}, err)
				return
			case seen:
				pause = firstPause
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, maxPause)
		}
	}
}

// follow reads one connection until it breaks. goOn is false when the consumer has had enough; seen tells whether the connection worked at all.
func (c *Client) follow(ctx context.Context, after *string, job cloudcrowd.JobID, yield func(cloudcrowd.Event, error) bool) (goOn, seen bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	k := call{method: http.MethodGet, path: "/v1/events", query: url.Values{}, header: map[string]string{"Accept": "text/event-stream"}}
	set(k.query, "job", string(job))
	if *after != "" {
		k.header["Last-Event-ID"] = *after
	}
	k.repeat = true
	resp, err := c.round(ctx, k)
	if err != nil {
		return true, false, err
	}
	defer resp.Body.Close()
	_, turn := c.current()
	watch := time.AfterFunc(silence, func() {
		c.moveFrom(turn)
		cancel()
	})
	defer watch.Stop()
	var data strings.Builder
	lines := bufio.NewReader(resp.Body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			if err == io.EOF || ctx.Err() != nil {
				err = nil
			} else {
				err = c.unreachable(serverOf(resp), err)
			}
			return true, true, err
		}
		watch.Reset(silence)
		line = strings.TrimRight(line, "\r\n")
		if text, ok := strings.CutPrefix(line, "data:"); ok {
			if data.Len() > 0 {
				data.WriteByte('\n')
			}
			data.WriteString(strings.TrimPrefix(text, " "))
			continue
		}
		if line != "" || data.Len() == 0 { // id and type are in the data, too
			continue
		}
		var e cloudcrowd.Event
		err = json.Unmarshal([]byte(data.String()), &e)
		data.Reset()
		if err != nil {
			continue
		}
		if e.ID != "" {
			*after = e.ID
		}
		if !yield(e, nil) {
			return false, true, nil
		}
	}
}
