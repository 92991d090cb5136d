package api

import (
	"io"
	"net/http"
	"time"
)

// guardBody gives the request's body a deadline that moves ahead as bytes arrive, and none once it was read to its end: a deadline that passes
// while an answer is computed would cancel the request. After any other end it stays, for the server reads what a handler left.
func guardBody(w http.ResponseWriter, r *http.Request, stall time.Duration) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return
	}
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Now().Add(stall))
	r.Body = &guardedBody{ReadCloser: r.Body, control: control, stall: stall}
}

type guardedBody struct {
	io.ReadCloser
	control  *http.ResponseController
	stall    time.Duration
	deadline time.Time
}

func (b *guardedBody) Read(p []byte) (int, error) {
	if next := time.Now().Add(b.stall); next.Sub(b.deadline) > b.stall/8 {
		b.deadline = next
		b.control.SetReadDeadline(next)
	}
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
