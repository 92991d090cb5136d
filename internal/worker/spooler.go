package worker

import (
	"os"

	"cloudcrowd.dev/cloudcrowd"
)

// syncWorth is how much computing, in seconds, may be reported before it is on disk for good. A power failure within that time costs repeating it
// elsewhere, which the platform does by itself, and less than a sync for each would. The death of the agent alone loses nothing that was written.
const syncWorth = 0.05

// spooler writes what finished to the spool, all that is there at once, and takes out what was acknowledged. It alone uses a.spool's log.
func (a *Agent) spooler(quit chan struct{}) {
	var unsynced float64
	for last := false; ; {
		a.mu.Lock()
		batch, gone := a.toSpool, a.forgotten
		a.toSpool, a.forgotten = nil, nil
		a.mu.Unlock()
		if len(batch)+len(gone) > 0 {
			unsynced = a.spoolAll(batch, gone, unsynced)
			continue
		}
		if last {
			return
		}
		select {
		case <-a.spoolWake:
		case <-quit:
			last = true
		}
	}
}

func (a *Agent) spoolAll(batch, gone []*finished, unsynced float64) float64 {
	records := make([]spooled, 0, len(batch))
	for _, f := range batch {
		records = append(records, f.spooled)
		unsynced += f.seconds
	}
	sync := unsynced >= syncWorth
	err := a.spool.append(records, sync)
	records = records[:0]
	for _, f := range gone {
		if id := f.Report.Attempt; a.spool.live[id] > 0 {
			records = append(records, spooled{Report: cloudcrowd.Report{Attempt: id}, Gone: true})
		}
	}
	if err == nil && len(records) > 0 {
		err = a.spool.append(records, false) // lost, it is reported once more, which is harmless
	}
	if err != nil {
		// The results are reported all the same: better without the safety of the disk than not at all.
		a.noteFullDisk(err)
		a.cache.trim()
	} else if sync {
		unsynced = 0
	}
	for _, f := range gone {
		if f.Folder {
			_ = os.RemoveAll(a.spool.folder(f.Report.Attempt)) // the next start removes what stays
		}
	}
	if err := a.spool.compact(a.unacknowledged); err != nil {
		a.cfg.Log.Error("worker: the spool cannot be shortened", "error", err)
	}
	upload := false
	a.mu.Lock()
	for _, f := range batch {
		if f.Folder {
			a.toUpload = append(a.toUpload, f)
			upload = true
		} else {
			f.ready = true
			a.toReport = append(a.toReport, f)
		}
	}
	a.mu.Unlock()
	if upload {
		a.freight.Broadcast()
	}
	poke(a.wake)
	return unsynced
}

// unacknowledged lists what the spool must keep.
func (a *Agent) unacknowledged() []spooled {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]spooled, 0, len(a.done))
	for id, f := range a.done {
		if a.spool.live[id] > 0 {
			all = append(all, f.spooled)
		}
	}
	return all
}

// noteFullDisk stops taking work until the heartbeat finds space again.
func (a *Agent) noteFullDisk(err error) {
	a.stopTaking("its disk is full", "the disk cannot be written ("+err.Error()+")")
}

// stopTaking takes no new work until the heartbeat finds that it can be done: why is for the server, problem for whoever runs the worker.
func (a *Agent) stopTaking(why, problem string) {
	a.mu.Lock()
	first := a.unable == ""
	a.unable = why
	a.beat = true
	a.mu.Unlock()
	poke(a.wake)
	if first {
		a.event(Event{Kind: Problem, Text: problem + "; no new work is taken until it can"})
	}
}
