package taskmanager

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/scheduler"
)

// session is a worker that has said Hello since the server started. It is not durable: workers say it again.
type session struct {
	online      bool
	listed      bool // among the workers that take work, see open
	leaving     bool
	revoked     bool
	lastSeen    cloudcrowd.Time
	goneAt      cloudcrowd.Time // when the connection closed; 0 while online
	due         cloudcrowd.Time // none of its leases ends before, unless it is gone
	sched       scheduler.Worker
	box         *outbox
	id          string
	info        cloudcrowd.WorkerInfo
	owner       cloudcrowd.AccountID
	cachedBytes int64
	noted       cloudcrowd.Time // when the directory was last told
	unable      string          // why it takes no work, as it says itself
	room        int             // leases it may hold, if it is to have any
	broke       int             // attempts that broke there one after the other, while others did the like
	rests       int             // how often it was left alone for that since an attempt last ended otherwise
	restsUntil  cloudcrowd.Time // 0: it does not rest
}

const (
	shortestLimit = cloudcrowd.Time(60 * 1e6) // no lease's limit is shorter
	missingBeats  = 2                         // beats without a lease before it counts as never received
	missingAge    = 5 * 1e6                   // and its age by then, microseconds
	beatsToGone   = 5                         // heartbeats of silence after which a worker counts as gone
	maxCachedSeen = 1 << 16                   // digests remembered per worker
	maxAhead      = 4096                      // leases a worker may queue beyond four times its slots, however many it wants
	maxGranted    = 1 << 14                   // tokens kept for reading blobs
	noteEvery     = cloudcrowd.Time(30 * 1e6) // how often a worker's last sign of life is written down
	brokenRests   = 3                         // attempts that break one after the other until a worker is left alone for a while
	firstRest     = cloudcrowd.Time(10e6)     // how long, doubled each further time
	longestRest   = cloudcrowd.Time(600e6)
)

// Receive takes a message from a worker. It never blocks long: what does not fit in the queue is dropped, and workers repeat what matters.
func (m *Manager) Receive(w cloudcrowd.WorkerID, up cloudcrowd.Up) {
	reports := up.Reports
	up.Reports = nil
	if up.Hello != nil {
		hello := *up.Hello
		m.aside.do(func() { m.hello(w, hello, true) })
		up.Hello = nil
	}
	if up.Beat != nil || len(up.Returned) > 0 || up.Leaving {
		m.post(command{decide: func(l *loop, d *lifecycle.Decider) error { l.message(d, w, up); return nil }})
	}
	if len(reports) == 0 {
		return
	}
	ready := func() {
		for i := range reports {
			reports[i].Result = m.vetted(reports[i].Result)
		}
		m.post(command{work: len(reports), warm: func(l *loop) { l.warm(w, reports) }, decide: func(l *loop, d *lifecycle.Decider) error { l.reports(d, w, reports); return nil }})
	}
	if slices.ContainsFunc(reports, func(r cloudcrowd.Report) bool { return len(r.Result.Outputs) > 0 }) {
		m.cfg.Perform(ready)
	} else {
		ready()
	}
}

// Gone says that a worker's connection has closed.
func (m *Manager) Gone(w cloudcrowd.WorkerID) {
	m.post(command{decide: func(l *loop, d *lifecycle.Decider) error {
		if s := l.sessions[w]; s != nil && s.online {
			l.silent(s, d.At)
		}
		return nil
	}})
}

// vetted checks that the files a result names are really there, with the sizes it says; else the result is the worker's failure.
func (m *Manager) vetted(r cloudcrowd.Result) cloudcrowd.Result {
	if r.Outcome != cloudcrowd.Succeeded {
		r.Outputs = nil
		return r
	}
	bad := func(format string, args ...any) cloudcrowd.Result {
		return cloudcrowd.Result{Outcome: cloudcrowd.Broken, Reason: "the worker's report was refused: " + fmt.Sprintf(format, args...), Usage: r.Usage}
	}
	slices.SortFunc(r.Outputs, func(a, b cloudcrowd.OutputFile) int { return strings.Compare(a.Path, b.Path) })
	for i, f := range r.Outputs {
		if i > 0 && r.Outputs[i-1].Path == f.Path {
			return bad("it names the file %q twice", f.Path)
		}
		size, err := m.cfg.Blobs.Stat(context.Background(), f.Digest)
		if err != nil {
			return bad("the file %q was not uploaded", f.Path)
		}
		if size != f.SizeBytes {
			return bad("the file %q has %d bytes, not the %d it says", f.Path, size, f.SizeBytes)
		}
	}
	return r
}

