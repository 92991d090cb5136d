package platform

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/cluster"
	"cloudcrowd.dev/cloudcrowd/internal/filelock"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Cluster says how a server works together with others on the same PostgreSQL database. The zero value is right for one server, and for several that reach each
// other at the address they listen on.
type Cluster struct {
	Listen    string        // host:port for the other servers; "": the host of ServerConfig.Listen and a free port
	Advertise string        // host:port under which they reach it, if not the same
	Bus       string        // addresses of a NATS to be used instead of the embedded ones
	Creds     string        // file with NATS credentials for it
	Trust     string        // PEM file with the authorities that may sign its certificate; "": those the system trusts
	Shards    int           // of a new database; 0: DefaultShards
	Lease     time.Duration // how long a server that is not heard of keeps its shards; 0: cluster.DefaultLease
}

// DefaultShards is how many shards a new database for several servers has: two, three or six servers have equal parts.
const DefaultShards = 6

// Keys of the store's settings.
const (
	shardsKey      = "cluster/shards"
	identityKey    = "cluster/identity"    // of servers among themselves
	certificateKey = "cluster/certificate" // for clients and workers, if it is self-signed
	crowdKey       = "cluster/crowd"
)

// serverIDFile names the server that uses a data directory, so that after a restart it takes back what its earlier life had.
const serverIDFile = "server.id"

// ServerLockFile is held by the server that uses a data directory, if its store is elsewhere.
const ServerLockFile = serverIDFile + ".lock"

// shardsOf is how many shards the store has. It is decided once, when the first server starts.
func shardsOf(ctx context.Context, s store.Store, wanted int) (int, error) {
	n := wanted
	if n <= 0 {
		n = DefaultShards
	}
	heads, err := s.ShardList(ctx)
	if err != nil {
		return 0, err
	}
	if len(heads) > 0 { // of before there could be several
		n = len(heads)
	}
	kept, err := s.KeepSetting(ctx, shardsKey, strconv.Itoa(n))
	if err != nil {
		return 0, err
	}
	return checkShards(wanted, kept)
}

// checkShards reads how many shards the store has, and refuses another number.
func checkShards(wanted int, kept string) (int, error) {
	n, err := strconv.Atoi(kept)
	if err != nil || n < 1 {
		return 0, cloudcrowd.Errorf(cloudcrowd.Internal, "the store's setting %s is %q, not a number of shards", shardsKey, kept)
	}
	if wanted > 0 && wanted != n {
		return 0, cloudcrowd.Fieldf("shards", "this database has %d shards, which cannot be changed; %d were asked for", n, wanted).WithHint("leave the setting out")
	}
	return n, nil
}

// serverID reads or makes the name of the server of a data directory, and keeps a second one out.
func serverID(dataDir string) (id string, lock *filelock.Lock, err error) {
	path := filepath.Join(dataDir, serverIDFile)
	lock, owner, err := filelock.Take(filepath.Join(dataDir, ServerLockFile))
	if errors.Is(err, filelock.ErrLocked) {
		return "", nil, cloudcrowd.Fieldf("data", "%s is used by %s", dataDir, owner).WithHint("give every server a folder of its own")
	}
	if err != nil {
		return "", nil, err
	}
	b, err := os.ReadFile(path)
	if id = strings.TrimSpace(string(b)); err == nil && id != "" {
		return id, lock, nil
	}
	if err == nil || errors.Is(err, os.ErrNotExist) {
		id = strings.ToLower(rand.Text()[:12])
		err = writeFile(path, []byte(id+"\n"))
	}
	if err != nil {
		return "", nil, errors.Join(err, lock.Release())
	}
	return id, lock, nil
}

// openCluster prepares the server's place among the servers of its store. With SQLite it is alone.
func (s *Server) openCluster(ctx context.Context, listening string) (cluster.Config, error) {
	c := cluster.Config{Store: s.store, URL: s.url, Version: s.cfg.Version, Prices: s.cfg.Prices, Lease: s.cfg.Cluster.Lease, Log: s.log}
	if s.cfg.Database.Address == "" {
		c.ID, c.Alone, c.Shards = "alone", true, 1
		return c, nil
	}
	var err error
	if c.ID, s.idLock, err = serverID(s.cfg.DataDir); err != nil {
		return c, err
	}
	if c.Shards, err = shardsOf(ctx, s.store, s.cfg.Cluster.Shards); err != nil {
		return c, err
	}
	made, err := cluster.NewIdentity(time.Now())
	if err != nil {
		return c, err
	}
	text, err := s.store.KeepSetting(ctx, identityKey, made)
	if err != nil {
		return c, err
	}
	identity, err := cluster.ParseIdentity(text)
	if err != nil {
		return c, err
	}
	crowd, err := s.store.KeepSetting(ctx, crowdKey, strings.ToLower(rand.Text()[:12]))
	if err != nil {
		return c, err
	}
	others, err := s.store.Servers(ctx)
	if err != nil {
		return c, err
	}
	bus := cluster.BusConfig{Name: c.ID, Crowd: crowd, Listen: s.cfg.Cluster.Listen, Advertise: s.cfg.Cluster.Advertise, Identity: identity, External: s.cfg.Cluster.Bus,
		Creds: s.cfg.Cluster.Creds, Trust: s.cfg.Cluster.Trust, Log: s.log}
	if bus.Listen == "" {
		bus.Listen = beside(listening)
	}
	for _, o := range others {
		if o.ID != c.ID && o.Bus != "" {
			bus.Peers = append(bus.Peers, o.Bus)
		}
	}
	if s.bus, err = cluster.OpenBus(bus); err != nil {
		return c, err
	}
	c.Bus = s.bus
	return c, nil
}

// beside is any free port at the host of an address.
func beside(listening string) string {
	if i := strings.LastIndexByte(listening, ':'); i >= 0 {
		return listening[:i] + ":0"
	}
	return ":0"
}
