package client

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// TLSConfig is how to talk to a server: by the system's roots, or, with a pin, only to the one certificate whose SHA-256 (hexadecimal, of the DER) it
// is; names and dates are then not looked at. For HTTPS and for the workers' WebSocket.
func TLSConfig(pin string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if pin == "" {
		return c
	}
	c.InsecureSkipVerify = true // replaced by the check below, which also runs on resumed connections
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errPin("none")
		}
		if got := Fingerprint(s.PeerCertificates[0]); !hmac.Equal([]byte(got), []byte(strings.ToLower(pin))) {
			return errPin(got)
		}
		return nil
	}
	return c
}

// Fingerprint is the pin of a certificate: lower-case hexadecimal SHA-256 of its DER.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

func errPin(got string) error {
	return cloudcrowd.Errorf(cloudcrowd.Forbidden, "the server's certificate is not the one of the link (its fingerprint is %s)", got).
		WithHint("somebody may be in between, or the server made a new certificate: get a fresh link from its operator")
}
