package tlsconf

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

// SelfSignedFile below DataDir holds key and certificate, PEM, mode 0600.
const SelfSignedFile = "tls-selfsigned.pem"

// selfSignedLife is long, for its end would break every link; the pin, not the date, is what clients check.
const selfSignedLife = 10 * 365 * 24 * time.Hour

func selfSigned(c Config, host, port string) (*tls.Config, string, string, error) {
	if c.DataDir == "" {
		return nil, "", "", cloudcrowd.Fieldf("data", "a data directory is needed to keep the certificate in")
	}
	file := filepath.Join(c.DataDir, SelfSignedFile)
	text, err := os.ReadFile(file)
	stored := err == nil
	if errors.Is(err, os.ErrNotExist) {
		if text, err = makeSelfSigned(host, time.Now()); err != nil {
			return nil, "", "", &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "the certificate could not be made", Err: err}
		}
	}
	var cert tls.Certificate
	if err == nil {
		cert, err = tls.X509KeyPair(text, text)
	}
	if err != nil {
		return nil, "", "", (&cloudcrowd.Error{Code: cloudcrowd.Invalid, Field: "data", Msg: "the certificate in " + file + " cannot be used", Err: err}).
			WithHint("restore it, or remove it: a new one is made, and everybody needs new links")
	}
	if c.Keep != nil {
		kept, err := c.Keep(c.Context, string(text))
		if err != nil {
			return nil, "", "", err
		}
		if kept != string(text) {
			if cert, err = tls.X509KeyPair([]byte(kept), []byte(kept)); err != nil {
				return nil, "", "", &cloudcrowd.Error{Code: cloudcrowd.Invalid, Msg: "the certificate that the servers of the crowd share cannot be used", Err: err}
			}
			if stored {
				c.Log.Warn("this server takes over the certificate of its crowd; links made with its own are not valid any more", "file", file)
			}
			text, stored = []byte(kept), false
		}
	}
	if !stored {
		if err := writeSelfSigned(file, text); err != nil {
			return nil, "", "", &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "the certificate could not be written", Err: err}
		}
	}
	config := base()
	config.Certificates = []tls.Certificate{cert}
	return config, client.Fingerprint(cert.Leaf), address(reachable(host), port), nil
}

// makeSelfSigned makes a fresh key and certificate for all names this machine has now, PEM.
func makeSelfSigned(host string, now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "CloudCrowd server"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(selfSignedLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
		DNSNames: []string{"localhost"}, IPAddresses: localAddresses(),
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		t.DNSNames = append(t.DNSNames, name)
	}
	if host != "" && net.ParseIP(host) == nil && host != t.DNSNames[len(t.DNSNames)-1] {
		t.DNSNames = append(t.DNSNames, host)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	return b.Bytes(), nil
}

// writeSelfSigned writes the file whole or not at all.
func writeSelfSigned(file string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".tls-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
