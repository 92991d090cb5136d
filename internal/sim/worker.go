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
// acknowledged. What it is like is in its character.
type worker struct {
	character
	w       *world
	n       int
	id      cloudcrowd.WorkerID
	owner   cloudcrowd.AccountID
	upCut   time.Time
	downCut time.Time

	host    *process // where it is connected, if there are several
	online  bool     // connected to a server, as far as it knows
	away    bool     // gone until it comes back
	frozen  bool
	thaw    []func() // what happened while it was frozen
	session int
	greeted time.Time // last hello
	beating bool
	queue   []cloudcrowd.Lease
	running map[cloudcrowd.AttemptID]time.Time // start
	spool   map[cloudcrowd.AttemptID]cloudcrowd.Result
}

// character is what sets workers apart.
type character struct {
	speed     float64 // claimed
	pace      float64 // true speed
	slots     int     // claimed
	cores     int     // true slots
	lies      bool
	colludes  bool // its lies are those of all that do
	vanishes  bool
	pauses    bool
	forgets   bool
	greedy    bool
	hoards    bool          // greedy, and never does what it takes
	skewed    time.Duration // its clock may jump by so much while it works
	wantsMore int
}

// draw makes a worker's character.
func (w *world) draw() character {
	c := character{speed: 0.5 + w.rand.Float64(), slots: 1 + w.rand.IntN(3)*w.rand.IntN(2), wantsMore: 2}
	c.pace, c.cores = c.speed, c.slots
	if w.chance(w.p.Slow) {
		c.pace /= 10
	}
	c.lies = w.chance(w.p.Lying)
	if !c.lies {
		c.lies = w.chance(w.p.Colluding)
		c.colludes = c.lies
	}
	c.vanishes, c.pauses, c.forgets = w.chance(w.p.Vanishing), w.chance(w.p.Pausing), w.chance(w.p.Forgetful)
	if w.chance(w.p.Greedy) {
		c.greedy, c.slots, c.cores, c.speed, c.wantsMore = true, 4, 1, c.speed*3, 5000
		c.hoards = w.chance(0.3)
		if w.chance(0.1) {
			c.slots, c.speed = 64, c.speed*10
		}
	}
	if w.p.Jumps > 0 {
		c.skewed = w.upTo(w.p.Jump)
	}
	return c
}

func (k *worker) sessionID() string { return fmt.Sprintf("%d-%d", k.n, k.session) }

// when does something the machine does: now, or when it wakes.
func (k *worker) when(do func()) {
	if k.frozen {
		k.thaw = append(k.thaw, func() { k.when(do) })
		return
	}
	do()
}

func (k *worker) connect() {
	k.away, k.online = false, true
	k.session++
	k.host = k.w.anyHost()
	k.greet()
}

// reconnect is connect without a new start of the agent.
func (k *worker) reconnect() {
	if !k.online && !k.away {
		k.online = true
		k.host = k.w.anyHost()
		k.greet()
	}
}

func (k *worker) greet() {
	k.hello()
	if !k.beating {
		k.beating = true
		k.w.after(time.Second, func() { k.when(k.beat) })
	}
}

func (k *worker) hello() {
	k.greeted = k.w.now
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
	slices.SortFunc(ids, func(a, b cloudcrowd.AttemptID) int { return bytes.Compare([]byte(a.String()), []byte(b.String())) })
}

// report sends everything that is not acknowledged.
func (k *worker) report() {
	if len(k.spool) == 0 || !k.online {
		return
	}
	var ids []cloudcrowd.AttemptID
	for id := range k.spool {
		ids = append(ids, id)
	}
	sortIDs(ids)
	var list []cloudcrowd.Report
	for _, id := range ids {
		list = append(list, cloudcrowd.Report{Attempt: id, Result: k.spool[id]})
	}
	k.up(cloudcrowd.Up{Reports: list})
}

func (k *worker) beat() {
	if !k.online {
		k.beating = false
		return
	}
	w := k.w
	w.after(3*time.Second, func() { k.when(k.beat) })
	b := &cloudcrowd.Beat{Session: k.sessionID(), Want: max(k.cores+k.wantsMore-len(k.running)-len(k.queue), 0)}
	var ids []cloudcrowd.AttemptID
	for id := range k.running {
		ids = append(ids, id)
	}
	for _, l := range k.queue {
		ids = append(ids, l.Attempt)
	}
	for id := range k.spool { // its result is not acknowledged yet
		ids = append(ids, id)
	}
	sortIDs(ids)
	for _, id := range ids {
		start, running := k.running[id]
		p := cloudcrowd.Progress{Attempt: id, Running: running}
		if running {
			p.Elapsed = w.now.Sub(start).Seconds()
			if k.skewed > 0 && w.faulty(0.1) {
				w.count(ClockSet)
				p.Elapsed = max(p.Elapsed+(2*w.upTo(k.skewed)-k.skewed).Seconds(), 0)
			}
		}
		b.Holding = append(b.Holding, p)
	}
	k.up(cloudcrowd.Up{Beat: b})
	k.report()
	switch {
	case k.vanishes && w.faulty(0.02):
		k.vanish()
	case k.pauses && w.faulty(0.02):
		k.freeze()
	}
}

