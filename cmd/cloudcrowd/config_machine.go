package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/filelock"
	"cloudcrowd.dev/cloudcrowd/internal/link"
	"cloudcrowd.dev/cloudcrowd/internal/platform"
)

// renewSoon is how long before its end a certificate is mentioned.
const renewSoon = 14 * 24 * time.Hour

// databaseLimit is how long a database may take to answer before it counts as out of reach.
const databaseLimit = 10 * time.Second

// tryMachine looks whether a server with these settings could start here.
func (s *serverSettings) tryMachine(ctx context.Context, f *findings) {
	tryFolder(s.DataDir, f)
	if s.Store.Address != "" {
		s.tryDatabase(ctx, f)
	}
	if s.CertFile != "" {
		tryCertificate(s.CertFile, s.KeyFile, time.Now(), f)
	}
	host, _, err := net.SplitHostPort(s.Listen)
	switch {
	case err != nil:
		f.fault("--listen", cloudcrowd.Errorf(cloudcrowd.Invalid, "%q is not an address", s.Listen), "give HOST:PORT; port 0 chooses one")
		return
	case link.Loopback(host) && s.Domain != "":
		f.note("--domain", "has no effect: on a loopback address the server speaks plain HTTP")
	case link.Loopback(host) && s.CertFile != "" && s.PublicURL == "":
		f.note("--listen", "only this machine reaches a loopback address")
	}
	if owner := cmp.Or(holder(filepath.Join(s.DataDir, platform.LockFile)), holder(filepath.Join(s.DataDir, platform.ServerLockFile))); owner != "" {
		f.note("--data", fmt.Sprintf("a server (%s) runs on %s; whether %s is free was not tried", owner, s.DataDir, s.Listen))
		return
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Listen)
	if err != nil {
		cause := err
		if op, ok := errors.AsType[*net.OpError](err); ok {
			cause = op.Err
		}
		f.fault("--listen", cloudcrowd.Errorf(cloudcrowd.Unavailable, "cannot listen on %s: %v", s.Listen, cause),
			"give an address of this machine and a port that nothing else uses; ports below 1024 need the right to bind them (CAP_NET_BIND_SERVICE)")
		return
	}
	_ = listener.Close() // nothing was accepted
}

// tryDatabase looks whether the database answers, and whether it is meant for servers like this one.
func (s *serverSettings) tryDatabase(ctx context.Context, f *findings) {
	ctx, cancel := context.WithTimeout(ctx, databaseLimit)
	defer cancel()
	notes, err := platform.LookAtDatabase(ctx, s.config(nil))
	if err != nil {
		before := len(f.Problems)
		f.fault("--store", err, "")
		for i := before; i < len(f.Problems); i++ {
			if p := &f.Problems[i]; !strings.HasPrefix(p.Setting, "--") {
				p.Setting = "--" + p.Setting
			}
		}
	}
	for _, note := range notes {
		f.note("--store", note)
	}
}

// tryMachine looks whether a worker with these settings could start here.
func (s *workerSettings) tryMachine(_ context.Context, f *findings) {
	dir, err := s.folder()
	if err != nil {
		f.fault("--data", err, "")
		return
	}
	tryFolder(dir, f)
	if s.Join != "" {
		if l, err := link.Parse(s.Join); err != nil {
			f.fault("--join", err, "")
		} else if l.Kind != link.Join {
			f.fault("--join", cloudcrowd.Fieldf("--join", "this is an admin link; a worker needs the join link"), "`cloudcrowd workers invite` makes one")
		}
	} else if h, err := loadHome(dir); err != nil {
		f.fault("--data", err, "")
	} else if h.Server == "" {
		f.fault("--join", cloudcrowd.Fieldf("--join", "this device has not joined a server yet"), "give it the join link that the server prints")
	}
	if owner := holder(filepath.Join(dir, "lock")); owner != "" {
		f.note("--data", fmt.Sprintf("a worker (%s) runs on %s", owner, dir))
	}
}

// holder is the process that has a lock, in words; "" if nobody has it.
func holder(path string) string {
	if _, err := os.Stat(path); err != nil {
		return "" // taking it would make it
	}
	lock, owner, err := filelock.Take(path)
	if errors.Is(err, filelock.ErrLocked) {
		return owner
	}
	_ = lock.Release()
	return ""
}

// tryFolder looks whether files can be made in a folder, or the folder itself where there is none.
func tryFolder(dir string, f *findings) {
	const hint = "make the folder and give it to the user the program runs as, readable for that user alone (mode 0700)"
	info, err := os.Stat(dir)
	at := dir
	for errors.Is(err, fs.ErrNotExist) && filepath.Dir(at) != at {
		at = filepath.Dir(at)
		info, err = os.Stat(at)
	}
	switch {
	case err != nil:
		f.fault("--data", fmt.Errorf("%s cannot be used: %w", dir, err), hint)
		return
	case !info.IsDir():
		f.fault("--data", cloudcrowd.Fieldf("--data", "%s is not a folder", at), hint)
		return
	case at == dir && info.Mode().Perm()&0o077 != 0 && filepath.Separator == '/':
		f.note("--data", fmt.Sprintf("others may look into %s (mode %04o); it holds secrets: chmod 700", dir, info.Mode().Perm()))
	}
	probe, err := os.CreateTemp(at, ".cloudcrowd-check-*")
	if err != nil {
		f.fault("--data", cloudcrowd.Errorf(cloudcrowd.Forbidden, "%s cannot be written: %v", at, errors.Unwrap(err)), hint)
		return
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
}

// tryCertificate looks whether a certificate can be read and used now.
func tryCertificate(cert, key string, now time.Time, f *findings) {
	for _, file := range []struct{ option, path string }{{"--cert", cert}, {"--key", key}} {
		if b, err := os.ReadFile(file.path); err != nil {
			f.fault(file.option, err, "give a PEM file that the user the server runs as may read")
			return
		} else if len(b) == 0 {
			f.fault(file.option, cloudcrowd.Fieldf(file.option, "%s is empty", file.path), "")
			return
		}
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		f.fault("--cert", cloudcrowd.Errorf(cloudcrowd.Invalid, "%s and %s cannot be used: %v", cert, key, err),
			"--cert is the certificate followed by its chain, --key the private key of that very certificate, both PEM")
		return
	}
	leaf := pair.Leaf
	switch {
	case now.Before(leaf.NotBefore):
		f.fault("--cert", cloudcrowd.Errorf(cloudcrowd.Invalid, "the certificate is valid from %s on", leaf.NotBefore.Format(time.DateTime)), "look at this machine's clock")
	case now.After(leaf.NotAfter):
		f.fault("--cert", cloudcrowd.Errorf(cloudcrowd.Invalid, "the certificate was valid until %s", leaf.NotAfter.Format(time.DateTime)), "renew it; a running server reads the files again by itself")
	case leaf.NotAfter.Sub(now) < renewSoon:
		f.note("--cert", "the certificate is valid until "+leaf.NotAfter.Format(time.DateTime))
	}
}
