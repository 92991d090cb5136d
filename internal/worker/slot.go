package worker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

// fetcher brings inputs, one attempt after the other, so that slots never wait for the network while there is other work.
func (a *Agent) fetcher() {
	for {
		a.mu.Lock()
		for len(a.fetching) == 0 && !a.ended {
			a.errands.Wait()
		}
		if a.ended {
			a.mu.Unlock()
			return
		}
		at := a.fetching[0]
		a.fetching = a.fetching[1:]
		a.mu.Unlock()
		at.failure = a.prepare(at.ctx, at)
		a.mu.Lock()
		if at.cancelled || a.ended {
			a.mu.Unlock()
			at.letGo()
			continue
		}
		a.ready = append(a.ready, at)
		a.mu.Unlock()
		a.work.Signal()
	}
}

// letGo releases what the attempt holds in the cache.
func (at *attempt) letGo() {
	for _, p := range at.pieces {
		p.release()
	}
	at.pieces = nil
}

// slot runs attempts one after the other.
func (a *Agent) slot(number int) {
	s := slot{agent: a, dir: filepath.Join(a.cfg.DataDir, "slots", strconv.Itoa(number))}
	for {
		a.mu.Lock()
		for !a.ended && (len(a.ready) == 0 || !a.fits(a.ready[0])) {
			a.work.Wait()
		}
		if a.ended {
			a.mu.Unlock()
			return
		}
		at := a.ready[0]
		a.ready[0] = nil
		a.ready = a.ready[1:]
		at.started = time.Now()
		a.running++
		memory := at.lease.Payload.Resources.MemoryBytes
		a.memory += memory
		again := len(a.ready) > 0
		a.mu.Unlock()
		if again {
			a.work.Signal() // one signal may stand for several attempts
		}
		if a.cfg.OnEvent != nil {
			a.event(Event{Kind: Started, Attempt: at.lease.Attempt, Text: "started " + at.lease.Attempt.String()})
		}
		result, folder := s.run(at)
		at.letGo()
		at.cancel()
		a.finish(at, result, folder, memory)
	}
}

// fits reports whether memory is left for the attempt. The first in line is not overtaken, so a large one is not starved. a.mu is held.
func (a *Agent) fits(at *attempt) bool {
	return a.running == 0 || a.memory+at.lease.Payload.Resources.MemoryBytes <= a.cfg.MemoryBytes
}

