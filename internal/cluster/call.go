package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/callid"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

// Calls are requests over the bus. A request names a method and carries JSON; it and its answer go in parts of at most maxMessage bytes. Who asks waits for an answer
// as long as it pleases and asks again: every method may be performed twice.

// Headers of a message.
const (
	headMethod = "M"
	headCall   = "C" // names what is asked for over all tries, see callid
	headPart   = "P" // number of the part and how many there are: "1/3"
	headError  = "E" // JSON of problem, in place of an answer
	headBusy   = "B" // no answer yet, and somebody works on it
	headStatus = "Status"
)

const (
	maxAnswer   = 256 << 20        // bytes of a request or answer
	partsExpire = 30 * time.Second // how long parts of a request wait for the others
	maxServing  = 64               // requests answered at once
	busyEvery   = time.Second      // how often whoever works on a request says so
	quietLimit  = 4 * time.Second  // of silence, after which a request is made again: the owner may have gone without a word
)

// errNobody says that nobody answers a subject now.
var errNobody = errors.New("cluster: nobody answers")

// errSilent says that an answer did not come for quietLimit; what was asked for may have been done. It is an errNobody.
var errSilent = fmt.Errorf("%w any more", errNobody)

// problem is an error on its way.
type problem struct {
	Code  cloudcrowd.Code `json:"code"`
	Field string          `json:"field,omitempty"`
	Msg   string          `json:"msg"`
	Hint  string          `json:"hint,omitempty"`
	Moved bool            `json:"moved,omitempty"` // nothing came of it: ask the owner
	Away  bool            `json:"away,omitempty"`  // nothing came of it: whoever was to pass it on reaches nobody
}

// errElsewhere is what a call ends with where the shard's owner is another one.
var errElsewhere = errors.New("cluster: another server owns the shard")

func problemOf(err error) problem {
	p := problem{Code: cloudcrowd.CodeOf(err), Msg: err.Error(), Moved: taskmanager.Moved(err) || errors.Is(err, errElsewhere), Away: errors.Is(err, errNobody)}
	if e, ok := errors.AsType[*cloudcrowd.Error](err); ok {
		p.Field, p.Msg, p.Hint = e.Field, e.Msg, e.Hint
	}
	return p
}

func (p problem) err() error {
	if p.Moved {
		return errElsewhere
	}
	if p.Away {
		return errNobody
	}
	return &cloudcrowd.Error{Code: p.Code, Field: p.Field, Msg: p.Msg, Hint: p.Hint}
}

// calls are the requests of this process that wait for their answers.
type calls struct {
	bus   *Bus
	inbox string
	mu    sync.Mutex
	open  map[string]chan *nats.Msg // by the last token of the answer's subject
	slots chan struct{}
}

func newCalls(b *Bus) (*calls, error) {
	c := &calls{bus: b, inbox: b.prefix + "answer." + b.name + "." + rand.Text(), open: map[string]chan *nats.Msg{}, slots: make(chan struct{}, maxServing)}
	_, err := b.conn.Subscribe(c.inbox+".*", c.hear)
	return c, err
}

// hear takes an answer.
func (c *calls) hear(m *nats.Msg) {
	token := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	c.mu.Lock()
	defer c.mu.Unlock()
	if to := c.open[token]; to != nil {
		select {
		case to <- m:
		default: // it will miss a part and ask again
		}
	}
}

// expect makes a place for answers; done gives it up.
func (c *calls) expect(buffer int) (subject string, answers chan *nats.Msg, done func()) {
	token := rand.Text()
	answers = make(chan *nats.Msg, buffer)
	c.mu.Lock()
	c.open[token] = answers
	c.mu.Unlock()
	return c.inbox + "." + token, answers, func() {
		c.mu.Lock()
		delete(c.open, token)
		c.mu.Unlock()
	}
}

// ask asks the server that is to answer a subject, as far as is known: whoever hears the subject, then the server by its name, then it over a detour. twice says that
// an earlier one of these may have done it, and did not say so. server may be "". Errors as for request; errElsewhere also says that the server was reached and does not
// answer the subject.
func (b *Bus) ask(ctx context.Context, server, subject, method string, body []byte) (answer []byte, twice bool, err error) {
	silent := false
	if server == "" || !b.isFar(server) {
		answer, err = b.request(ctx, subject, method, body)
		silent = errors.Is(err, errSilent)
		if server != "" && errors.Is(err, errNobody) && !silent {
			answer, err = b.requestOf(ctx, server, "", subject, method, body)
			silent = errors.Is(err, errSilent)
		}
		if !errors.Is(err, errNobody) {
			return answer, false, err
		}
	}
	err = errNobody
	if via := b.between(server); via != "" {
		answer, err = b.requestOf(ctx, server, via, subject, method, body)
	}
	if silent && errors.Is(err, errNobody) {
		err = errSilent
	}
	return answer, silent, err
}

// request asks whoever hears subject, once. Errors: errNobody, errSilent, errElsewhere, ctx's, or what the other side answered.
func (b *Bus) request(ctx context.Context, subject, method string, body []byte) ([]byte, error) {
	return b.requestOf(ctx, "", "", subject, method, body)
}

