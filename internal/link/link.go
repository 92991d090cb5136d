// Package link is the form of the links a server prints: all a worker needs to join, or a person to administer, in one line that can be pasted.
//
//	https://host:8443/join#s=SECRET&pin=HEX
//	https://host:8443/admin#t=TOKEN&pin=HEX
//
// What is secret stands behind the #, which browsers never send and servers never log.
package link

import (
	"encoding/hex"
	"net"
	"net/url"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// Kind says what a link is for.
type Kind string

const (
	Join  Kind = "join"  // Secret is an invite's
	Admin Kind = "admin" // Secret is a token
)

// Link is a parsed link.
type Link struct {
	Kind   Kind
	Server string // "https://host:8443", without a slash at the end; plain http only to loopback
	Secret string // invite secret or token
	Pin    string // lower-case hexadecimal SHA-256 of the server's certificate (DER); empty: the system's authorities decide
}

func (k Kind) key() string {
	if k == Admin {
		return "t"
	}
	return "s"
}

// String is the form Parse reads.
func (l Link) String() string {
	s := l.Server + "/" + string(l.Kind) + "#" + l.Kind.key() + "=" + url.QueryEscape(l.Secret)
	if l.Pin != "" {
		s += "&pin=" + l.Pin
	}
	return s
}

// Parse reads a link. Errors have code Invalid and say what is wrong.
func Parse(text string) (Link, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Host == "" || u.User != nil {
		return Link{}, cloudcrowd.Fieldf("link", "not a link; it looks like https://host:8443/join#s=…").WithHint("quote the link: shells treat # and & specially")
	}
	l := Link{Kind: Kind(strings.Trim(u.Path, "/")), Server: u.Scheme + "://" + u.Host}
	if l.Kind != Join && l.Kind != Admin {
		return Link{}, cloudcrowd.Fieldf("link", "%q is neither a join link nor an admin link", u.Path)
	}
	if err := CheckServer(l.Server); err != nil {
		return Link{}, err
	}
	v, err := url.ParseQuery(u.EscapedFragment())
	if err != nil {
		return Link{}, cloudcrowd.Fieldf("link", "the part after # cannot be read")
	}
	l.Secret, l.Pin = v.Get(l.Kind.key()), strings.ToLower(v.Get("pin"))
	if l.Secret == "" {
		return Link{}, cloudcrowd.Fieldf("link", "the secret after #%s= is missing", l.Kind.key()).WithHint("quote the link: shells treat # and & specially")
	}
	if err := CheckPin(l.Pin); err != nil {
		return Link{}, err
	}
	return l, nil
}

// CheckPin fails unless pin is empty or the hexadecimal form of a SHA-256.
func CheckPin(pin string) error {
	if b, err := hex.DecodeString(pin); err != nil || (len(b) != 32 && len(b) != 0) {
		return cloudcrowd.Fieldf("pin", "%q is not a certificate's SHA-256 in hexadecimal (64 characters)", pin)
	}
	return nil
}

// CheckServer fails unless server is https://HOST[:PORT], or http:// to this very machine: without TLS anybody on the way could read tokens and data, and
// change results.
func CheckServer(server string) error {
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
		return cloudcrowd.Fieldf("server", "%q is not a server's address; it looks like https://host:8443", server)
	}
	switch u.Scheme {
	case "https":
		return nil
	case "http":
		if Loopback(u.Hostname()) {
			return nil
		}
		return cloudcrowd.Fieldf("server", "plain http to %s is refused: anybody on the way could read tokens and data and change results", u.Hostname()).
			WithHint("use the https link the server prints; plain http is for this machine (localhost) alone")
	}
	return cloudcrowd.Fieldf("server", "%q is no scheme for a server; use https", u.Scheme)
}

// Loopback reports whether host (name or address, no port) is this very machine. Only "localhost" and loopback addresses count: any other name may be
// pointed elsewhere.
func Loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
