package e2e

import (
	"maps"
	"net"
	"sync"
	"testing"
)

// fabric is the network between the processes of a test. What goes over its lines is carried, held back, or cut, by who sends and who receives.
type fabric struct {
	t testing.TB

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced when a path is held or let go
	names     map[int]string
	held      map[path]bool
	open      map[*carried]bool
	listeners []net.Listener
	closed    bool
	wait      sync.WaitGroup
}

// path is one direction between two members of a fabric.
type path struct{ from, to string }

// carried is a connection over a line.
type carried struct {
	dialer, target string
	near, far      net.Conn
}

// database is the name of the database in a fabric; servers and workers have the names of their processes, the test has none.
const database = "database"

func newFabric(t testing.TB) *fabric {
	t.Helper()
	f := &fabric{t: t, changed: make(chan struct{}), names: map[int]string{}, held: map[path]bool{}, open: map[*carried]bool{}}
	t.Cleanup(func() {
		f.mu.Lock()
		f.closed = true
		clear(f.held)
		f.signal()
		for _, l := range f.listeners {
			_ = l.Close()
		}
		for c := range f.open {
			c.cut()
		}
		f.mu.Unlock()
		f.wait.Wait()
	})
	return f
}

// line returns a loopback address that leads to target, which listens on network and address. dialer is who connects there; "": to be found out each time.
func (f *fabric) line(dialer, target, network, address string) string {
	f.t.Helper()
	l, err := net.Listen("tcp", steadyAddress(f.t))
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	f.listeners = append(f.listeners, l)
	f.mu.Unlock()
	f.wait.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			f.wait.Go(func() { f.carry(dialer, target, near, network, address) })
		}
	})
	return l.Addr().String()
}

// is gives a process its name.
func (f *fabric) is(p *process) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names[p.cmd.Process.Pid] = p.name
}

// signal lets connections look again. f.mu is held.
func (f *fabric) signal() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// hold lets nothing through any more from one to another, as a cable that is cut one way: neither end is told. What is sent meanwhile arrives after free.
func (f *fabric) hold(from, to string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held[path{from, to}] = true
}

// part holds both ways between one and others.
func (f *fabric) part(one string, others ...string) {
	for _, o := range others {
		f.hold(one, o)
		f.hold(o, one)
	}
}

// heal lets everything through again.
func (f *fabric) heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.held)
	f.signal()
}

func (c *carried) cut() {
	_ = c.near.Close()
	if c.far != nil {
		_ = c.far.Close()
	}
}

// passes waits until a path is free; false when the test has ended.
func (f *fabric) passes(from, to string) bool {
	for {
		f.mu.Lock()
		held, closed, changed := f.held[path{from, to}], f.closed, f.changed
		f.mu.Unlock()
		if closed || !held {
			return !closed
		}
		<-changed
	}
}

func (f *fabric) carry(dialer, target string, near net.Conn, network, address string) {
	if dialer == "" {
		f.mu.Lock()
		names := maps.Clone(f.names)
		f.mu.Unlock()
		for tries, found := 0, false; !found && tries < 20; tries++ { // it may be gone
			dialer, found = dialerOf(near, names)
		}
	}
	c := &carried{dialer: dialer, target: target, near: near}
	f.mu.Lock()
	f.open[c] = true
	if f.closed {
		c.cut()
	}
	f.mu.Unlock()
	defer func() {
		c.cut()
		f.mu.Lock()
		delete(f.open, c)
		f.mu.Unlock()
	}()
	if !f.passes(dialer, target) || !f.passes(target, dialer) {
		return
	}
	far, err := net.Dial(network, address)
	if err != nil {
		return
	}
	f.mu.Lock()
	c.far = far
	if f.closed {
		c.cut()
	}
	f.mu.Unlock()
	back := make(chan struct{})
	go func() {
		defer close(back)
		f.copy(near, far, target, dialer)
	}()
	f.copy(far, near, dialer, target)
	<-back
}

// copy carries bytes one way. The end of a connection is a message as well.
func (f *fabric) copy(to, from net.Conn, sender, receiver string) {
	b := make([]byte, 1<<16)
	for {
		n, err := from.Read(b)
		if !f.passes(sender, receiver) {
			return
		}
		if n > 0 {
			if _, werr := to.Write(b[:n]); werr != nil && err == nil {
				err = werr
			}
		}
		if err != nil {
			_ = to.Close()
			_ = from.Close()
			return
		}
	}
}
