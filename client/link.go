package client

import (
	"net/url"
	"strings"

	"cloudcrowd.dev/cloudcrowd/internal/link"
)

// CheckURL parses a server's address and refuses plain HTTP to anything but loopback, with the reason: code Invalid.
func CheckURL(raw string) (*url.URL, error) {
	raw = strings.TrimSuffix(strings.TrimSpace(raw), "/")
	if err := link.CheckServer(raw); err != nil {
		return nil, err
	}
	return url.Parse(raw)
}

// FromLink makes the options for the server of a join or admin link. The token of an admin link becomes Options.Token; the secret of a join link is
// returned for Client.Join.
func FromLink(text string) (o Options, invite string, err error) {
	l, err := link.Parse(text)
	if err != nil {
		return Options{}, "", err
	}
	o = Options{URL: l.Server, Pin: l.Pin}
	if l.Kind == link.Join {
		return o, l.Secret, nil
	}
	o.Token = l.Secret
	return o, "", nil
}