// Introduce makes a worker known that is connected already and said Hello to somebody else. What it holds is not in h: its next beat tells.
func (m *Manager) Introduce(w cloudcrowd.WorkerID, h cloudcrowd.Hello) {
	m.aside.do(func() { m.hello(w, h, false) })
}

// Shares says how many leases each of some workers may hold of this shard, until their next beat says otherwise.
func (m *Manager) Shares(of map[cloudcrowd.WorkerID]int) {
	of = maps.Clone(of)
	m.post(command{decide: func(l *loop, _ *lifecycle.Decider) error {
		for w, n := range of {
			if s := l.sessions[w]; s != nil {
				s.room = n
				s.settle()
			}
		}
		return nil
	}})
}

// Hungry reports whether work waits that no worker has room for.
func (m *Manager) Hungry() bool { return m.hungry.Load() }

// hello looks the worker up and lets the loop know it; settle says that h tells all it holds.
func (m *Manager) hello(w cloudcrowd.WorkerID, h cloudcrowd.Hello, settle bool) {
	row, err := m.cfg.Store.Worker(context.Background(), w)
	if err == nil && row.Revoked {
		err = cloudcrowd.Errorf(cloudcrowd.Forbidden, "this worker was revoked by the operator")
	}
	if cloudcrowd.CodeOf(err) == cloudcrowd.NotFound || cloudcrowd.CodeOf(err) == cloudcrowd.Forbidden {
		_ = m.cfg.Courier.Send(w, cloudcrowd.Down{Refused: err.Error()})
		return
	}
	if err != nil {
		m.log.Warn("a worker said hello but could not be looked up; it will say it again", "worker", w.Short(), "err", err)
		_ = m.cfg.Courier.Send(w, cloudcrowd.Down{Refresh: true})
		return
	}
	if h.Info.Name == "" {
		h.Info.Name = row.Name
	}
	m.post(command{decide: func(l *loop, d *lifecycle.Decider) error { l.greet(d, w, row.Owner, h, settle); return nil }})
}

// greet opens a worker's session and settles what it holds against what the server believes it holds.
func (l *loop) greet(d *lifecycle.Decider, w cloudcrowd.WorkerID, owner cloudcrowd.AccountID, h cloudcrowd.Hello, settle bool) {
	cfg := &l.m.cfg
	slots := min(max(h.Info.Slots, 1), 1024)
	s := &session{id: h.Session, info: h.Info, owner: owner, online: true, lastSeen: d.At, cachedBytes: h.CachedBytes,
		sched: scheduler.Worker{ID: w, Name: h.Info.Name, Owner: owner, Speed: h.Info.Speed, Slots: slots, Capacity: slots + cfg.Ahead,
			MemoryBytes: h.Info.MemoryBytes, Cached: map[cloudcrowd.Digest]struct{}{}}}
	s.room = s.sched.Capacity
	if before := l.sessions[w]; before != nil && before.id == s.id {
		s.broke, s.rests, s.restsUntil = before.broke, before.rests, before.restsUntil
		s.settle()
	}
	s.cache(h.Cached)
	if held := l.heldBy(w); held != nil {
		s.sched.Held = *held
		delete(l.absent, w)
	}
	s.box = l.boxOf(w)
	delete(l.strangers, w)
	l.enter(w, s)
	known := map[cloudcrowd.AttemptID]bool{}
	for _, id := range h.Holding {
		known[id] = true
		if s.sched.Held.Get(id) == nil {
			l.to(w).Cancels = append(l.to(w).Cancels, id)
		}
	}
	for _, id := range h.Spooled {
		known[id] = true
	}
	expires := d.At + cloudcrowd.Time(cfg.LeaseTTL.Microseconds())
	for _, id := range attemptsOf(&s.sched.Held) {
		if known[id] || !settle {
			s.sched.Held.Get(id).Expires = expires
		} else {
			d.Returned(id, "its worker started anew and does not have it")
		}
	}
	welcome := &cloudcrowd.Welcome{HeartbeatSeconds: cfg.Heartbeat.Seconds(), LeaseSeconds: cfg.LeaseTTL.Seconds(), Ahead: cfg.Ahead}
	if cfg.Servers != nil {
		welcome.Servers = cfg.Servers()
	}
	l.to(w).Welcome = welcome
	l.note(w, s, d.At)
}

