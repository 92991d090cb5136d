// Package callid names a call over all its tries. A client that got no answer asks again, and so do servers among themselves, while the earlier request may still be on
// its way; whoever performs it knows by the name that both are one.
package callid

import (
	"context"
	"crypto/rand"
)

// Header carries the name of a call from client to server; the server's answer carries its own name of the request in it.
const Header = "Request-Id"

// New is a name nobody else uses.
func New() string { return rand.Text() }

type key struct{}

// With gives a context the name of the call it serves. What is no name, see Valid, changes nothing.
func With(ctx context.Context, id string) context.Context {
	if !Valid(id) {
		return ctx
	}
	return context.WithValue(ctx, key{}, id)
}

// Of is the name of the call that a context serves; "" if it has none.
func Of(ctx context.Context) string {
	id, _ := ctx.Value(key{}).(string)
	return id
}

// Valid reports whether a text can name a call: 1 to 64 letters, digits, '-', '_' and '.'.
func Valid(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}
