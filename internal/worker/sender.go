package worker

import (
	"os"
	"runtime"
	"time"

	"github.com/nats-io/nats.go"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

const (
	// gather is how long the sender waits for more after it was woken while something runs, so that what ends together travels together.
	gather = 500 * time.Microsecond
	// resendAfter is the least time after which an unacknowledged report is sent again on the same connection.
	resendAfter = 15 * time.Second
	// maxReports is how many reports one message has at most.
	maxReports = 4096
	// lowDisk is the free space below which no new work is taken, bytes.
	lowDisk = 64 << 20
)

// repeat lets reports be sent again that were sent longer ago than patience and not acknowledged. a.mu is held.
func (a *Agent) repeat(patience time.Duration) {
	for _, f := range a.done {
		if f.ready && !f.sent.IsZero() && time.Since(f.sent) > patience {
			f.sent = time.Time{}
			a.toReport = append(a.toReport, f)
		}
	}
}

// sender says what is to be said, until stop.
func (a *Agent) sender(conn *nats.Conn, stop <-chan struct{}) {
	period := a.period()
	beat := time.NewTimer(period)
	defer beat.Stop()
	pausing := time.NewTimer(gather)
	defer pausing.Stop()
	for {
		select {
		case <-stop:
			return
		case <-beat.C:
			a.heartbeat(time.Now())
			beat.Reset(period)
		case <-a.wake:
			pausing.Reset(gather)
			for waiting := a.moreSoon(); waiting; {
				select {
				case <-pausing.C:
					waiting = false
				case <-a.wake:
					waiting = a.moreSoon()
				case <-stop:
					return
				}
			}
			if p := a.period(); p != period { // Welcome has come
				period = p
				beat.Reset(p)
			}
		}
		for {
			up := a.compose(time.Now())
			if !a.say(conn, up) || len(up.Reports) < maxReports {
				break
			}
		}
	}
}

// moreSoon reports whether something else may be worth saying in a moment. Where nothing runs, nobody has to wait.
func (a *Agent) moreSoon() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.running > 0 || len(a.ready) > 0 || len(a.toSpool) > 0
}

// period is the time between two beats.
func (a *Agent) period() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return seconds(a.welcome.HeartbeatSeconds)
}

func seconds(s float64) time.Duration {
	return time.Duration(min(max(s, 0.02), 3600) * float64(time.Second))
}

// say sends a message. It reports false when the connection is gone; what was in it is sent again on the next one.
func (a *Agent) say(conn *nats.Conn, up cloudcrowd.Up) bool {
	if up.Hello == nil && up.Beat == nil && len(up.Reports) == 0 && len(up.Returned) == 0 && !up.Leaving {
		return true
	}
	frames, err := wire.SplitUp(&up)
	if err != nil {
		a.cfg.Log.Error("worker: message not sent", "error", err) // a defect: everything in it was checked or clipped before
		return false
	}
	for _, f := range frames {
		if err := conn.Publish(wire.UpSubject(a.id), f); err != nil {
			return false
		}
	}
	return true
}

// heartbeat looks after what only time reveals.
func (a *Agent) heartbeat(now time.Time) {
	free := freeDisk(a.cfg.DataDir)
	_, gone := os.Stat(a.cache.dir)
	a.mu.Lock()
	a.beat = true
	if a.unable != "" && gone == nil && (free < 0 || free > 2*lowDisk) {
		a.unable = ""
	}
	if a.connected && !a.welcomed && !a.greet && now.Sub(a.greeted) > max(greetPause, 3*seconds(a.welcome.HeartbeatSeconds)) {
		a.greet = true // Hello, or the answer to it, was lost
	}
	a.repeat(max(resendAfter, 3*seconds(a.welcome.HeartbeatSeconds)))
	low := free >= 0 && free < lowDisk && a.unable == ""
	a.mu.Unlock()
	if gone != nil {
		a.stopTaking("its data folder is gone", "the data folder cannot be used ("+gone.Error()+")")
	} else if low {
		a.cache.trim()
		if freeDisk(a.cfg.DataDir) < lowDisk {
			a.noteFullDisk(errLowDisk)
		}
	}
}

var errLowDisk = cloudcrowd.Errorf(cloudcrowd.Unavailable, "less than %s left", cloudcrowd.Bytes(lowDisk))

