package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/cluster"
	"cloudcrowd.dev/cloudcrowd/internal/link"
	"cloudcrowd.dev/cloudcrowd/internal/platform"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
	"github.com/spf13/cobra"
)

var serverPage = page{
	use:   "server [options]",
	short: "run a server",
	text: `
Starts a server and serves until Ctrl-C: the API, the console, and the bus
that workers connect to. Everything it knows is kept in the data folder; a
server that is started again on the same folder, even after it was killed,
continues all jobs. One server owns a folder at a time.

With --store, journal, ledger and directory are in a PostgreSQL database
instead of the data folder. Its password does not belong on the command line:
give it by --store-password-file, by PGPASSWORD or a PGPASSFILE, or set the
whole address by CLOUDCROWD_SERVER_STORE or in the configuration file.

Several servers with the same --store are one crowd: each owns a part of the
jobs, answers for all, and takes over from one that is not heard of for
--failover. They find each other in the database and talk over NATS, each at
--cluster-listen, or all over one that --bus names. They need one store for
blobs (--blobs). docs/cluster.md tells more.

When it serves, it prints the address of the console, an admin link (a secret:
it may do everything) and a join link (a secret: machines that join with it
are the operator's own and earn for his account, "admin"; "workers invite"
makes links for others), and stores the address as the context "local", so
that other commands on this machine find it.

On a loopback address it speaks plain HTTP. On any other address it speaks
TLS: with --domain by a certificate that it gets and renews by ACME, with
--cert and --key by those files, otherwise by a certificate of its own, whose
fingerprint is part of the links, so that machines join securely without any
set-up.

The first Ctrl-C, SIGTERM, or "cloudcrowd drain" stops in order: new jobs and
workers are refused, no lease is given, requests under way have --drain to
end, workers are told, what is decided is written. Attempts go on at the
workers, which deliver them when the server is back. A second Ctrl-C leaves at
once; nothing that was acknowledged is lost.

Blobs, the files of jobs and their results, are kept in the data folder or,
with --blobs, in a bucket: s3://BUCKET?region=REGION, the same with
endpoint=URL for other S3-compatible services, gs://BUCKET or
azblob://CONTAINER?storage_account=NAME. Credentials are found as the tools of
the service find them. Workers then read from the bucket directly, unless they
cannot reach it or --blobs-direct=false.

Every option can also be set by an environment variable and in a configuration
file; see "cloudcrowd help environment".
`,
	examples: `
cloudcrowd server
cloudcrowd server --listen 0.0.0.0:8443 --data /var/lib/cloudcrowd
cloudcrowd server --domain pool.example.org --email ops@example.org
cloudcrowd server --store postgres://cloudcrowd@db.example.org/cloudcrowd
cloudcrowd server --store postgres://cloudcrowd@db.example.org/cloudcrowd
  --cluster-listen 10.0.0.5:8701 --listen 10.0.0.5:8443 --blobs s3://pool
cloudcrowd server --blobs 's3://pool?endpoint=https://minio.example.org'
cloudcrowd server --config server.yaml --json
`,
	see: []string{"worker", "login", "fsck", "workers invite", "help environment"},
}

// Defaults of the server's options.
const (
	defaultListen = "127.0.0.1:8700"
	defaultData   = "cloudcrowd-data"
	stopLimit     = 20 * time.Second // for stopping in order, beside what --drain gives to requests
	longestDrain  = time.Hour
	leastLease    = time.Second // a shorter one would be lost to a busy network
	leastFailover = 500 * time.Millisecond
	mostShards    = 1024
	leastHalfLife = cloudcrowd.Duration(time.Second)
)

// serverSettings are all settings of a server. The zero value of a field means its default.
type serverSettings struct {
	DataDir  string            // everything the server knows, but for the store if that is elsewhere
	Store    platform.Database // zero means SQLite in DataDir
	Listen   string            // host:port; port 0 takes any free one
	Domain   string            // get certificates for this name by ACME
	Email    string            // contact given to the certificate authority
	CertFile string            // PEM; with KeyFile instead of Domain
	KeyFile  string            // PEM
	Prices   cloudcrowd.Prices // posted
	Lease    time.Duration     // how long a worker may be silent before its work goes elsewhere
	LogLevel string            // debug, info, warn, error

	Sharing     cloudcrowd.Sharing // of the workers among requesters
	PublicURL   string             // where others reach the server; empty: Listen or Domain tell
	Drain       time.Duration      // how long requests under way may take when the server stops
	NoContext   bool               // do not store the server as the context "local"
	Blobs       string             // address of a bucket; "": in DataDir
	BlobsDirect bool               // workers may read from the bucket; of no meaning without one
	Cluster     platform.Cluster
}

