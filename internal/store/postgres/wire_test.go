package postgres

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// marker is in the events of the batch that a wire interferes with: it passes by with the statements that end in COMMIT. asked ends the message
// that asks for their answers. Other transactions send their COMMIT alone, as text.
const (
	marker     = "this one is to be cut off"
	asked      = "S\x00\x00\x00\x04"
	commitText = "commit\x00"
)

// wire is a connection to a database that can be cut. Each of its rules is used once.
type wire struct {
	t        testing.TB
	socket   string
	listener net.Listener

	mu      sync.Mutex
	marker  string                                                    // in what it interferes with
	end     string                                                    // at its end
	at      func(w *wire, statements []byte, client, server net.Conn) // what happens to the marked statements; nil lets them pass
	refuses bool                                                      // new connections
	open    []net.Conn
	wait    sync.WaitGroup
}

func newWire(t testing.TB, socket string) *wire {
	t.Helper()
	w := &wire{t: t, socket: socket}
	var err error
	if w.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	w.wait.Go(func() {
		for {
			client, err := w.listener.Accept()
			if err != nil {
				return
			}
			w.wait.Go(func() { w.carry(client) })
		}
	})
	t.Cleanup(func() {
		_ = w.listener.Close()
		w.cut()
		w.wait.Wait()
	})
	return w
}

// address is that of the database at the other end.
func (w *wire) address(direct string) string {
	_, query, _ := strings.Cut(direct, "search_path=")
	return fmt.Sprintf("postgres://cloudcrowd@%s/postgres?sslmode=disable&search_path=%s", w.listener.Addr(), query)
}

// cut ends all connections.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.open {
		_ = c.Close()
	}
	w.open = nil
}

// refuse says whether new connections are ended at once.
func (w *wire) refuse(yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuses = yes
}

// meddle sets what happens to the next statements that hold the marker, up to those that end with end.
func (w *wire) meddle(marker, end string, at func(w *wire, statements []byte, client, server net.Conn)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.marker, w.end, w.at = marker, end, at
}

// meddled reports whether that has happened.
func (w *wire) meddled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at == nil
}

// rule is what is to be done about statements, once for each setting of at; nil: let them pass.
func (w *wire) rule(statements []byte) (at func(w *wire, statements []byte, client, server net.Conn), end string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at == nil || !bytes.Contains(statements, []byte(w.marker)) {
		return nil, ""
	}
	at, w.at = w.at, nil
	return at, w.end
}

func (w *wire) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("unix", w.socket)
	if err != nil {
		return
	}
	defer server.Close()
	w.mu.Lock()
	refuses := w.refuses
	w.open = append(w.open, client, server)
	w.mu.Unlock()
	if refuses {
		return
	}
	w.wait.Go(func() { // answers
		defer client.Close()
		b := make([]byte, 1<<16)
		for {
			n, err := server.Read(b)
			if err != nil {
				return
			}
			if _, err := client.Write(b[:n]); err != nil {
				return
			}
		}
	})
	b := make([]byte, 1<<16)
	for {
		n, err := client.Read(b)
		if err != nil {
			return
		}
		if at, end := w.rule(b[:n]); at != nil {
			statements := bytes.Clone(b[:n])
			for !bytes.HasSuffix(statements, []byte(end)) {
				if n, err = client.Read(b); err != nil {
					return
				}
				statements = append(statements, b[:n]...)
			}
			at(w, statements, client, server)
			continue
		}
		if _, err := server.Write(b[:n]); err != nil {
			return
		}
	}
}
