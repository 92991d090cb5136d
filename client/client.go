// Package client talks to a CloudCrowd server over its HTTP API. The command line uses it, and so can any Go program:
//
//	c, err := client.New(client.Options{URL: "https://pool.example.org", Token: token})
//	input, err := c.PutFile(ctx, "genome.fasta", nil)
//	job, err := c.Submit(ctx, spec, "")
//	for event, err := range c.Events(ctx, "", job.ID) { … }
//
// Every method returns errors as *cloudcrowd.Error with the server's code, field and hint. Calls that can be repeated without harm are
// repeated, with growing pauses, while the server is unreachable or busy. Where a crowd has several servers, give them all in Options.Servers: a call
// that one cannot take goes on at the next. A Client is safe for concurrent use.
package client

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/link"
)

// Options say which server to talk to, and as whom.
type Options struct {
	URL string // scheme, host and port; plain http only to loopback
	// Servers are more servers of the same crowd, in the form of URL. A call that could not be sent to one, or is answered 502, 503 or 504, goes to the
	// next at once, if nothing was sent or it can be repeated without harm. The client stays with the server that answered last.
	Servers []string
	Token   string // bearer token; "" where none is needed (Join)
	Pin     string // fingerprint of the servers' certificate; "": checked by name
	// Retries is how often a failed call that can be repeated is tried again at all servers; 0 means DefaultRetries, below 0 never. Events always
	// reconnects.
	Retries int
	// UserAgent names the program in the server's log; default "cloudcrowd-client".
	UserAgent string
}

// DefaultRetries spread over about six seconds.
const DefaultRetries = 6

// serverTimeout is how long a server may take to accept a connection where there are others.
const serverTimeout = 5 * time.Second

// Client is a connection to one crowd.
type Client struct {
	servers []*url.URL
	at      atomic.Int64 // the current one is servers[at%len]
	http    *http.Client
	options Options
	retries int
}

// New makes a client. Nothing is sent yet. Code Invalid if the address is not usable, among others plain HTTP to another machine.
func New(o Options) (*Client, error) {
	var servers []*url.URL
	for _, raw := range append([]string{o.URL}, o.Servers...) {
		u, err := CheckURL(raw)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(servers, func(s *url.URL) bool { return *s == *u }) {
			servers = append(servers, u)
		}
	}
	if err := link.CheckPin(o.Pin); err != nil {
		return nil, err
	}
	if o.Token = strings.TrimSpace(o.Token); strings.ContainsFunc(o.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, cloudcrowd.Fieldf("token", "a token has neither spaces nor line breaks").WithHint("copy it, or the admin link it is in, once more")
	}
	if o.UserAgent == "" {
		o.UserAgent = "cloudcrowd-client"
	}
	c := &Client{servers: servers, options: o, retries: o.Retries}
	switch {
	case o.Retries == 0:
		c.retries = DefaultRetries
	case o.Retries < 0:
		c.retries = 0
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = TLSConfig(o.Pin)
	t.MaxIdleConnsPerHost = 32
	t.ExpectContinueTimeout = 3 * time.Second
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second} // a machine that is gone does not close its connections
	if !slices.ContainsFunc(servers, func(s *url.URL) bool { return !link.Loopback(s.Hostname()) }) {
		t.Proxy = nil // which also leaves out loopback by itself
	}
	if len(servers) > 1 {
		t.DialContext = (&net.Dialer{Timeout: serverTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	c.http = &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// URL is the address of the server that is asked next: the first one's, or that of the one that answered last.
func (c *Client) URL() string {
	u, _ := c.current()
	return u.String()
}

// Servers lists the addresses of all servers that the client knows, that of Options.URL first.
func (c *Client) Servers() []string {
	var list []string
	for _, u := range c.servers {
		list = append(list, u.String())
	}
	return list
}

// current is the server to ask, and its turn for moveFrom.
func (c *Client) current() (*url.URL, int64) {
	turn := c.at.Load()
	return c.servers[turn%int64(len(c.servers))], turn
}

// moveFrom makes the next server the current one, unless somebody else has done so since turn.
func (c *Client) moveFrom(turn int64) { c.at.CompareAndSwap(turn, turn+1) }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// WhoAmI says whom the token stands for.
func (c *Client) WhoAmI(ctx context.Context) (Identity, error) {
	return get[Identity](ctx, c, "/v1/whoami", nil)
}

// Status returns the overview.
func (c *Client) Status(ctx context.Context) (cloudcrowd.ServerStatus, error) {
	return get[cloudcrowd.ServerStatus](ctx, c, "/v1/status", nil)
}

// Prices returns the posted price vector.
func (c *Client) Prices(ctx context.Context) (cloudcrowd.Prices, error) {
	return get[cloudcrowd.Prices](ctx, c, "/v1/prices", nil)
}

// Drain makes a server take no new work and stop, after waiting so long at most for attempts that are out: the one of Options.URL and no
// other. Operators only.
func (c *Client) Drain(ctx context.Context, wait time.Duration) (Draining, error) {
	return exchange[Draining](ctx, c, call{method: http.MethodPost, path: "/v1/drain", here: true}, DrainRequest{Wait: cloudcrowd.Duration(wait)})
}

// Ready reports whether a server of the crowd, which URL then names, is up and takes work; the error says why not.
func (c *Client) Ready(ctx context.Context) error {
	_, err := get[struct{}](ctx, c, "/readyz", nil)
	return err
}