// vanish takes the worker away; it may come back with all it had, with its spool, with nothing, or never.
func (k *worker) vanish() {
	w := k.w
	w.count(WentAway)
	k.away = true
	k.disconnected()
	if w.chance(0.5) || k.forgets { // the machine crashed: what was spooled survives, what was running does not
		k.queue, k.running = nil, map[cloudcrowd.AttemptID]time.Time{}
	}
	if k.forgets && len(k.spool) > 0 {
		w.count(SpoolLost)
		k.spool = map[cloudcrowd.AttemptID]cloudcrowd.Result{}
	}
	if w.chance(0.1) {
		w.tracef("worker %d is gone for ever", k.n)
		return
	}
	d := w.about(time.Minute)
	w.tracef("worker %d is gone for %s", k.n, d)
	w.after(d, k.connect)
}

// freeze stops the machine, often beyond its leases; it knows nothing of it afterwards.
func (k *worker) freeze() {
	w := k.w
	w.count(WorkerPaused)
	d := w.about(time.Minute)
	w.tracef("worker %d is paused for %s", k.n, d)
	k.frozen = true
	w.after(d, func() {
		k.frozen = false
		thaw := k.thaw
		k.thaw = nil
		for _, do := range thaw {
			do()
		}
	})
}

// disconnected is called when a server has ended, or the worker itself goes away. It connects to another one, if there is one.
func (k *worker) disconnected() {
	if !k.online {
		return
	}
	k.online = false
	w := k.w
	for _, s := range w.servers {
		w.after(w.upTo(w.p.Delay), func() {
			s.when(func() {
				if s.opened && !k.online {
					s.manager.Gone(k.id)
				}
			})
		})
	}
	if !k.away && w.some() != nil {
		w.after(w.upTo(5*time.Second), func() { k.when(k.reconnect) })
	}
}

func (k *worker) receive(d cloudcrowd.Down) {
	if !k.online {
		return
	}
	if d.Refresh && k.w.now.Sub(k.greeted) >= time.Second {
		k.hello()
	}
	for _, id := range d.Acks {
		delete(k.spool, id)
	}
	for _, l := range d.Leases {
		_, running := k.running[l.Attempt]
		_, spooled := k.spool[l.Attempt]
		queued := slices.ContainsFunc(k.queue, func(q cloudcrowd.Lease) bool { return q.Attempt == l.Attempt })
		if !running && !spooled && !queued {
			k.queue = append(k.queue, l)
		}
	}
	for _, id := range d.Cancels {
		delete(k.running, id)
		k.queue = slices.DeleteFunc(k.queue, func(l cloudcrowd.Lease) bool { return l.Attempt == id })
	}
	k.fill()
}

// fill starts queued leases on free cores.
func (k *worker) fill() {
	for len(k.running) < k.cores && len(k.queue) > 0 && !k.hoards {
		l := k.queue[0]
		k.queue = k.queue[1:]
		start := k.w.now
		k.running[l.Attempt] = start
		core := coreSeconds(&l.Payload)
		k.w.after(time.Duration(core/k.pace*float64(time.Second)), func() {
			k.when(func() {
				if at, ok := k.running[l.Attempt]; ok && at.Equal(start) {
					delete(k.running, l.Attempt)
					k.finish(l, core)
				}
			})
		})
	}
}

func (k *worker) finish(l cloudcrowd.Lease, core float64) {
	w := k.w
	r := cloudcrowd.Result{Outcome: cloudcrowd.Succeeded, Usage: cloudcrowd.Usage{CPUSeconds: core / k.pace, WallSeconds: core / k.pace, PeakMemoryBytes: 10 << 20}}
	if k.greedy {
		w.count(Absurd)
		r.Usage = cloudcrowd.Usage{CPUSeconds: 1e9, WallSeconds: 1e9, PeakMemoryBytes: 1 << 50}
	}
	switch {
	case failsAlways(&l.Payload):
		r.Outcome, r.ExitCode, r.Reason, r.StderrTail = cloudcrowd.Exited, 3, "exit status 3", "cannot go on"
	case w.p.Drop > 0 && w.faulty(0.005):
		w.count(Broke)
		r.Outcome, r.Reason = cloudcrowd.Broken, "the worker's disk is full"
	default:
		content := truth(&l.Payload)
		if k.lies && w.chance(w.p.LieRate) {
			w.count(Lied)
			lie := fmt.Sprintf("by %s of %s", k.id, l.Attempt)
			if k.colludes {
				w.count(Colluded)
				lie = "by those who agreed of " + string(digest(content))
			}
			content = []byte("wrong result " + lie)
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