// requestOf is request of one server by name, through another one, where these are not "".
func (b *Bus) requestOf(ctx context.Context, server, via, subject, method string, body []byte) ([]byte, error) {
	reply, answers, done := b.calls.expect(maxAnswer / maxMessage)
	defer done()
	ask := &nats.Msg{Subject: b.prefix + subject, Reply: reply, Header: nats.Header{headMethod: {method}}}
	if call := callid.Of(ctx); call != "" {
		ask.Header[headCall] = []string{call}
	}
	if server != "" {
		ask = b.addressed(ask, server, via)
	}
	if err := inParts(ask, body, b.conn.PublishMsg); err != nil {
		return nil, errNobody
	}
	var got assembly
	quiet := time.NewTimer(quietLimit)
	defer quiet.Stop()
	for {
		select {
		case m := <-answers:
			quiet.Reset(quietLimit)
			switch {
			case m.Header.Get(headBusy) != "":
				continue
			case m.Header.Get(headStatus) == "503":
				return nil, errNobody
			case m.Header.Get(headError) != "":
				var p problem
				if err := json.Unmarshal([]byte(m.Header.Get(headError)), &p); err != nil {
					return nil, err
				}
				return nil, p.err()
			}
			whole, err := got.add(m)
			if err != nil || whole {
				return got.bytes(), err
			}
		case <-quiet.C:
			return nil, errSilent
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// answer sends an answer, or a message of a stream, to whoever waits for it.
func (b *Bus) answer(reply string, body []byte) error {
	to := b.asker(reply)
	return inParts(&nats.Msg{Subject: reply}, body, func(m *nats.Msg) error { return b.send(to, m) })
}

// inParts sends a body in as many messages like m as it takes.
func inParts(m *nats.Msg, body []byte, send func(*nats.Msg) error) error {
	parts := max(1, (len(body)+maxMessage-1)/maxMessage)
	for i := range parts {
		part := &nats.Msg{Subject: m.Subject, Reply: m.Reply, Header: nats.Header{}, Data: body[i*maxMessage : min(len(body), (i+1)*maxMessage)]}
		maps.Copy(part.Header, m.Header)
		part.Header[headPart] = []string{strconv.Itoa(i+1) + "/" + strconv.Itoa(parts)}
		if err := send(part); err != nil {
			return err
		}
	}
	return nil
}

// assembly puts parts together. They come in order, or not at all.
type assembly struct {
	parts [][]byte
	size  int
	since time.Time
}

var errParts = cloudcrowd.Errorf(cloudcrowd.Unavailable, "a part of a message between servers was lost")

// add takes a part; whole says that it was the last one.
func (a *assembly) add(m *nats.Msg) (whole bool, err error) {
	at, of, _ := strings.Cut(m.Header.Get(headPart), "/")
	i, err := strconv.Atoi(at)
	n, err2 := strconv.Atoi(of)
	a.size += len(m.Data)
	if err != nil || err2 != nil || i != len(a.parts)+1 || i > n || a.size > maxAnswer {
		return false, errParts
	}
	a.parts = append(a.parts, m.Data)
	return i == n, nil
}

func (a *assembly) bytes() []byte {
	if len(a.parts) == 1 {
		return a.parts[0]
	}
	return bytes.Join(a.parts, nil)
}

// handler answers requests, with the name of the call they belong to, "" if it has none; it is run in a goroutine of its own.
type handler func(call, method string, body []byte) ([]byte, error)

// serve answers requests to a subject until the subscription ends.
func (b *Bus) serve(subject string, do handler) (*hearing, error) {
	var mu sync.Mutex
	partial := map[string]*assembly{} // by reply
	return b.subscribe(subject, func(m *nats.Msg) {
		mu.Lock()
		for reply, a := range partial {
			if time.Since(a.since) > partsExpire {
				delete(partial, reply)
			}
		}
		a := partial[m.Reply]
		if a == nil {
			a = &assembly{since: time.Now()}
			partial[m.Reply] = a
		}
		whole, err := a.add(m)
		if err != nil || whole {
			delete(partial, m.Reply)
		}
		mu.Unlock()
		if err != nil {
			b.refuse(m.Reply, err)
			return
		}
		if !whole {
			return
		}
		b.calls.slots <- struct{}{} // the bus keeps what waits
		go func() {
			defer func() { <-b.calls.slots }()
			done := make(chan struct{})
			defer close(done)
			go b.sayBusy(m.Reply, done)
			out, err := do(m.Header.Get(headCall), m.Header.Get(headMethod), a.bytes())
			if err != nil {
				b.refuse(m.Reply, err)
			} else if err := b.answer(m.Reply, out); err != nil {
				b.log.Debug("bus: not answered", "err", err)
			}
		}()
	})
}

// sayBusy keeps whoever asks waiting until done is closed.
func (b *Bus) sayBusy(reply string, done <-chan struct{}) {
	tick := time.NewTicker(busyEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = b.send(b.asker(reply), &nats.Msg{Subject: reply, Header: nats.Header{headBusy: {"1"}}}) // without it the request is made again
		case <-done:
			return
		}
	}
}

func (b *Bus) refuse(reply string, err error) {
	text, _ := json.Marshal(problemOf(err)) // plain strings
	m := &nats.Msg{Subject: reply, Header: nats.Header{headError: {string(text)}}}
	if err := b.send(b.asker(reply), m); err != nil {
		b.log.Debug("bus: not answered", "err", err)
	}
}
