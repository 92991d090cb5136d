// Package platform wires the parts into programs: the whole server in one process, the check of its data directory, and the dispatch benchmark. The command line
// and the end-to-end tests start the same thing.
package platform

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/api"
	"cloudcrowd.dev/cloudcrowd/internal/authz"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/cluster"
	"cloudcrowd.dev/cloudcrowd/internal/console"
	"cloudcrowd.dev/cloudcrowd/internal/filelock"
	"cloudcrowd.dev/cloudcrowd/internal/gateway"
	"cloudcrowd.dev/cloudcrowd/internal/jobfile"
	"cloudcrowd.dev/cloudcrowd/internal/link"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox/wasm"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
	"cloudcrowd.dev/cloudcrowd/internal/tlsconf"
)

// OperatorAccount is the account of the administrator made at first start. Machines that join by its invites are house machines: requesters trust
// them as they trust the server.
const OperatorAccount cloudcrowd.AccountID = "admin"

// FirstCredits is what the administrator's account is given at first start, so that the first job can be paid.
const FirstCredits = 1000 * cloudcrowd.Credit

// ServerConfig is what a server needs. Zero fields take defaults.
type ServerConfig struct {
	DataDir  string
	Database Database
	Cluster  Cluster
	Listen   string // host:port; port 0 chooses one
	Domain   string // a certificate is obtained for it
	CertFile string
	KeyFile  string
	Email    string // for the certificate authority
	Prices   cloudcrowd.Prices
	Sharing  cloudcrowd.Sharing // of the workers among requesters
	LeaseTTL time.Duration
	Version  string
	Log      *slog.Logger

	PublicURL string        // of links, if others reach the server by another name; "": what it listens on tells
	Drain     time.Duration // how long requests under way may take when the server stops; 0: DefaultDrain

	Blobs         string // address of a bucket; "": in the data directory
	BlobsIndirect bool   // workers read blobs through the server even where they could read them from the bucket
}

// DefaultDrain is how long requests under way may take when a server stops.
const DefaultDrain = 10 * time.Second

// Server is a running server.
type Server struct {
	cfg      ServerConfig
	log      *slog.Logger
	store    store.Store
	blobs    blob.Store
	node     *cluster.Node
	bus      *cluster.Bus
	idLock   *filelock.Lock
	gateway  *gateway.Gateway
	api      *api.Handler
	http     *http.Server
	answer   atomic.Pointer[http.Handler] // what requests get: at first that the server is starting
	metrics  *metrics
	url, pin string
	token    string
	invite   string
	served   chan error
	cancel   context.CancelFunc

	stopConsole func()
	drainOnce   sync.Once
	drainUntil  atomic.Int64  // Unix microseconds
	drained     chan struct{} // closed when a drain that was asked for has waited
	once        sync.Once
	stopErr     error
	stopped     chan struct{}
}

// Files of a data directory.
const (
	databaseFile = "cloudcrowd.db"
	secretsFile  = "admin.json"

	// LockFile is held by the server that owns the directory.
	LockFile = databaseFile + ".lock"
	// CertificateFile holds the self-signed certificate and its key.
	CertificateFile = tlsconf.SelfSignedFile
)