func (s *serverSettings) flags(c *cobra.Command) {
	s.Prices = cloudcrowd.DefaultPrices
	f := c.Flags()
	f.String("config", "", "read settings from this YAML `FILE`")
	f.StringVar(&s.DataDir, "data", defaultData, "keep everything in this `FOLDER`")
	storeFlags(c, &s.Store)
	f.StringVar(&s.Blobs, "blobs", "", "keep blobs in the bucket at this `URL` (s3://, gs://, azblob://) instead of the data folder")
	f.BoolVar(&s.BlobsDirect, "blobs-direct", true, "let workers read from the bucket without going through the server")
	f.StringVar(&s.Listen, "listen", defaultListen, "`ADDRESS` and port to serve on")
	f.StringVar(&s.Domain, "domain", "", "get certificates for this `NAME` by ACME; needs port 443 from outside")
	f.StringVar(&s.Email, "email", "", "contact `ADDRESS` for the certificate authority")
	f.StringVar(&s.CertFile, "cert", "", "certificate chain, PEM `FILE`")
	f.StringVar(&s.KeyFile, "key", "", "private key of --cert, PEM `FILE`")
	f.Float64Var(&s.Prices.CoreSecond, "price-core-second", s.Prices.CoreSecond, "`MICROCREDITS` for a second of the reference core")
	f.Float64Var(&s.Prices.MemoryGiBSecond, "price-memory-gib-second", s.Prices.MemoryGiBSecond, "`MICROCREDITS` for a GiB of peak memory and second")
	f.Float64Var(&s.Prices.StorageGiB, "price-storage-gib", s.Prices.StorageGiB, "`MICROCREDITS` for a GiB of output kept")
	f.Int64Var((*int64)(&s.Prices.Minimum), "price-minimum", int64(s.Prices.Minimum), "least `MICROCREDITS` for an accepted attempt")
	f.Float64Var(&s.Prices.FeePercent, "fee-percent", s.Prices.FeePercent, "`PERCENT` of every payment that goes to the platform")
	f.DurationVar(&s.Lease, "lease", taskmanager.DefaultLeaseTTL, "give the work of a worker that is silent for so long to others, `DURATION`")
	f.DurationVar((*time.Duration)(&s.Sharing.HalfLife), "half-life", time.Duration(cloudcrowd.DefaultHalfLife), "let what requesters used count half after `DURATION`, for fair shares")
	f.Var(&accountNumbers{each: func(a cloudcrowd.AccountID, w float64) error {
		if !(w > 0 && w <= 1e6) {
			return fmt.Errorf("a weight is above 0, at most 1,000,000")
		}
		set(&s.Sharing.Weights, a, w)
		return nil
	}}, "weight", "give an account a share other than 1, `ACCOUNT=NUMBER`; may be given again")
	f.Var(&accountNumbers{others: true, each: func(a cloudcrowd.AccountID, n float64) error {
		if n != math.Trunc(n) || n < 0 || n > 1e9 {
			return fmt.Errorf("a quota is a whole number of attempts; 0 sets no bound")
		}
		if a == "" {
			s.Sharing.Quota = int(n)
		} else {
			set(&s.Sharing.Quotas, a, int(n))
		}
		return nil
	}}, "quota", "let a requester have at most so many attempts running, `[ACCOUNT=]NUMBER`; may be given again for single accounts")
	f.StringVar(&s.LogLevel, "log", "info", "how much to log on stderr, `LEVEL`: debug, info, warn or error")
	f.StringVar(&s.PublicURL, "public-url", "", "put this `URL` into links, for a server that is reached by another name than it listens on (default: from --domain, the certificate or --listen)")
	f.DurationVar(&s.Drain, "drain", platform.DefaultDrain, "when the server stops, wait so long for requests under way, `DURATION`")
	f.StringVar(&s.Cluster.Listen, "cluster-listen", "", "with --store, `ADDRESS` and port for the other servers (default: the host of --listen, any free port)")
	f.StringVar(&s.Cluster.Advertise, "cluster-advertise", "", "`ADDRESS` and port at which other servers reach --cluster-listen, if another")
	f.StringVar(&s.Cluster.Bus, "bus", "", "connect servers by the NATS at this `URL` (nats://… or tls://…, several with commas) instead of by themselves")
	markSecret(f, "bus", secretUser)
	f.StringVar(&s.Cluster.Creds, "bus-credentials", "", "NATS credentials `FILE` for --bus")
	f.StringVar(&s.Cluster.Trust, "bus-ca", "", "PEM `FILE` of the authorities that may sign the certificate of --bus (default: those the system trusts)")
	f.IntVar(&s.Cluster.Shards, "shards", 0, "cut the jobs of a new database into this `NUMBER` of parts, for good (default: 6)")
	f.DurationVar(&s.Cluster.Lease, "failover", cluster.DefaultLease, "take over from a server that is silent for so long, `DURATION`; the same for all servers")
	f.BoolVar(&s.NoContext, "no-context", false, "do not store the server as the context \"local\"")
}