// note writes a worker's sign of life to the directory, outside of the loop.
func (l *loop) note(w cloudcrowd.WorkerID, s *session, at cloudcrowd.Time) {
	if l.m.cfg.Shard != 0 {
		return // every shard knows every worker; one writes it down
	}
	s.noted = at
	info := s.info
	l.m.aside.do(func() {
		if err := l.m.cfg.Store.SeenWorker(context.Background(), w, info, at); err != nil {
			l.m.log.Debug("noting a worker's sign of life", "worker", w.Short(), "err", err)
		}
	})
}

func (s *session) cache(list []cloudcrowd.Digest) {
	for _, d := range list {
		if len(s.sched.Cached) >= maxCachedSeen {
			s.sched.Forget() // it costs a less well chosen worker, no more
		}
		s.sched.Keep(d)
	}
}

// message takes a beat, leases handed back, or a farewell.
func (l *loop) message(d *lifecycle.Decider, w cloudcrowd.WorkerID, up cloudcrowd.Up) {
	s := l.session(w)
	if s == nil || up.Beat != nil && up.Beat.Session != s.id {
		l.to(w).Refresh = true
		return
	}
	s.lastSeen, s.online, s.goneAt = d.At, true, 0
	s.leaving = s.leaving || up.Leaving
	s.sched.Closed = s.leaving || s.revoked
	l.relist(s)
	for _, id := range up.Returned {
		if s.sched.Held.Get(id) != nil {
			d.Returned(id, "handed back by its worker")
		}
	}
	if up.Beat != nil {
		l.beat(d, s, up.Beat)
	}
	if d.At-s.noted > noteEvery {
		l.note(w, s, d.At)
	}
}

// settle derives how many leases a worker may hold from what it wants and whether it rests.
func (s *session) settle() {
	s.sched.Unable = s.unable
	n := min(max(s.room, 0), 4*s.sched.Slots+maxAhead)
	switch {
	case s.restsUntil != 0:
		n, s.sched.Unable = 0, fmt.Sprintf("%d attempts broke there or brought no result, one after the other", s.broke)
	case s.rests > 0: // it is tried with one
		n = min(n, 1)
	}
	s.sched.Capacity = n
	s.sched.Touch()
}

// judge leaves a worker alone for a while on which attempts break one after the other: it ends them sooner than others do their work, and so would be given most of what
// there is. So does expire for one that takes all it is given and answers nothing, which holds up a job for as long as its leases may last, again and again. Only attempts of stages of which results have come count: what breaks everywhere is not its fault.
func (l *loop) judge(d *lifecycle.Decider, s *session, r cloudcrowd.Report) {
	switch {
	case r.Result.Outcome == cloudcrowd.Stopped:
	case r.Result.Outcome != cloudcrowd.Broken:
		if s.broke > 0 || s.rests > 0 {
			s.broke, s.rests, s.restsUntil = 0, 0, 0
			s.settle()
		}
	default:
		l.spoilt(d, s, r.Attempt, r.Result.Reason)
	}
}

// spoilt counts an attempt that broke at a worker, or of which no result came though the worker is there and says that it is at work.
func (l *loop) spoilt(d *lifecycle.Decider, s *session, attempt cloudcrowd.AttemptID, why string) {
	if _, stage, _, _ := l.st.Find(attempt); stage == nil || stage.SeenUnits == 0 {
		return
	}
	if s.broke++; s.restsUntil == 0 && (s.broke >= brokenRests || s.rests > 0) {
		s.restsUntil = d.At + min(firstRest<<min(s.rests, 10), longestRest)
		s.rests++
		l.m.log.Warn("a worker is left alone for a while", "worker", s.sched.Name, "spoilt", s.broke, "last", why, "until", s.restsUntil)
	}
	s.settle()
}