// StartServer opens the data directory and serves. When it returns, the server accepts requests and has taken up all open jobs.
func StartServer(ctx context.Context, c ServerConfig) (_ *Server, err error) {
	tuneMemory()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Prices == (cloudcrowd.Prices{}) {
		c.Prices = cloudcrowd.DefaultPrices
	}
	if c.Drain <= 0 {
		c.Drain = DefaultDrain
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return nil, cloudcrowd.Fieldf("data", "the data directory cannot be made: %v", err)
	}
	s := &Server{cfg: c, log: c.Log, served: make(chan error, 1), stopped: make(chan struct{}), drained: make(chan struct{})}
	defer func() {
		if err != nil {
			_ = s.Stop(context.WithoutCancel(ctx))
		}
	}()
	db, err := c.Database.open(ctx, c.DataDir)
	if err != nil {
		return nil, err
	}
	s.store = db
	if err := checkSums(ctx, db, c.Log); err != nil {
		return nil, err
	}
	if s.blobs, err = openBlobs(ctx, c); err != nil {
		return nil, err
	}
	if c.Database.Address != "" {
		if err := sameBlobs(ctx, s.store, c); err != nil {
			return nil, err
		}
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, cloudcrowd.Fieldf("listen", "cannot listen on %s: %v", c.Listen, listenCause(err)).
			WithHint("give HOST:PORT with an address of this machine and a port that nothing else uses; port 0 chooses one")
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	var certificate *tls.Config
	own := tlsconf.Config{Listen: listener.Addr().String(), Domain: c.Domain, CertFile: c.CertFile, KeyFile: c.KeyFile, Email: c.Email, DataDir: c.DataDir,
		Context: background, Log: c.Log}
	if c.Database.Address != "" { // other servers may be there, or come
		own.Keep = func(ctx context.Context, text string) (string, error) {
			return s.store.KeepSetting(ctx, certificateKey, text)
		}
	}
	certificate, s.pin, s.url, err = tlsconf.Server(own)
	if err != nil {
		_ = listener.Close()
		return nil, err
	}
	if c.PublicURL != "" {
		s.url = strings.TrimSuffix(c.PublicURL, "/")
	}
	s.answerWith(api.Starting(c.Version))
	s.http = api.Server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*s.answer.Load()).ServeHTTP(w, r) }), certificate, c.Log)
	go func() {
		l := net.Listener(listener)
		if certificate != nil {
			l = tls.NewListener(listener, certificate)
		}
		s.served <- s.http.Serve(l)
	}()
	signer, err := authz.LoadSigner(ctx, s.store)
	if err != nil {
		return nil, err
	}
	if err := s.assemble(ctx, signer, listener.Addr().String()); err != nil {
		return nil, err
	}
	if err := s.firstStart(ctx); err != nil {
		return nil, err
	}
	s.answerWith(s.api)
	return s, nil
}

func (s *Server) answerWith(h http.Handler) { s.answer.Store(&h) }

// listenCause is err without the address, which the message names already.
func listenCause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// assemble makes the parts and connects them.
func (s *Server) assemble(ctx context.Context, signer *authz.Signer, listening string) error {
	s.metrics = newMetrics(s)
	c, err := s.openCluster(ctx, listening)
	if err != nil {
		return err
	}
	c.Open = func(t taskmanager.Config) *taskmanager.Manager {
		t.Committed, t.Store, t.Blobs, t.Signer, t.Validate, t.Check, t.Merge = s.metrics.committed, s.store, s.blobs, signer, checkSpec, wasm.Check, Merge
		t.Prices, t.Sharing, t.Operator, t.LeaseTTL, t.Version, t.Log = s.cfg.Prices, s.cfg.Sharing, OperatorAccount, s.cfg.LeaseTTL, s.cfg.Version, s.log
		return taskmanager.New(t)
	}
	s.node = cluster.New(c)
	backend := s.node.Backend()
	s.gateway, err = gateway.New(gateway.Config{Crowd: s.node.Crowd(), Admission: admission{s.store}, Log: s.log})
	if err != nil {
		return err
	}
	s.node.Crowd().Through(s.gateway)
	if err := s.gateway.Start(ctx); err != nil {
		return err
	}
	if err := s.node.Start(ctx); err != nil {
		return err
	}
	web := console.New(console.Config{Backend: backend, Blobs: s.blobs, Directory: s.store, Auth: principals{}, Version: s.cfg.Version, SignOut: "/session/end",
		JoinLink: s.makeJoinLink, Log: s.log})
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	sampling := make(chan struct{})
	go func() { // samples the overview's figures until the server stops
		defer close(sampling)
		_ = web.Run(background) // ends with its context
	}()
	s.stopConsole = func() { stop(); <-sampling }
	s.api, err = api.New(api.Config{Backend: backend, Blobs: s.blobs, Directory: s.store, Signer: signer, Version: s.cfg.Version, PublicURL: s.url, Pin: s.pin,
		Strict: s.cfg.Domain != "", Indirect: s.cfg.BlobsIndirect, Console: web, Worker: s.gateway.Handler(), Log: s.log, Ready: s.node.Ready, Drain: s.Drain,
		Metrics: s.metrics.handler()})
	return err
}