// check refuses settings that cannot work, naming the option; its error holds all of them.
func (s *serverSettings) check() error {
	var list []error
	refuse := func(bad bool, e *cloudcrowd.Error) {
		if bad {
			list = append(list, e)
		}
	}
	refuse(s.Domain != "" && s.CertFile != "",
		cloudcrowd.Fieldf("--domain", "cannot be used together with --cert").WithHint("choose one: a certificate by ACME, or your own files"))
	refuse((s.CertFile == "") != (s.KeyFile == ""), cloudcrowd.Fieldf("--cert", "--cert and --key belong together"))
	refuse(s.Email != "" && s.Domain == "", cloudcrowd.Fieldf("--email", "is told to a certificate authority, which only --domain asks").
		WithHint("add --domain, or leave --email out"))
	refuse(!(s.Prices.FeePercent >= 0 && s.Prices.FeePercent <= 100), cloudcrowd.Fieldf("--fee-percent", "%v must be from 0 to 100", s.Prices.FeePercent))
	refuse(s.Prices.CoreSecond < 0 || s.Prices.MemoryGiBSecond < 0 || s.Prices.StorageGiB < 0 || s.Prices.Minimum < 0,
		cloudcrowd.Fieldf("--price-…", "prices must not be below zero"))
	refuse(s.Lease != 0 && s.Lease < leastLease, cloudcrowd.Fieldf("--lease", "%s must be at least %s", s.Lease, leastLease))
	refuse(s.Sharing.HalfLife != 0 && s.Sharing.HalfLife < leastHalfLife, cloudcrowd.Fieldf("--half-life", "%s must be at least %s", s.Sharing.HalfLife, leastHalfLife))
	refuse(s.Drain < 0 || s.Drain > longestDrain, cloudcrowd.Fieldf("--drain", "%s must be from 0s to %s", s.Drain, longestDrain))
	refuse(s.DataDir == "", cloudcrowd.Fieldf("--data", "must name a folder"))
	if err := oneOf("--log", s.LogLevel, "debug", "info", "warn", "error"); err != nil {
		list = append(list, err)
	}
	if err := checkStore(s.Store); err != nil {
		list = append(list, err)
	}
	list = append(list, s.checkCluster()...)
	if s.PublicURL != "" {
		if err := link.CheckServer(s.PublicURL); err != nil {
			list = append(list, cloudcrowd.Fieldf("--public-url", "%q cannot be used: %v", s.PublicURL, err).WithHint("write it as https://pool.example.org or https://pool.example.org:8443"))
		}
	}
	return joined(list)
}