// compose takes what is to be said now.
func (a *Agent) compose(now time.Time) cloudcrowd.Up {
	a.mu.Lock()
	defer a.mu.Unlock()
	var up cloudcrowd.Up
	if a.greet {
		a.greet, a.beat, a.welcomed = false, false, false
		a.greeted = now
		up.Hello = a.hello()
		a.toReport = a.toReport[:0]
		for _, f := range a.done {
			if f.ready {
				a.toReport = append(a.toReport, f)
			}
		}
	}
	up.Reports = a.takeReports(now)
	up.Returned, a.returned = a.returned, nil
	if a.draining && !a.left && a.welcomed {
		a.left = true
		up.Leaving = true
	}
	if a.beat && a.welcomed {
		a.beat = false
		up.Beat = a.newBeat(now)
	}
	return up
}

// takeReports takes the next reports off the queue. a.mu is held.
func (a *Agent) takeReports(now time.Time) []cloudcrowd.Report {
	n := min(len(a.toReport), maxReports)
	if n == 0 {
		return nil
	}
	reports := make([]cloudcrowd.Report, 0, n)
	for _, f := range a.toReport[:n] {
		id := f.Report.Attempt
		if a.done[id] != f {
			continue
		}
		f.sent = now
		reports = append(reports, f.Report)
		if a.cfg.Misbehave == misbehaveTwice {
			reports = append(reports, f.Report)
		}
		if f.cancelled {
			a.forget(id)
		}
	}
	rest := copy(a.toReport, a.toReport[n:])
	clear(a.toReport[rest:])
	a.toReport = a.toReport[:rest]
	return reports
}

// forget drops a result that the server has or does not want. a.mu is held.
func (a *Agent) forget(id cloudcrowd.AttemptID) {
	a.forgotten = append(a.forgotten, a.done[id])
	delete(a.done, id)
	poke(a.spoolWake)
}

// hello says who is there. a.mu is held.
func (a *Agent) hello() *cloudcrowd.Hello {
	h := &cloudcrowd.Hello{Session: a.session, Info: a.info}
	for id := range a.held {
		if len(h.Holding) < wire.MaxEntries {
			h.Holding = append(h.Holding, id)
		}
	}
	for id := range a.done {
		if len(h.Spooled) < wire.MaxEntries {
			h.Spooled = append(h.Spooled, id)
		}
	}
	h.Cached, h.CachedBytes = a.cache.all(wire.MaxCached)
	return h
}

// newBeat lists every lease the worker has, also those whose result is on its way: a lease that is not mentioned is taken to have been lost. a.mu is held.
func (a *Agent) newBeat(now time.Time) *cloudcrowd.Beat {
	b := &cloudcrowd.Beat{Session: a.session, Holding: make([]cloudcrowd.Progress, 0, len(a.held)+len(a.done))}
	for id, at := range a.held {
		p := cloudcrowd.Progress{Attempt: id}
		if !at.started.IsZero() {
			p.Running, p.Elapsed = true, max(now.Sub(at.started).Seconds(), 0)
		}
		b.Holding = append(b.Holding, p)
	}
	for id, f := range a.done {
		if !f.cancelled && len(b.Holding) < wire.MaxEntries {
			b.Holding = append(b.Holding, cloudcrowd.Progress{Attempt: id})
		}
	}
	if b.Unable = a.unable; !a.draining && a.unable == "" {
		b.Want = max(a.cfg.Slots+a.pace.beyond(now, a.welcome.Ahead)-len(a.held), 0)
	}
	b.Cached, b.CachedBytes = a.cache.news(wire.MaxCached)
	return b
}

// describe is what the worker says of itself.
func (a *Agent) describe(speed float64) cloudcrowd.WorkerInfo {
	return cloudcrowd.WorkerInfo{
		Name: a.cfg.Name, Version: printable(a.cfg.Version), OS: runtime.GOOS, Arch: runtime.GOARCH, CPU: cpuName(), Cores: runtime.NumCPU(),
		Slots: a.cfg.Slots, Speed: speed, MemoryBytes: a.cfg.MemoryBytes, DiskBytes: max(freeDisk(a.cfg.DataDir), 0),
		Sandboxes: []string{a.cfg.Sandbox.Name()},
	}
}