// finish takes an attempt off the running ones and its result to the spool.
func (a *Agent) finish(at *attempt, result cloudcrowd.Result, folder bool, memory int64) {
	id := at.lease.Attempt
	a.mu.Lock()
	a.running--
	a.memory -= memory
	waiting := len(a.ready) > 0
	drop := at.cancelled
	switch {
	case drop:
	case result.Outcome == cloudcrowd.Stopped && a.stopping:
		a.returned = append(a.returned, id)
		drop = true
	case result.Outcome == cloudcrowd.Stopped && a.ended:
		drop = true // the lease expires, or the next start hands it back by not holding it
	}
	delete(a.held, id)
	a.beat = a.pace.note(time.Now(), a.welcome.Ahead) || a.beat || a.unable != "" // with a full disk the server must not take the freed place for an offer
	if !drop {
		a.finished++
		f := &finished{spooled: spooled{Report: cloudcrowd.Report{Attempt: id, Result: result}, Upload: at.lease.Upload, Folder: folder}, seconds: result.Usage.WallSeconds}
		a.done[id] = f
		a.toSpool = append(a.toSpool, f)
	}
	a.mu.Unlock()
	if waiting {
		a.work.Signal()
	}
	if drop {
		if folder {
			_ = os.RemoveAll(a.spool.folder(id)) // the next start removes what stays
		}
		poke(a.wake)
		return
	}
	poke(a.spoolWake)
	if a.cfg.OnEvent != nil {
		text := id.String() + " " + string(result.Outcome)
		if result.Reason != "" {
			text += ": " + result.Reason
		}
		a.event(Event{Kind: Finished, Attempt: id, Outcome: result.Outcome, Text: text})
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// slot is one attempt's place on disk. Its folders are made when they are first needed; /out is kept while attempts leave it empty.
type slot struct {
	agent *Agent
	dir   string
	made  bool // dir and out exist
	out   bool // out exists and is empty
}

// run runs an attempt. folder tells that the spool holds its outputs or log.
func (s *slot) run(at *attempt) (result cloudcrowd.Result, folder bool) {
	a := s.agent
	if at.failure != nil {
		return broken(at, "its input could not be fetched: ", at.failure), false
	}
	spec, err := s.layOut(at)
	if err == nil {
		var o sandbox.Outcome
		if o, err = a.cfg.Sandbox.Run(at.ctx, spec); err == nil {
			result, folder, err = s.collect(at, &o)
		}
	}
	if err != nil {
		if diskFull(err) {
			a.noteFullDisk(err)
			a.cache.trim()
		}
		s.made = false // whatever is there, the next attempt starts from nothing
		result, folder = broken(at, "", err), false
	}
	if spec.In != "" {
		err := os.RemoveAll(spec.In)
		s.made = s.made && err == nil
	}
	return result, folder
}

// broken is the result of an attempt that this machine, not the program, kept from its end.
func broken(at *attempt, what string, err error) cloudcrowd.Result {
	if at.ctx.Err() != nil {
		return cloudcrowd.Result{Outcome: cloudcrowd.Stopped, Reason: "stopped by the worker"}
	}
	if diskFull(err) {
		what = "the worker's disk is full: "
	}
	return cloudcrowd.Result{
		Outcome: cloudcrowd.Broken, Reason: clipText(what+err.Error(), wire.MaxReason), Usage: cloudcrowd.Usage{InputBytes: at.fetched},
	}
}

// layOut prepares the attempt's folders.
func (s *slot) layOut(at *attempt) (sandbox.Spec, error) {
	p := &at.lease.Payload
	out := filepath.Join(s.dir, "out")
	if !s.made {
		if err := errors.Join(os.RemoveAll(s.dir), os.Mkdir(s.dir, 0o700)); err != nil {
			return sandbox.Spec{}, err
		}
		s.made, s.out = true, false
	}
	if !s.out {
		if err := errors.Join(os.RemoveAll(out), os.Mkdir(out, 0o700)); err != nil {
			return sandbox.Spec{}, err
		}
		s.out = true
	}
	spec := sandbox.Spec{
		ID: at.lease.Attempt.String(), Module: at.pieces[span{Digest: p.Module}].path, ModuleDigest: string(p.Module),
		Args: p.Args, Env: p.Env, Stdin: p.Stdin, Out: out, Seed: p.Seed,
		Limits: sandbox.Limits{
			Time: time.Duration(p.Timeout), MemoryBytes: p.Resources.MemoryBytes, OutputBytes: p.Resources.OutputBytes, TmpBytes: p.Resources.DiskBytes,
		},
	}
	if len(p.Files) > 0 {
		spec.In = filepath.Join(s.dir, "in")
		if err := at.layOut(spec.In); err != nil {
			_ = os.RemoveAll(spec.In) // s.made is reset for the error
			spec.In = ""
			return spec, err
		}
	}
	return spec, nil
}

// mostAdopted is how many outputs of an attempt are kept in the cache for what follows on this machine.
const mostAdopted = 64

// collect makes a result of an outcome and moves what is to be uploaded to the spool.
func (s *slot) collect(at *attempt, o *sandbox.Outcome) (cloudcrowd.Result, bool, error) {
	a := s.agent
	out := filepath.Join(s.dir, "out")
	outcome, ok := outcomes[o.Status]
	if !ok {
		return cloudcrowd.Result{}, false, fmt.Errorf("the sandbox ended with %q", o.Status)
	}
	r := cloudcrowd.Result{
		Outcome: outcome, ExitCode: o.ExitCode, Reason: clipText(o.Reason, wire.MaxReason),
		Usage: cloudcrowd.Usage{
			CPUSeconds: max(o.Usage.CPUSeconds, 0), WallSeconds: max(o.Usage.WallSeconds, 0), PeakMemoryBytes: max(o.Usage.PeakMemoryBytes, 0), InputBytes: at.fetched,
		},
	}
	if outcome == cloudcrowd.Stopped {
		s.out = false
		return r, false, nil
	}
	a.misbehaveBefore(at, out, &r)
	empty, bare := true, o.Empty && a.cfg.Misbehave == ""
	if r.Outcome == cloudcrowd.Succeeded && !bare {
		var err error
		if r.Outputs, bare, err = manifest(out); err != nil {
			if e, ok := errors.AsType[*cloudcrowd.Error](err); ok {
				r.Outcome, r.Reason = cloudcrowd.OutputLimit, clipText(e.Msg, wire.MaxReason)
			} else {
				return r, false, err
			}
		}
		for _, f := range r.Outputs {
			r.Usage.OutputBytes += f.SizeBytes
		}
		empty = len(r.Outputs) == 0
	}
	if r.Outcome.ProgramFault() {
		r.StderrTail = clipTail(o.Stderr, wire.MaxStderr)
	}
	log := logText(o, r.Outputs)
	folder := !empty || len(log) > 0
	if folder {
		place := a.spool.folder(at.lease.Attempt)
		if err := errors.Join(os.RemoveAll(place), os.Mkdir(place, 0o700)); err != nil {
			return r, false, err
		}
		err := func() (err error) {
			if len(log) > 0 {
				if r.Log, err = storeLog(place, log); err != nil {
					return err
				}
			}
			if !empty {
				err = os.Rename(out, filepath.Join(place, "out"))
			}
			return err
		}()
		if err == nil && r.Outcome == cloudcrowd.Succeeded && a.cfg.Misbehave == "" {
			for _, f := range r.Outputs[:min(len(r.Outputs), mostAdopted)] {
				a.cache.adopt(f.Digest, filepath.Join(place, "out", filepath.FromSlash(f.Path)), f.SizeBytes)
			}
		}
		if err != nil {
			return r, false, errors.Join(err, os.RemoveAll(place))
		}
	}
	s.out = bare && r.Outcome == cloudcrowd.Succeeded // otherwise something may be in it, or it has moved
	a.misbehaveAfter(at, &r)
	return r, folder, nil
}

var outcomes = map[sandbox.Status]cloudcrowd.Outcome{
	sandbox.Succeeded: cloudcrowd.Succeeded, sandbox.Exited: cloudcrowd.Exited, sandbox.Trapped: cloudcrowd.Trapped, sandbox.TimedOut: cloudcrowd.TimedOut,
	sandbox.OutOfMemory: cloudcrowd.OutOfMemory, sandbox.OutputLimit: cloudcrowd.OutputLimit, sandbox.Cancelled: cloudcrowd.Stopped, sandbox.Broken: cloudcrowd.Broken,
}
