package tlsconf

import (
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

// lookEvery is how long a certificate from files is used before the files are looked at again.
const lookEvery = 10 * time.Second

func fromFiles(c Config, host, port string) (*tls.Config, string, string, error) {
	f := &files{cert: c.CertFile, key: c.KeyFile, log: c.Log, now: time.Now}
	if err := f.load(); err != nil {
		return nil, "", "", &cloudcrowd.Error{Code: cloudcrowd.Invalid, Field: "tls", Msg: "the certificate cannot be used", Err: err}
	}
	config := base()
	config.GetCertificate = f.get
	leaf := f.current.Leaf
	pin := ""
	if leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) == nil {
		pin = client.Fingerprint(leaf) // nobody else vouches for it
	}
	name := reachable(host)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		for _, n := range leaf.DNSNames {
			if !strings.HasPrefix(n, "*.") {
				name = n
				break
			}
		}
	}
	return config, pin, address(name, port), nil
}

// files serves a certificate from files and follows their changes, so that a renewal needs no restart. While new files cannot be read, or do not
// fit each other yet, the old certificate serves on.
type files struct {
	cert, key string
	log       *slog.Logger
	now       func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	seen    [2]os.FileInfo
	looked  time.Time
}

func (f *files) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now().Sub(f.looked) >= lookEvery {
		f.looked = f.now()
		if f.changed() {
			if err := f.load(); err != nil {
				f.log.Warn("the changed certificate cannot be used; the old one serves on", "file", f.cert, "err", err)
			} else {
				f.log.Info("certificate read again", "file", f.cert, "until", f.current.Leaf.NotAfter)
			}
		}
	}
	return f.current, nil
}

func (f *files) changed() bool {
	for i, name := range []string{f.cert, f.key} {
		info, err := os.Stat(name)
		if err == nil && (info.ModTime() != f.seen[i].ModTime() || info.Size() != f.seen[i].Size()) {
			return true
		}
	}
	return false
}

func (f *files) load() error {
	var seen [2]os.FileInfo
	for i, name := range []string{f.cert, f.key} {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		seen[i] = info
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return err
	}
	f.current, f.seen = &pair, seen
	return nil
}
