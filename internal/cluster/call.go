package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

// Calls are requests over the bus. A request names a method and carries JSON; it and its answer go in parts of at most maxMessage bytes. Who asks waits for an answer
// as long as it pleases and asks again: every method may be performed twice.

// Headers of a message.
const (
	headMethod = "M"
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
}

// errElsewhere is what a call ends with where the shard's owner is another one.
var errElsewhere = errors.New("cluster: another server owns the shard")

func problemOf(err error) problem {
	p := problem{Code: cloudcrowd.CodeOf(err), Msg: err.Error(), Moved: taskmanager.Moved(err) || errors.Is(err, errElsewhere)}
	if e, ok := errors.AsType[*cloudcrowd.Error](err); ok {
		p.Field, p.Msg, p.Hint = e.Field, e.Msg, e.Hint
	}
	return p
}

func (p problem) err() error {
	if p.Moved {
		return errElsewhere
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
	c := &calls{bus: b, inbox: b.prefix + "answer." + rand.Text(), open: map[string]chan *nats.Msg{}, slots: make(chan struct{}, maxServing)}
	_, err := b.conn.Subscribe(c.inbox+".*", func(m *nats.Msg) {
		token := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
		c.mu.Lock()
		defer c.mu.Unlock()
		if to := c.open[token]; to != nil {
			select {
			case to <- m:
			default: // it will miss a part and ask again
			}
		}
	})
	return c, err
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

// request asks whoever answers subject, once. Errors: errNobody, errSilent, errElsewhere, ctx's, or what the other side answered.
func (b *Bus) request(ctx context.Context, subject, method string, body []byte) ([]byte, error) {
	reply, answers, done := b.calls.expect(maxAnswer / maxMessage)
	defer done()
	if err := b.sendParts(subject, reply, nats.Header{headMethod: {method}}, body); err != nil {
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

// sendParts publishes a body in as many messages as it takes.
func (b *Bus) sendParts(subject, reply string, header nats.Header, body []byte) error {
	if !strings.HasPrefix(subject, b.prefix) {
		subject = b.prefix + subject
	}
	parts := max(1, (len(body)+maxMessage-1)/maxMessage)
	for i := range parts {
		m := &nats.Msg{Subject: subject, Reply: reply, Header: nats.Header{headPart: {strconv.Itoa(i+1) + "/" + strconv.Itoa(parts)}}, Data: body[i*maxMessage : min(len(body), (i+1)*maxMessage)]}
		for k, v := range header {
			m.Header[k] = v
		}
		if err := b.conn.PublishMsg(m); err != nil {
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

// answer is what a handler of requests does; it is run in a goroutine of its own.
type answer func(method string, body []byte) ([]byte, error)

// serve answers requests to a subject until the subscription ends.
func (b *Bus) serve(subject string, do answer) (*nats.Subscription, error) {
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
			out, err := do(m.Header.Get(headMethod), a.bytes())
			if err != nil {
				b.refuse(m.Reply, err)
			} else if err := b.sendParts(m.Reply, "", nil, out); err != nil {
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
			_ = b.conn.PublishMsg(&nats.Msg{Subject: reply, Header: nats.Header{headBusy: {"1"}}}) // without it the request is made again
		case <-done:
			return
		}
	}
}

func (b *Bus) refuse(reply string, err error) {
	text, _ := json.Marshal(problemOf(err)) // plain strings
	m := &nats.Msg{Subject: reply, Header: nats.Header{headError: {string(text)}}}
	if err := b.conn.PublishMsg(m); err != nil {
		b.log.Debug("bus: not answered", "err", err)
	}
}
