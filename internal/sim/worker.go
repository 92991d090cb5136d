package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// worker is one simulated machine. It follows the worker protocol: says hello, beats, runs what is leased to it, repeats reports until they are
// acknowledged.
type worker struct {
	w        *world
	id       cloudcrowd.WorkerID
	owner    cloudcrowd.AccountID
	speed    float64 // claimed
	pace     float64 // true speed
	slots    int
	lies     bool
	vanishes bool
	online   bool
	session  int
	beating  bool
	queue    []cloudcrowd.Lease
	running  map[cloudcrowd.AttemptID]time.Time // start
	spool    map[cloudcrowd.AttemptID]cloudcrowd.Result
}

func (k *worker) sessionID() string { return fmt.Sprintf("%s-%d", k.id.Short(), k.session) }

// up sends a message to the server, which may lose or delay it.
func (k *worker) up(m cloudcrowd.Up) {
	w := k.w
	if w.chance(w.p.Drop) {
		w.report.Faults++
		return
	}
	times := 1
	if len(m.Reports) > 0 && w.chance(w.p.Duplicate) {
		w.report.Faults++
		times = 2
	}
	for range times {
		copied := m
		copied.Reports = slices.Clone(m.Reports)
		w.after(w.delay(), func() error {
			if w.manager != nil {
				w.manager.Receive(k.id, copied)
				w.soon()
			}
			return nil
		})
	}
}

// Send implements taskmanager.Courier.
func (w *world) Send(id cloudcrowd.WorkerID, d cloudcrowd.Down) error {
	k := w.workers[id]
	if w.chance(w.p.Drop) {
		w.report.Faults++
		return nil
	}
	w.after(w.delay(), func() error { k.receive(d); return nil })
	return nil
}

func (k *worker) connect() {
	k.session++
	k.online = true
	k.hello()
	if !k.beating {
		k.beating = true
		k.w.after(time.Second, k.beat)
	}
}

func (k *worker) hello() {
	h := &cloudcrowd.Hello{Session: k.sessionID(), Info: cloudcrowd.WorkerInfo{Name: k.id.Short(), Slots: k.slots, Speed: k.speed, MemoryBytes: 8 << 30, Cores: k.slots, Sandboxes: []string{"wasm"}}}
	for id := range k.running {
		h.Holding = append(h.Holding, id)
	}
	for _, l := range k.queue {
		h.Holding = append(h.Holding, l.Attempt)
	}
	for id := range k.spool {
		h.Spooled = append(h.Spooled, id)
	}
	sortIDs(h.Holding)
	sortIDs(h.Spooled)
	k.up(cloudcrowd.Up{Hello: h})
	k.report()
}

func sortIDs(ids []cloudcrowd.AttemptID) {
	slices.SortFunc(ids, func(a, b cloudcrowd.AttemptID) int {
		if a.String() < b.String() {
			return -1
		}
		return 1
	})
}

// report sends everything that is not acknowledged.
func (k *worker) report() {
	var list []cloudcrowd.Report
	var ids []cloudcrowd.AttemptID
	for id := range k.spool {
		ids = append(ids, id)
	}
	sortIDs(ids)
	for _, id := range ids {
		list = append(list, cloudcrowd.Report{Attempt: id, Result: k.spool[id]})
	}
	if len(list) > 0 && k.online {
		k.up(cloudcrowd.Up{Reports: list})
	}
}

func (k *worker) beat() error {
	if !k.online {
		k.beating = false
		return nil
	}
	k.w.after(3*time.Second, k.beat)
	b := &cloudcrowd.Beat{Session: k.sessionID(), Want: max(k.slots+2-len(k.running)-len(k.queue), 0)}
	var ids []cloudcrowd.AttemptID
	for id := range k.running {
		ids = append(ids, id)
	}
	for _, l := range k.queue {
		ids = append(ids, l.Attempt)
	}
	sortIDs(ids)
	for _, id := range ids {
		start, running := k.running[id]
		p := cloudcrowd.Progress{Attempt: id, Running: running}
		if running {
			p.Elapsed = k.w.now.Sub(start).Seconds()
		}
		b.Holding = append(b.Holding, p)
	}
	k.up(cloudcrowd.Up{Beat: b})
	k.report()
	if k.vanishes && k.w.failing && k.w.chance(0.01) {
		k.vanish()
	}
	return nil
}

// vanish takes the worker away; it may come back with all it had, with nothing, or never.
func (k *worker) vanish() {
	k.w.report.Faults++
	k.disconnected()
	forgets := k.w.chance(0.5)
	if forgets { // as after a crash of the machine: what was spooled survives, what was running does not
		k.queue, k.running = nil, map[cloudcrowd.AttemptID]time.Time{}
	}
	if k.w.chance(0.1) {
		return
	}
	k.w.after(time.Duration(k.w.rand.ExpFloat64()*float64(time.Minute)), func() error {
		k.connect()
		return nil
	})
}