// beat extends the leases the worker says it holds; one it does not mention for some time never reached it.
func (l *loop) beat(d *lifecycle.Decider, s *session, b *cloudcrowd.Beat) {
	expires := d.At + cloudcrowd.Time(l.m.cfg.LeaseTTL.Microseconds())
	listed := make(map[cloudcrowd.AttemptID]bool, len(b.Holding))
	for _, p := range b.Holding {
		listed[p.Attempt] = true
		h := s.sched.Held.Get(p.Attempt)
		if h == nil {
			l.to(s.sched.ID).Cancels = append(l.to(s.sched.ID).Cancels, p.Attempt)
			continue
		}
		h.Expires, h.Missing, h.Fraction = expires, 0, p.Fraction
		if p.Running && p.Elapsed >= 0 {
			h.LeasedAt = d.At - cloudcrowd.Time(p.Elapsed*1e6)
		}
	}
	for _, id := range attemptsOf(&s.sched.Held) {
		if h := s.sched.Held.Get(id); !listed[id] {
			if h.Missing++; h.Missing > missingBeats && d.At-h.LeasedAt > missingAge {
				d.Returned(id, "it never reached its worker")
			}
		}
	}
	s.room, s.unable = len(b.Holding)+b.Want, b.Unable
	s.settle()
	s.cachedBytes = b.CachedBytes
	s.cache(b.Cached)
}

// warm looks at what a message of results is about and changes nothing. With thousands of workers it is in no cache, and the processor fetches what lies in many places at
// once far faster than place by place, as deciding one result after the other would.
func (l *loop) warm(w cloudcrowd.WorkerID, list []cloudcrowd.Report) {
	sum := 0
	if s := l.sessions[w]; s != nil {
		sum += s.sched.Warm() + len(s.box.down.Acks)
	}
	for i := range list {
		sum += l.st.Warm(list[i].Attempt)
	}
	l.warmed += sum
}

// reports takes results; each is acknowledged after the commit unless it is not this worker's to report.
func (l *loop) reports(d *lifecycle.Decider, w cloudcrowd.WorkerID, list []cloudcrowd.Report) {
	s := l.session(w)
	if s != nil {
		s.lastSeen = d.At
	}
	for _, r := range list {
		if d.Report(w, r.Attempt, r.Result) {
			if s != nil {
				l.judge(d, s, r)
				for _, f := range r.Result.Outputs { // what it made it has, so what follows is best done there
					s.cache([]cloudcrowd.Digest{f.Digest})
				}
			}
			l.to(w).Acks = append(l.to(w).Acks, r.Attempt)
		} else {
			l.m.log.Warn("a worker reported an attempt it does not hold", "worker", w.Short(), "attempt", r.Attempt)
		}
	}
}

const noResult = "no result came in twice its timeout"

// expire ends leases whose time has come and notices workers that fell silent.
func (l *loop) expire(d *lifecycle.Decider) {
	silence := cloudcrowd.Time(l.m.cfg.Heartbeat.Microseconds()) * beatsToGone
	grace := cloudcrowd.Time(l.m.cfg.GoneGrace.Microseconds())
	lost := map[cloudcrowd.AttemptID]string{}
	var overdue []cloudcrowd.AttemptID                                                     // of the leases looked at last
	horizon := d.At + min(cloudcrowd.Time(l.m.cfg.LeaseTTL.Microseconds()), shortestLimit) // what is leased from now on ends later
	look := func(held *scheduler.Leases, gone bool) (due cloudcrowd.Time) {
		due, overdue = horizon, overdue[:0]
		for i := range held.All() {
			switch h := &held.All()[i]; {
			case gone:
				lost[h.ID] = "its worker vanished"
			case d.At > h.Expires:
				lost[h.ID] = "its lease expired without a heartbeat"
			case h.Until > 0 && d.At > h.Until:
				lost[h.ID] = noResult
				overdue = append(overdue, h.ID)
			default:
				if due = min(due, h.Expires); h.Until > 0 {
					due = min(due, h.Until)
				}
			}
		}
		return due
	}
	for _, s := range l.ordered {
		if s.restsUntil != 0 && d.At >= s.restsUntil {
			s.restsUntil = 0
			s.settle()
		}
		if s.online && d.At-s.lastSeen > silence {
			l.silent(s, s.lastSeen)
		}
		if gone := !s.online && d.At-s.goneAt > grace; gone || d.At > s.due {
			s.due = look(&s.sched.Held, gone)
			for _, id := range overdue {
				l.spoilt(d, s, id, noResult)
			}
		}
	}
	for _, held := range l.absent {
		look(held, false)
	}
	for _, id := range sortedAttempts(lost) {
		d.Lost(id, lost[id])
	}
}

