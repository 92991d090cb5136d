package cluster

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// Detours: where the line between two servers is cut, and both have one to a third, what they say to each other goes through that one. Embedded servers pass nothing
// on from one line to another, so this does. Every server tells those it reaches whom it reaches; who has no line to a server that lives picks one of those that do,
// always the same, so that the order is kept, and says "for X" to it. What arrives so is never passed on again. An external NATS has ways of its own.

// Headers of a message that is not sent by its subject alone.
const (
	headTo  = "To"  // its subject, without the prefix
	headFor = "For" // the server that it is for; to the one in between
)

// detours are what this server knows of who hears what and who reaches whom.
type detours struct {
	far atomic.Pointer[[]string] // servers that live and have no line to this one

	mu    sync.Mutex
	heard map[string]*hearing // by subject without prefix
	lines map[string]lines    // by server that told of them
}

// lines are the servers that a server reaches without a detour, as it said last.
type lines struct {
	to []string
	at time.Time
}

// linesKept is how long what a server said of its lines counts if it says nothing more.
const linesKept = 3 * time.Second

// hearing is a subscription. It also gets what is sent to this server by name, for its subject.
type hearing struct {
	b       *Bus
	subject string
	sub     *nats.Subscription
	fn      func(*nats.Msg)
}

// subscribe calls fn for each message. Those to the subject come one after the other, those to this server may come beside them.
func (b *Bus) subscribe(subject string, fn func(*nats.Msg)) (*hearing, error) {
	s, err := b.conn.Subscribe(b.prefix+subject, fn)
	if err == nil {
		err = s.SetPendingLimits(1<<18, 256<<20)
	}
	if err != nil {
		return nil, err
	}
	h := &hearing{b, subject, s, fn}
	b.detours.mu.Lock()
	b.detours.heard[subject] = h
	b.detours.mu.Unlock()
	return h, nil
}

// end ends a subscription.
func (h *hearing) end() {
	_ = h.sub.Unsubscribe() // the connection may be closed
	h.b.detours.mu.Lock()
	defer h.b.detours.mu.Unlock()
	if h.b.detours.heard[h.subject] == h {
		delete(h.b.detours.heard, h.subject)
	}
}

// join makes this server one that others reach by name. refusal says what to answer to a request that nobody here hears.
func (b *Bus) join(refusal func(subject string) error) error {
	_, err := b.subscribe("to."+b.name, func(m *nats.Msg) {
		subject := m.Header.Get(headTo)
		own := &nats.Msg{Subject: b.prefix + subject, Reply: m.Reply, Header: m.Header, Data: m.Data}
		if strings.HasPrefix(own.Subject, b.calls.inbox) {
			b.calls.hear(own)
			return
		}
		b.detours.mu.Lock()
		h := b.detours.heard[subject]
		b.detours.mu.Unlock()
		if h != nil {
			h.fn(own)
		} else if m.Reply != "" {
			b.refuse(m.Reply, refusal(subject))
		}
	})
	if err != nil || b.embedded == nil {
		return err
	}
	_, err = b.subscribe("via."+b.name, func(m *nats.Msg) {
		to := m.Header.Get(headFor)
		if m.Reply != "" && !slices.Contains(b.direct(), to) {
			b.refuse(m.Reply, errNobody)
			return
		}
		header := maps.Clone(m.Header)
		delete(header, headFor)
		b.pass(&nats.Msg{Subject: b.prefix + "to." + to, Reply: m.Reply, Header: header, Data: m.Data})
	})
	if err != nil {
		return err
	}
	_, err = b.subscribe("lines", func(m *nats.Msg) {
		l := lines{at: time.Now()}
		if json.Unmarshal(m.Data, &l.to) == nil {
			b.detours.mu.Lock()
			b.detours.lines[m.Header.Get(headServer)] = l
			b.detours.mu.Unlock()
		}
	})
	return err
}

func (b *Bus) pass(m *nats.Msg) {
	if err := b.conn.PublishMsg(m); err != nil {
		b.log.Debug("bus: not passed on", "err", err)
	}
}

// direct are the servers that this one has a line to.
func (b *Bus) direct() (list []string) {
	if b.embedded == nil {
		return nil
	}
	state, err := b.embedded.Routez(nil)
	if err != nil {
		return nil
	}
	for _, r := range state.Routes {
		list = append(list, r.RemoteName)
	}
	return list
}

// survey looks which of the other servers that live cannot be reached, and tells the others whom this one reaches. It is to be done a few times in linesKept.
func (b *Bus) survey(others []string) {
	if b.embedded == nil {
		return
	}
	direct := b.direct()
	far := slices.DeleteFunc(slices.Clone(others), func(id string) bool { return slices.Contains(direct, id) })
	b.detours.far.Store(&far)
	b.detours.mu.Lock()
	maps.DeleteFunc(b.detours.lines, func(_ string, l lines) bool { return time.Since(l.at) >= linesKept })
	b.detours.mu.Unlock()
	body, _ := json.Marshal(direct) // strings
	b.pass(&nats.Msg{Subject: b.prefix + "lines", Header: nats.Header{headServer: {b.name}}, Data: body})
}

// isFar reports whether a server lives and has no line to this one.
func (b *Bus) isFar(server string) bool { return slices.Contains(b.distant(), server) }

func (b *Bus) distant() []string {
	if far := b.detours.far.Load(); far != nil {
		return *far
	}
	return nil
}

// between is the server through which another one is reached; "" if there is none.
func (b *Bus) between(server string) (via string) {
	b.detours.mu.Lock()
	defer b.detours.mu.Unlock()
	for id, l := range b.detours.lines {
		if id != server && !b.isFar(id) && (via == "" || id < via) && time.Since(l.at) < linesKept && slices.Contains(l.to, server) {
			via = id
		}
	}
	return via
}

// addressed is a message as it is sent to a server by name, through another one if via is not "".
func (b *Bus) addressed(m *nats.Msg, server, via string) *nats.Msg {
	to := *m
	to.Header = maps.Clone(m.Header)
	if to.Header == nil {
		to.Header = nats.Header{}
	}
	to.Header[headTo] = []string{strings.TrimPrefix(m.Subject, b.prefix)}
	if to.Subject = b.prefix + "to." + server; via != "" {
		to.Subject = b.prefix + "via." + via
		to.Header[headFor] = []string{server}
	}
	return &to
}

// send publishes a message that is meant for one server; "" if nobody knows for which.
func (b *Bus) send(server string, m *nats.Msg) error {
	if server != "" && b.isFar(server) {
		if via := b.between(server); via != "" {
			m = b.addressed(m, server, via)
		}
	}
	return b.conn.PublishMsg(m)
}

// asker is the server that waits for answers to a subject; "" if it is of a version that does not say.
func (b *Bus) asker(subject string) string {
	rest, found := strings.CutPrefix(subject, b.prefix+"answer.")
	server, rest, more := strings.Cut(rest, ".")
	if !found || !more || !strings.Contains(rest, ".") {
		return ""
	}
	return server
}
