package tlsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"cloudcrowd.dev/cloudcrowd"
)

// fromACME keeps a certificate for the domain: obtained in the background, renewed before its end, stored below DataDir. The authority's
// challenge is answered by TLS-ALPN on the served port itself, or on port 80 if that can be had.
func fromACME(c Config, port string) (*tls.Config, error) {
	if c.DataDir == "" {
		return nil, cloudcrowd.Fieldf("data", "a data directory is needed to keep the certificate in")
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, cloudcrowd.Fieldf("listen", "%q is not a port", port)
	}
	var roots *x509.CertPool
	if c.ACMERoots != "" {
		b, err := os.ReadFile(c.ACMERoots)
		roots = x509.NewCertPool()
		if err != nil || !roots.AppendCertsFromPEM(b) {
			return nil, &cloudcrowd.Error{Code: cloudcrowd.Invalid, Field: "acme_roots", Msg: c.ACMERoots + " holds no certificates", Err: err}
		}
	}
	var config *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return config, nil },
		Logger:           zap.NewNop(),
	})
	config = certmagic.New(cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: filepath.Join(c.DataDir, "acme")},
		Logger:  zap.NewNop(),
		OnEvent: func(_ context.Context, event string, data map[string]any) error {
			switch event {
			case "cert_obtained":
				c.Log.Info("certificate obtained", "domain", c.Domain, "renewal", data["renewal"])
			case "cert_failed":
				c.Log.Error("certificate could not be obtained; trying again", "domain", c.Domain, "err", fmt.Sprint(data["error"]))
			}
			return nil
		},
	})
	config.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(config, certmagic.ACMEIssuer{
		CA: c.ACMEDirectory, Email: c.Email, Agreed: true, AltTLSALPNPort: number, TrustedRoots: roots, Logger: zap.NewNop(),
	})}
	if err := config.ManageAsync(c.Context, []string{c.Domain}); err != nil {
		cache.Stop()
		return nil, &cloudcrowd.Error{Code: cloudcrowd.Invalid, Field: "domain", Msg: "no certificate can be had for " + c.Domain, Err: err}
	}
	context.AfterFunc(c.Context, cache.Stop)
	t := config.TLSConfig()
	t.MinVersion = tls.VersionTLS12
	t.NextProtos = append(base().NextProtos, t.NextProtos...)
	return t, nil
}