func (k *worker) disconnected() {
	if !k.online {
		return
	}
	k.online = false
	w := k.w
	if w.manager == nil { // the server is what went away: it will be back
		w.after(time.Duration(5+w.rand.IntN(30))*time.Second, func() error {
			if !k.online {
				k.connect()
			}
			return nil
		})
		return
	}
	w.after(w.delay(), func() error {
		if w.manager != nil && !k.online {
			w.manager.Gone(k.id)
			w.soon()
		}
		return nil
	})
}

func (k *worker) receive(d cloudcrowd.Down) {
	if !k.online {
		return
	}
	if d.Refresh {
		k.hello()
	}
	for _, id := range d.Acks {
		delete(k.spool, id)
	}
	for _, l := range d.Leases {
		_, running := k.running[l.Attempt]
		_, spooled := k.spool[l.Attempt]
		if !running && !spooled {
			k.queue = append(k.queue, l)
		}
	}
	for _, id := range d.Cancels {
		delete(k.running, id)
		k.queue = slices.DeleteFunc(k.queue, func(l cloudcrowd.Lease) bool { return l.Attempt == id })
	}
	k.fill()
}

// fill starts queued leases on free slots.
func (k *worker) fill() {
	for len(k.running) < k.slots && len(k.queue) > 0 {
		l := k.queue[0]
		k.queue = k.queue[1:]
		start := k.w.now
		k.running[l.Attempt] = start
		core := coreSeconds(&l.Payload)
		k.w.after(time.Duration(core/k.pace*float64(time.Second)), func() error {
			if at, ok := k.running[l.Attempt]; ok && at.Equal(start) {
				delete(k.running, l.Attempt)
				k.finish(l, core)
			}
			return nil
		})
	}
}

func (k *worker) finish(l cloudcrowd.Lease, core float64) {
	w := k.w
	r := cloudcrowd.Result{Outcome: cloudcrowd.Succeeded, Usage: cloudcrowd.Usage{CPUSeconds: core / k.pace, WallSeconds: core / k.pace, PeakMemoryBytes: 10 << 20}}
	switch {
	case failsAlways(&l.Payload):
		r.Outcome, r.ExitCode, r.Reason, r.StderrTail = cloudcrowd.Exited, 3, "exit status 3", "cannot go on"
	case w.failing && w.chance(0.005):
		w.report.Faults++
		r.Outcome, r.Reason = cloudcrowd.Broken, "the worker's disk is full"
	default:
		content := truth(&l.Payload)
		if k.lies && w.chance(w.p.LieRate) {
			w.report.Faults++
			content = []byte(fmt.Sprintf("wrong result of %s by %s", l.Attempt, k.id))
		}
		d := digest(content)
		_ = w.blobs.Put(context.Background(), d, int64(len(content)), bytes.NewReader(content)) // memory: cannot fail
		r.Outputs = []cloudcrowd.OutputFile{{Path: "result", Digest: d, SizeBytes: int64(len(content))}}
	}
	k.spool[l.Attempt] = r
	k.fill()
	if k.online {
		k.up(cloudcrowd.Up{Reports: []cloudcrowd.Report{{Attempt: l.Attempt, Result: r}}})
	}
}

// truth is what a program makes of its task: a digest of everything it sees.
func truth(p *cloudcrowd.Payload) []byte {
	b, _ := json.Marshal([]any{p.Module, p.Args, p.Env, p.Files, p.Seed}) // plain values: cannot fail
	return []byte("result " + string(digest(b)))
}

func digest(b []byte) cloudcrowd.Digest {
	sum := sha256.Sum256(b)
	return cloudcrowd.Digest(hex.EncodeToString(sum[:]))
}

// coreSeconds is what a task truly costs: by the units it covers (args hold them) and a fixed part.
func coreSeconds(p *cloudcrowd.Payload) float64 {
	var lo, hi int64
	if len(p.Args) >= 2 {
		_, _ = fmt.Sscan(p.Args[0], &lo) // other arguments leave zero
		_, _ = fmt.Sscan(p.Args[1], &hi)
	}
	h := fnv.New32a()
	fmt.Fprint(h, p.Args)
	jitter := 0.8 + 0.4*float64(h.Sum32()%1000)/1000
	return (0.05 + 0.01*float64(max(hi-lo, 0))) * jitter
}

// failsAlways says that a program is at fault on every machine.
func failsAlways(p *cloudcrowd.Payload) bool {
	return slices.Contains(p.Args, "fail") && len(p.Args) >= 2 && p.Args[0] != "0"
}