// send delivers what the batch has put together, leases included.
func (l *loop) send() {
	for _, given := range l.leased {
		id := given.ID
		if _, _, _, a := l.st.Find(id); a == nil || a.State != cloudcrowd.AttemptLeased {
			continue // its job ended in the same batch
		}
		lease, err := l.lease(id)
		if err != nil {
			reason := fmt.Sprintf("stage %d cannot be turned into work: %v", id.Task.Stage, err)
			l.m.post(command{decide: func(_ *loop, d *lifecycle.Decider) error { d.Fail(id.Task.Job, reason); return nil }})
			continue
		}
		down := l.queue(l.ordered[given.Worker.Tag].box)
		down.Leases = append(down.Leases, lease)
	}
	clear(l.leased)
	l.leased = l.leased[:0]
	if len(l.strangers) > 0 || l.takers == nil { // not all have a place in order
		slices.SortFunc(l.out, func(a, b *outbox) int { return strings.Compare(string(a.worker), string(b.worker)) })
	} else {
		slices.SortFunc(l.out, func(a, b *outbox) int { return a.order - b.order })
	}
	for _, b := range l.out {
		if err := l.m.cfg.Courier.Send(b.worker, b.down); err != nil {
			l.m.log.Debug("sending", "worker", b.worker.Short(), "err", err)
		}
	}
	l.unsend()
}

// lease puts together what a worker needs for an attempt.
func (l *loop) lease(id cloudcrowd.AttemptID) (cloudcrowd.Lease, error) {
	j, _, _, a := l.st.Find(id)
	payload, err := payloadOf(j, id.Task)
	if err != nil {
		return cloudcrowd.Lease{}, err
	}
	lease := cloudcrowd.Lease{Attempt: id, Payload: payload}
	grant := func(d cloudcrowd.Digest) {
		if d == "" || len(lease.Grants) < 16 && slices.ContainsFunc(lease.Grants, func(g cloudcrowd.Grant) bool { return g.Blob == d }) {
			return
		}
		lease.Grants = append(lease.Grants, cloudcrowd.Grant{Blob: d, Token: l.grant(d)})
	}
	grant(payload.Module)
	for _, f := range payload.Files {
		for _, s := range f.Segments {
			grant(s.Blob)
		}
	}
	const logRoom = 256 << 10
	lease.Upload = l.m.cfg.Signer.Upload(id, a.Worker, payload.Resources.OutputBytes+logRoom, l.m.cfg.Now().Add(grantLife))
	return lease, nil
}

// grant is a token for reading a blob. Tasks of a stage read the same module and often the same inputs, so tokens are kept for a small part of their life.
func (l *loop) grant(d cloudcrowd.Digest) string {
	now := l.now()
	if l.granted == nil || now-l.grantedAt > cloudcrowd.Time(grantLife.Microseconds()/16) || len(l.granted) >= maxGranted {
		l.granted, l.grantedAt = map[cloudcrowd.Digest]string{}, now
	}
	token, ok := l.granted[d]
	if !ok {
		token = l.m.cfg.Signer.Read(d, l.m.cfg.Now().Add(grantLife))
		l.granted[d] = token
	}
	return token
}

// attemptsOf lists leases in a fixed order.
func attemptsOf(held *scheduler.Leases) []cloudcrowd.AttemptID {
	ids := make([]cloudcrowd.AttemptID, 0, held.Len())
	for i := range held.All() {
		ids = append(ids, held.All()[i].ID)
	}
	slices.SortFunc(ids, compareAttempts)
	return ids
}

func sortedAttempts[V any](m map[cloudcrowd.AttemptID]V) []cloudcrowd.AttemptID {
	ids := make([]cloudcrowd.AttemptID, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, compareAttempts)
	return ids
}

func compareAttempts(a, b cloudcrowd.AttemptID) int {
	if c := strings.Compare(string(a.Task.Job), string(b.Task.Job)); c != 0 {
		return c
	}
	for _, p := range [][2]int32{{a.Task.Stage, b.Task.Stage}, {a.Task.Index, b.Task.Index}, {a.N, b.N}} {
		if p[0] != p[1] {
			return int(p[0]) - int(p[1])
		}
	}
	return 0
}

func sortedWorkers[V any](m map[cloudcrowd.WorkerID]V) []cloudcrowd.WorkerID {
	ids := make([]cloudcrowd.WorkerID, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
