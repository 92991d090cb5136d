package client

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
)

// download reads bytes that do not change, and goes on where it stopped, at another server of the crowd if need be, when the connection breaks.
type download struct {
	c    *Client
	ctx  context.Context
	k    call
	body io.ReadCloser
	next int64  // offset of the next byte
	last string // offset of the last one, as a range has it; "": the end
	tag  string // says that they are still the same; "": not known
	left int    // how often it may still go on
}

// open starts a download of what k asks for, from offset next on.
func (c *Client) open(ctx context.Context, k call, next int64, last string) (*http.Response, io.ReadCloser, error) {
	resp, err := c.send(ctx, k)
	if err != nil {
		return nil, nil, err
	}
	return resp, &download{c: c, ctx: ctx, k: k, body: resp.Body, next: next, last: last, tag: resp.Header.Get("ETag"), left: c.retries}, nil
}

// Read implements io.Reader.
func (d *download) Read(p []byte) (int, error) {
	for {
		n, err := d.body.Read(p)
		d.next += int64(n)
		if err == nil || err == io.EOF || d.ctx.Err() != nil || d.left == 0 {
			return n, err
		}
		if n > 0 {
			return n, nil // the next call meets the error again
		}
		d.left--
		k := d.k
		k.header = maps.Clone(k.header)
		if k.header == nil {
			k.header = map[string]string{}
		}
		k.header["Range"] = fmt.Sprintf("bytes=%d-%s", d.next, d.last)
		if d.tag != "" {
			k.header["If-Range"] = d.tag
		}
		resp, e := d.c.send(d.ctx, k)
		if e != nil {
			return 0, err
		}
		if resp.StatusCode != http.StatusPartialContent {
			_ = resp.Body.Close() // of no use
			return 0, err
		}
		_ = d.body.Close() // it is broken
		d.body = resp.Body
	}
}

// Close implements io.Closer.
func (d *download) Close() error { return d.body.Close() }
