// Package tlsconf chooses how the server is reached securely: plain HTTP on loopback only; a certificate by ACME for a domain name; given files; or a
// self-signed certificate whose fingerprint, the pin, is part of the links the server prints.
package tlsconf

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/link"
)

// Config says what is wanted.
type Config struct {
	// Listen is the address really listened on (Listener.Addr().String() when the port was chosen by the system).
	Listen string
	// Plain asks for plain HTTP; it is refused unless Listen is loopback.
	Plain bool
	// Domain asks for a certificate by ACME. The name must lead to this server, whose port 443 must be Listen or be forwarded to it.
	Domain string
	// CertFile and KeyFile are PEM; they are read again when they change. They win over Domain.
	CertFile, KeyFile string
	// DataDir keeps certificates made here, readable by the server's user only.
	DataDir string
	// Email is told to the certificate authority; may be "".
	Email string
	// ACMEDirectory is the authority's address; "": Let's Encrypt.
	ACMEDirectory string
	// ACMERoots is a PEM file of roots to trust when talking to the authority, for one of one's own; "": the system's.
	ACMERoots string
	// Keep keeps the self-signed certificate and its key (PEM) where all servers of a crowd have it in common, unless one is kept there already, and
	// returns the one that is kept; this server takes that one over. What a data directory holds already is offered first, so that links stay valid.
	// nil: every data directory has its own.
	Keep func(ctx context.Context, pemText string) (kept string, err error)
	// Context ends renewing in the background; nil: never.
	Context context.Context
	Log     *slog.Logger
}

// Server returns how to serve: the TLS configuration (nil: plain HTTP, on loopback), the pin for links ("" if clients check the certificate by name), and
// the address to reach the server at. Errors name the setting at fault. With Domain the certificate is obtained in the background, for the authority
// asks back at the port that is about to be served; until then handshakes fail.
func Server(c Config) (*tls.Config, string, string, error) {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, "", "", cloudcrowd.Fieldf("listen", "%q is not an address; write for example :8443 or 127.0.0.1:8080", c.Listen)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Context == nil {
		c.Context = context.Background()
	}
	loopback := link.Loopback(host)
	switch {
	case (c.CertFile == "") != (c.KeyFile == ""):
		return nil, "", "", cloudcrowd.Fieldf("tls", "a certificate needs its key: give both files or none")
	case c.Plain && !loopback:
		return nil, "", "", cloudcrowd.Fieldf("listen", "plain HTTP on %s is refused: tokens and data could be read and changed on the way", c.Listen).
			WithHint("listen on 127.0.0.1, or leave the choice to the server: it makes a certificate by itself")
	case c.Plain:
		return nil, "", "http://" + net.JoinHostPort(host, port), nil
	case c.CertFile != "":
		return fromFiles(c, host, port)
	case loopback:
		return nil, "", "http://" + net.JoinHostPort(host, port), nil
	case c.Domain != "":
		config, err := fromACME(c, port)
		return config, "", address(c.Domain, port), err
	}
	return selfSigned(c, host, port)
}

// base is what every configuration has in common.
func base() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
}

func address(host, port string) string {
	if port == "443" {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return "https://" + host
	}
	return "https://" + net.JoinHostPort(host, port)
}

// reachable names this machine for others: the host listened on, or, when that is all of them, the address packets to the outside leave from.
func reachable(host string) string {
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return host
	}
	for _, probe := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} { // nothing is sent
		if c, err := net.Dial("udp", probe); err == nil {
			defer c.Close()
			return c.LocalAddr().(*net.UDPAddr).IP.String()
		}
	}
	for _, ip := range localAddresses() {
		if !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			return ip.String()
		}
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "localhost"
}

func localAddresses() []net.IP {
	var ips []net.IP
	all, _ := net.InterfaceAddrs()
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			ips = append(ips, n.IP)
		}
	}
	return ips
}