// checkCluster refuses settings for several servers that cannot work.
func (s *serverSettings) checkCluster() (list []error) {
	k := &s.Cluster
	alone := s.Store.Address == ""
	for _, o := range []struct{ option, value string }{{"--cluster-listen", k.Listen}, {"--cluster-advertise", k.Advertise}, {"--bus", k.Bus}} {
		if alone && o.value != "" {
			list = append(list, cloudcrowd.Fieldf(o.option, "is for several servers, which need --store").WithHint("a server with SQLite is always alone"))
		}
	}
	for _, o := range []struct{ option, value string }{{"--cluster-listen", k.Listen}, {"--cluster-advertise", k.Advertise}} {
		if o.value == "" {
			continue
		}
		if _, port, err := net.SplitHostPort(o.value); err != nil || port == "" {
			list = append(list, cloudcrowd.Fieldf(o.option, "%q is not HOST:PORT", o.value))
		}
		if k.Bus != "" {
			list = append(list, cloudcrowd.Fieldf(o.option, "cannot be used together with --bus").WithHint("servers meet at the NATS that --bus names; leave %s out", o.option))
		}
	}
	for _, o := range []struct{ option, value string }{{"--bus-credentials", k.Creds}, {"--bus-ca", k.Trust}} {
		if o.value != "" && k.Bus == "" {
			list = append(list, cloudcrowd.Fieldf(o.option, "needs --bus"))
		}
	}
	if k.Shards < 0 || k.Shards > mostShards || k.Shards > 1 && alone {
		list = append(list, cloudcrowd.Fieldf("--shards", "%d must be from 1 to %d, and 1 without --store", k.Shards, mostShards))
	}
	if k.Lease < leastFailover || k.Lease > time.Minute {
		list = append(list, cloudcrowd.Fieldf("--failover", "%s must be from %s to 1m", k.Lease, leastFailover))
	}
	return list
}

// joined is one error of several, nil of none.
func joined(list []error) error {
	if len(list) == 1 {
		return list[0]
	}
	return errors.Join(list...)
}

// serving is the last line of server with --json.
type serving struct {
	URL        string `json:"url"`
	AdminToken string `json:"admin_token"`
	Admin      string `json:"admin"`
	Join       string `json:"join"`
	Data       string `json:"data"`
	Store      string `json:"store,omitempty"` // for people; empty for SQLite in data
	Pid        int    `json:"pid"`
}

func (a *app) serverCommand() *cobra.Command {
	var s serverSettings
	var c *cobra.Command
	c = serverPage.command(0, 0, func(ctx context.Context, _ []string) error {
		if err := cmp.Or(checkStoreOption(c, s.Store), checkBusOption(c, s.Cluster.Bus)); err != nil {
			return err
		}
		if err := a.settle(c); err != nil {
			return err
		}
		if err := s.check(); err != nil {
			return err
		}
		return a.serve(ctx, s, !s.NoContext)
	})
	s.flags(c)
	return c
}

// serve runs a server until ctx ends.
func (a *app) serve(ctx context.Context, s serverSettings, remember bool) error {
	server, err := startServer(ctx, s, a.logger(s.LogLevel))
	if err != nil {
		return err
	}
	t, err := targetOf(server.AdminLink())
	if err != nil {
		return err
	}
	if remember {
		chosen, before, err := a.rememberLocal(t)
		if err != nil {
			a.notef("the context could not be stored: %v\n", err)
		} else if !chosen {
			a.notef("commands still talk to another server; `cloudcrowd login --use local` chooses this one\n")
		}
		defer a.forgetLocal(t, before)
	}
	data, _ := filepath.Abs(s.DataDir)
	if a.json {
		err = a.object(serving{server.URL(), server.AdminToken(), server.AdminLink(), server.JoinLink(), data, s.Store.Name(), os.Getpid()})
	} else {
		a.printf("%s %s\n\n", a.ink.bold("CloudCrowd serves at"), server.URL())
		a.facts("admin link", server.AdminLink(), "join link", server.JoinLink(), "data", data, "store", s.Store.Name())
		a.printf("\nOpen the admin link in a browser for the console. To lend a machine, there:\n  cloudcrowd worker --join '%s'\n\nCtrl-C stops.\n", server.JoinLink())
	}
	if err == nil {
		err = waitFor(ctx, server)
	}
	if stopErr := stopInTime(context.WithoutCancel(ctx), server, s.Drain+stopLimit); err == nil {
		err = stopErr
	}
	return err
}

// stopInTime stops a server within limit, whatever hangs: what was acknowledged is on the disk before and after.
func stopInTime(ctx context.Context, server *platform.Server, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- server.Stop(ctx) }()
	late := time.NewTimer(limit + time.Second)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "the server did not stop in order within %s; nothing that was acknowledged is lost", limit)
	}
}

// waitFor returns when ctx ends or the server has drained (nil), or the server stops by itself (its error).
func waitFor(ctx context.Context, server *platform.Server) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Wait() }()
	select {
	case <-ctx.Done():
		return nil
	case <-server.Drained():
		return nil
	case err := <-failed:
		if err == nil && ctx.Err() == nil {
			err = fmt.Errorf("the server stopped by itself")
		}
		return err
	}
}