// checkSpec brings a spec that the API received into its normal form and checks it.
func checkSpec(spec *cloudcrowd.JobSpec) error {
	if err := jobfile.Normalise(spec); err != nil {
		return err
	}
	return jobfile.Validate(spec)
}

// admission lets registered, unrevoked devices connect.
type admission struct{ store.Directory }

func (a admission) Admit(ctx context.Context, id cloudcrowd.WorkerID) error {
	w, err := a.Worker(ctx, id)
	if err == nil && w.Revoked {
		return cloudcrowd.Errorf(cloudcrowd.Forbidden, "this worker was revoked by the operator")
	}
	return err
}

// principals tells the console who asks: the API has authenticated the request.
type principals struct{}

func (principals) Who(r *http.Request) (cloudcrowd.AccountID, cloudcrowd.Role, bool) {
	p := authz.FromContext(r.Context())
	return p.Account, p.Role, p.Account != ""
}

// URL is where API and console are.
func (s *Server) URL() string { return s.url }

// AdminToken is an operator's token.
func (s *Server) AdminToken() string { return s.token }

// AdminLink opens the console, or configures the command line, as the operator.
func (s *Server) AdminLink() string {
	return link.Link{Kind: link.Admin, Server: s.url, Secret: s.token, Pin: s.pin}.String()
}

// JoinLink lets workers join as house machines of the operator.
func (s *Server) JoinLink() string {
	return link.Link{Kind: link.Join, Server: s.url, Secret: s.invite, Pin: s.pin}.String()
}

func (s *Server) makeJoinLink(ctx context.Context, owner cloudcrowd.AccountID, maxUses int, ttl time.Duration) (string, cloudcrowd.Invite, error) {
	invite, secret, err := authz.NewInvite(ctx, s.store, owner, maxUses, ttl, time.Now())
	if err != nil {
		return "", invite, err
	}
	return link.Link{Kind: link.Join, Server: s.url, Secret: secret, Pin: s.pin}.String(), invite, nil
}

// Wait blocks until the server has stopped and says why; nil after Stop.
func (s *Server) Wait() error {
	select {
	case <-s.stopped:
		return nil
	case err := <-s.served:
		if errors.Is(err, http.ErrServerClosed) {
			<-s.stopped
			return nil
		}
		return err
	case err := <-s.node.Failed():
		return err
	}
}

// Stop refuses new requests, lets running ones end for ServerConfig.Drain, tells workers, commits and closes everything. Leases survive. Safe twice.
func (s *Server) Stop(ctx context.Context) error {
	s.once.Do(func() {
		defer close(s.stopped)
		var errs []error
		s.refuseWork("the server is stopping")
		if s.cancel != nil {
			s.cancel()
		}
		if s.api != nil {
			s.api.Close()
		}
		if s.stopConsole != nil {
			s.stopConsole()
		}
		if s.http != nil {
			limited, cancel := context.WithTimeout(ctx, s.cfg.Drain)
			if err := s.http.Shutdown(limited); err != nil {
				_ = s.http.Close()
			}
			cancel()
		}
		if s.gateway != nil {
			limited, cancel := context.WithTimeout(ctx, farewellLimit)
			s.gateway.Farewell(limited, cloudcrowd.Errorf(cloudcrowd.Unavailable, "%s", goodbye))
			cancel()
			errs = append(errs, s.gateway.Stop(ctx))
		}
		if s.node != nil {
			errs = append(errs, s.node.Stop(ctx))
		}
		if s.bus != nil {
			s.bus.Close()
		}
		if s.blobs != nil {
			closeBlobs(s.blobs)
		}
		if s.store != nil {
			errs = append(errs, s.store.Close())
		}
		errs = append(errs, s.idLock.Release())
		s.stopErr = errors.Join(errs...)
	})
	<-s.stopped
	return s.stopErr
}
