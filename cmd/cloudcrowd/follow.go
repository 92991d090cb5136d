package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

// Times between two looks at a job: short at first, because small jobs end at once.
const (
	firstLook  = 40 * time.Millisecond
	usualLook  = 250 * time.Millisecond
	awayLook   = time.Second
	plainEvery = 2 * time.Second // between two lines of progress where there is no terminal
)

// follow draws a job's progress on stderr until it has ended, and returns its last state. A server that restarts meanwhile is waited for.
func (a *app) follow(ctx context.Context, api *client.Client, id cloudcrowd.JobID) (cloudcrowd.Job, error) {
	screen := &live{w: a.stderr, on: !a.json && isTerminal(a.stderr)}
	started, pause, away := time.Now(), firstLook, false
	var job cloudcrowd.Job
	var plain plainProgress
	for {
		next, err := api.Job(ctx, id)
		switch {
		case err != nil && ctx.Err() != nil:
			return job, context.Cause(ctx)
		case err != nil && !temporary(err):
			return job, err
		case err != nil && !away:
			screen.clear()
			a.notef("the server is away (%s); waiting for it\n", briefly(err))
			fallthrough
		case err != nil:
			away, pause = true, awayLook
		default:
			if away {
				a.notef("the server is back\n")
			}
			job, away, pause = next, false, min(pause*3/2, usualLook)
			screen.draw(jobScreen(a.errInk, job.JobSummary, time.Since(started), terminalWidth(a.stderr)))
			if !screen.on && !a.json {
				plain.print(a.stderr, job.JobSummary, time.Now())
			}
			if job.State.Ended() {
				screen.keep()
				return job, nil
			}
		}
		select {
		case <-ctx.Done():
			screen.keep()
			return job, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// briefly is an error without the chain of its causes.
func briefly(err error) string {
	if e, ok := errors.AsType[*cloudcrowd.Error](err); ok {
		return e.Msg
	}
	return err.Error()
}

// temporary reports whether asking again later may help.
func temporary(err error) bool {
	code := cloudcrowd.CodeOf(err)
	if code == cloudcrowd.Unavailable || code == cloudcrowd.RateLimited {
		return true
	}
	_, isNet := errors.AsType[net.Error](err)
	return isNet || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// jobScreen is what a terminal shows of a running job: a bar a stage and a last line with time and cost.
func jobScreen(k ink, j cloudcrowd.JobSummary, elapsed time.Duration, width int) []string {
	lines := stageBars(k, j.State, j.Stages, width)
	last := seconds(elapsed.Seconds())
	if left := remaining(j.RemainingSeconds); left != "" && !j.State.Ended() {
		last += " · " + left
	}
	last += fmt.Sprintf(" · %s of %s credits", j.Cost, j.Budget)
	if !j.State.Ended() {
		last = spinner(elapsed) + " " + last
	}
	return append(lines, clip(k.dim(last), width))
}

// plainProgress prints a line when something worth a line has happened: a stage changed its state, or a tenth of the job was done.
type plainProgress struct {
	shown string
	at    time.Time
}

func (p *plainProgress) print(w io.Writer, j cloudcrowd.JobSummary, now time.Time) {
	mark := fmt.Sprint(math.Floor(j.Progress*10), j.State)
	for _, s := range j.Stages {
		mark += string(s.State)
	}
	if mark == p.shown || now.Sub(p.at) < plainEvery && !j.State.Ended() {
		return
	}
	p.shown, p.at = mark, now
	fmt.Fprintln(w, jobLine(j))
}
