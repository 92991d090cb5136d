package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A client that stops in the middle of its body does not hold the server: it gets an answer or a closed connection, and nothing is stored. One that goes on, however
// slowly, is served.
func TestStalledBody(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.Limits.Stall = 100 * time.Millisecond })
	for _, path := range []string{"PUT /v1/blobs/" + string(sum([]byte("0123456789"))), "POST /v1/plan"} {
		c, err := net.Dial("tcp", strings.TrimPrefix(r.server.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 10\r\n\r\n01234", path, r.tokens["alice"])
		c.SetReadDeadline(time.Now().Add(30 * time.Second))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil && resp.StatusCode < 400 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
		if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if len(r.blobs.m) != 0 {
		t.Error("half a blob was stored")
	}
}
