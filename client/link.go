package client

import (
	"encoding/hex"
	"net"
	"net/url"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// Link is what an admin link or a join link carries. Its text is
//
//	https://host:port/join#SECRET        certificate checked by name
//	https://host:port/join#SECRET.PIN    certificate known by its fingerprint
//
// and the same with /login for tokens. The secret stands after the # so that it is never sent in a request or written to a log, and no character
// needs quoting in a shell.
type Link struct {
	URL    string // scheme, host and port of the server
	Join   bool   // an invite; otherwise a token
	Secret string
	Pin    string // fingerprint of the server's certificate; "" if it is checked by name
}

// String returns the text.
func (l Link) String() string {
	path := "/login#"
	if l.Join {
		path = "/join#"
	}
	s := strings.TrimSuffix(l.URL, "/") + path + l.Secret
	if l.Pin != "" {
		s += "." + l.Pin
	}
	return s
}

// ParseLink reads the text of a link: code Invalid if it is not one.
func ParseLink(s string) (Link, error) {
	bad := func(why string) (Link, error) {
		return Link{}, cloudcrowd.Errorf(cloudcrowd.Invalid, "this is not a link of a CloudCrowd server: %s", why).
			WithHint("a join link looks like https://host:7700/join#cci_…, an admin link like https://host:7700/login#cc_…")
	}
	u, err := url.Parse(strings.TrimSpace(s))
	if err != nil || u.Host == "" {
		return bad("no host")
	}
	l := Link{URL: u.Scheme + "://" + u.Host}
	switch strings.TrimSuffix(u.Path, "/") {
	case "/join":
		l.Join = true
	case "/login":
	default:
		return bad("its path is neither /join nor /login")
	}
	l.Secret, l.Pin, _ = strings.Cut(u.Fragment, ".")
	if l.Secret == "" {
		return bad("nothing follows the #")
	}
	if l.Pin != "" && !validPin(l.Pin) {
		return bad("the fingerprint after the dot is not 64 hexadecimal digits")
	}
	if _, err := CheckURL(l.URL); err != nil {
		return Link{}, err
	}
	return l, nil
}

func validPin(pin string) bool {
	b, err := hex.DecodeString(pin)
	return err == nil && len(b) == 32
}

// CheckURL parses a server's address and refuses plain HTTP to anything but loopback, with the reason: code Invalid.
func CheckURL(raw string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSuffix(strings.TrimSpace(raw), "/"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, cloudcrowd.Fieldf("server", "%q is not a server's address", raw).WithHint("write for example https://pool.example.org or http://127.0.0.1:7700")
	}
	if u.Scheme == "http" && !IsLoopback(u.Hostname()) {
		return nil, cloudcrowd.Fieldf("server", "plain HTTP to %s is refused: the token and the data could be read and changed on the way", u.Hostname()).
			WithHint("use https://; a self-signed server prints a link with its fingerprint")
	}
	if u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, cloudcrowd.Fieldf("server", "%q has more than scheme, host and port", raw).WithHint("write for example %s://%s", u.Scheme, u.Host)
	}
	return u, nil
}

// IsLoopback reports whether a host name or address stays on this machine.
func IsLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
