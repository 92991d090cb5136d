package cluster

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// wires are the lines between the embedded servers of a rig, which can be cut: then nothing gets through, and neither end is told.
type wires struct {
	t *testing.T

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when lines are cut or mended, or the test ends
	at      map[string]string
	lines   map[pair]string
	cut     map[pair]bool
	open    map[net.Conn]bool
	ended   bool
	all     sync.WaitGroup
}

// pair are two servers; who dials first.
type pair struct{ from, to string }

func newWires(t *testing.T) *wires {
	w := &wires{t: t, changed: make(chan struct{}), at: map[string]string{}, lines: map[pair]string{}, cut: map[pair]bool{}, open: map[net.Conn]bool{}}
	t.Cleanup(func() {
		w.mu.Lock()
		w.ended = true
		w.signal()
		for c := range w.open {
			_ = c.Close()
		}
		w.mu.Unlock()
		w.all.Wait()
	})
	return w
}

// signal lets connections look again. w.mu is held.
func (w *wires) signal() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// set cuts or mends the lines between one server and others, both ways.
func (w *wires) set(cut bool, one string, others ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range others {
		w.cut[pair{one, o}], w.cut[pair{o, one}] = cut, cut
	}
	w.signal()
}

// is says where a server listens.
func (w *wires) is(id, address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at[id] = address
}

// nowhere is an address for a server to give to all that nobody reaches.
func (w *wires) nowhere(id string) string { return fmt.Sprint("127.0.0.1:", id[0]-'a'+1) }

// line is the address at which one server reaches another.
func (w *wires) line(from, to string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := pair{from, to}
	if w.lines[p] != "" || w.ended {
		return w.lines[p]
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Error(err)
		return ""
	}
	w.t.Cleanup(func() { _ = l.Close() })
	w.lines[p] = l.Addr().String()
	w.all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			w.all.Go(func() { w.carry(p, near) })
		}
	})
	return w.lines[p]
}

// passes waits until a line is whole; false when the test has ended.
func (w *wires) passes(p pair) bool {
	for {
		w.mu.Lock()
		cut, ended, changed := w.cut[p], w.ended, w.changed
		w.mu.Unlock()
		if ended || !cut {
			return !ended
		}
		<-changed
	}
}

// keep notes a connection; false when the test has ended.
func (w *wires) keep(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open[c] = true
	return !w.ended
}

func (w *wires) carry(p pair, near net.Conn) {
	defer near.Close()
	if !w.keep(near) || !w.passes(p) {
		return
	}
	w.mu.Lock()
	at := w.at[p.to]
	w.mu.Unlock()
	far, err := net.Dial("tcp", at)
	if err != nil {
		return
	}
	defer far.Close()
	if !w.keep(far) {
		return
	}
	copying := func(to, from net.Conn) {
		defer to.Close()
		b := make([]byte, 1<<16)
		for {
			n, err := from.Read(b)
			if !w.passes(p) {
				return
			}
			if _, werr := to.Write(b[:n]); err != nil || werr != nil {
				return
			}
		}
	}
	var back sync.WaitGroup
	back.Go(func() { copying(near, far) })
	copying(far, near)
	back.Wait()
}

// wired is a store in which a server finds the others at the ends of its own lines.
type wired struct {
	store.Store
	w  *wires
	id string
}

func (s wired) Servers(ctx context.Context) ([]store.Server, error) {
	rows, err := s.Store.Servers(ctx)
	for i := range rows {
		if rows[i].ID != s.id {
			rows[i].Bus = s.w.line(s.id, rows[i].ID)
		}
	}
	return rows, err
}
