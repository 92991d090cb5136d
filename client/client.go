// Package client talks to a CloudCrowd server over its HTTP API. The command line uses it, and so can any Go program:
//
//	c, err := client.New(client.Options{URL: "https://pool.example.org", Token: token})
//	input, err := c.PutFile(ctx, "genome.fasta", nil)
//	job, err := c.Submit(ctx, spec, "")
//	for event, err := range c.Events(ctx, "", job.ID) { … }
//
// Every method returns errors as *cloudcrowd.Error with the server's code, field and hint. Calls that can be repeated without harm are
// repeated, with growing pauses, while the server is unreachable or busy. A Client is safe for concurrent use.
package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/link"
)

// Options say which server to talk to, and as whom.
type Options struct {
	URL   string // scheme, host and port; plain http only to loopback
	Token string // bearer token; "" where none is needed (Join)
	Pin   string // fingerprint of the server's certificate; "": checked by name
	// Retries is how often a failed call that can be repeated is tried again; 0 means DefaultRetries, below 0 never. Events always reconnects.
	Retries int
	// UserAgent names the program in the server's log; default "cloudcrowd-client".
	UserAgent string
}

// DefaultRetries spread over about six seconds.
const DefaultRetries = 6

// Client is a connection to one server.
type Client struct {
	base    *url.URL
	http    *http.Client
	options Options
	retries int
}

// New makes a client. Nothing is sent yet. Code Invalid if the address is not usable, among others plain HTTP to another machine.
func New(o Options) (*Client, error) {
	u, err := CheckURL(o.URL)
	if err != nil {
		return nil, err
	}
	if err := link.CheckPin(o.Pin); err != nil {
		return nil, err
	}
	if o.UserAgent == "" {
		o.UserAgent = "cloudcrowd-client"
	}
	c := &Client{base: u, options: o, retries: o.Retries}
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
	if link.Loopback(u.Hostname()) {
		t.Proxy = nil
	}
	c.http = &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// URL is the server's address.
func (c *Client) URL() string { return c.base.String() }

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

// Drain makes the server take no new work and stop, after waiting so long at most for attempts that are out. Operators only.
func (c *Client) Drain(ctx context.Context, wait time.Duration) (Draining, error) {
	return post[Draining](ctx, c, "/v1/drain", DrainRequest{Wait: cloudcrowd.Duration(wait)}, "")
}

// Ready reports whether the server is up and takes work; the error says why not.
func (c *Client) Ready(ctx context.Context) error {
	_, err := get[struct{}](ctx, c, "/readyz", nil)
	return err
}
