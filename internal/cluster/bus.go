package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

// BusConfig says how servers reach each other.
type BusConfig struct {
	Name      string   // of this server, unique
	Crowd     string   // prefix of all subjects, so that crowds may share an external NATS
	Listen    string   // host:port of the embedded server for the other servers; port 0 chooses one
	Advertise string   // host:port under which they reach it; "": what it listens on
	Peers     []string // host:port of servers that run already
	Identity  tls.Certificate
	External  string // nats:// addresses, separated by commas, of a NATS that is used instead of embedded ones
	Creds     string // file with NATS credentials for it; "": none
	Trust     string // PEM file with the authorities that may sign its certificate, which it then must have; "": those the system trusts
	Log       *slog.Logger
}

// Bus is this server's end of the NATS that connects servers. What it carries may be lost at the price of a delay: every caller asks again.
type Bus struct {
	name     string         // of this server
	embedded *server.Server // nil with an external one
	conn     *nats.Conn
	secret   string // password of this process
	prefix   string
	address  string
	log      *slog.Logger
	calls    *calls
	detours  detours
	options  server.Options // of the embedded server, as it was started

	mu    sync.Mutex
	peers []string // to whom it connects
}

const (
	maxMessage = 512 << 10 // bytes of one part of a request or answer; longer ones go in several
	// maxPayload is what the bus must take at once: a frame of the worker protocol, which is passed on as it is, and headers. External servers take half of it
	// unless told otherwise.
	maxPayload = 2 * wire.MaxFrame
	busStart   = 10 * time.Second
)

// OpenBus starts or joins the bus. Errors have field cluster.listen or bus.
func OpenBus(c BusConfig) (*Bus, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	b := &Bus{name: c.Name, secret: rand.Text() + rand.Text(), prefix: "cloudcrowd." + c.Crowd + ".", log: c.Log,
		detours: detours{heard: map[string]*hearing{}, lines: map[string]lines{}}}
	options := []nats.Option{nats.Name(c.Name), nats.MaxReconnects(-1), nats.ReconnectWait(100 * time.Millisecond), nats.ReconnectJitter(50*time.Millisecond, 100*time.Millisecond),
		nats.ReconnectBufSize(-1), // what was not sent is sent again by whoever wants an answer: nothing old is to arrive late
		nats.NoEcho(), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.Log.Warn("bus", "err", err) })}
	if c.External == "" {
		if err := b.embed(c); err != nil {
			return nil, err
		}
		options = append(options, nats.InProcessServer(b.embedded), nats.Token(b.secret))
	}
	if c.Creds != "" {
		options = append(options, nats.UserCredentials(c.Creds))
	}
	if c.Trust != "" {
		options = append(options, nats.RootCAs(c.Trust))
	}
	conn, err := nats.Connect(c.External, options...)
	if err != nil {
		b.stopEmbedded()
		return nil, cloudcrowd.Fieldf("bus", "the bus between servers cannot be reached at %s: %v", withoutSecrets(c.External), err)
	}
	b.conn = conn
	if takes := conn.MaxPayload(); takes < maxPayload {
		b.Close()
		return nil, cloudcrowd.Fieldf("bus", "the NATS at %s takes messages of %s, servers need %s", withoutSecrets(c.External), cloudcrowd.Bytes(takes), cloudcrowd.Bytes(maxPayload)).
			WithHint("set max_payload: 2MB in its configuration, and in that of every server and leaf node that it is connected to")
	}
	if b.calls, err = newCalls(b); err == nil {
		err = conn.FlushTimeout(busStart)
	}
	if err != nil {
		b.Close()
		return nil, cloudcrowd.Fieldf("bus", "the bus between servers does not work: %v", err)
	}
	return b, nil
}

// embed starts a NATS server that has no clients but this process and forms a cluster with those of the other servers.
func (b *Bus) embed(c BusConfig) error {
	host, port, err := splitHostPort(c.Listen)
	if err != nil {
		return cloudcrowd.Fieldf("cluster.listen", "%q is not HOST:PORT", c.Listen).WithHint("port 0 chooses a free one")
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	b.peers = slices.Sorted(slices.Values(c.Peers))
	b.options = server.Options{
		ServerName: c.Name, NoSigs: true,
		// Routes start after a listener for clients has. Nobody knows how to use this one.
		Host: "127.0.0.1", Port: server.RANDOM_PORT,
		Authorization: b.secret, // by a token: a connection by name and password does not survive Meet
		NoLog:         true, NoSystemAccount: true,
		MaxPayload: maxPayload, MaxPending: 256 << 20, WriteDeadline: 5 * time.Second, PingInterval: 2 * time.Second, MaxPingsOut: 2,
		Routes: routesTo(b.peers),
		// One connection to each: what goes between servers takes one of several anyway, and of one that is cut nothing is left that looks whole.
		Cluster: server.ClusterOpts{PoolSize: -1, Name: c.Crowd, Host: host, Port: port, Advertise: c.Advertise, TLSConfig: mutual(c.Identity), TLSTimeout: 5, ConnectBackoff: false,
			PingInterval: time.Second, MaxPingsOut: 3},
	}
	o := b.options // the server writes into its own
	b.embedded, err = server.NewServer(&o)
	if err != nil {
		return cloudcrowd.Fieldf("cluster.listen", "the bus between servers cannot be set up: %v", err)
	}
	b.embedded.SetLoggerV2(busLog{c.Log}, false, false, false)
	b.embedded.Start()
	if !b.embedded.ReadyForConnections(busStart) {
		b.stopEmbedded()
		return cloudcrowd.Fieldf("cluster.listen", "the bus between servers did not start on %s; something else may use the port", c.Listen)
	}
	b.address = c.Advertise
	if b.address == "" {
		b.address = b.embedded.ClusterAddr().String()
		if h, p, err := net.SplitHostPort(b.address); err == nil && (net.ParseIP(h).IsUnspecified()) {
			b.address = net.JoinHostPort(ownName(), p)
		}
	}
	return nil
}

func routesTo(peers []string) (routes []*url.URL) {
	for _, p := range peers {
		routes = append(routes, &url.URL{Scheme: "nats", Host: p})
	}
	return routes
}

// Meet tells the embedded server where the other servers are now: it connects to them and stays connected, and gives up those that are not among them. Servers
// that started at the same moment did not know of each other, and one that was started again may be elsewhere.
func (b *Bus) Meet(peers []string) {
	if b.embedded == nil {
		return
	}
	peers = slices.Sorted(slices.Values(peers))
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Equal(peers, b.peers) {
		return
	}
	o := b.options
	o.Routes = routesTo(peers)
	if err := b.embedded.ReloadOptions(&o); err != nil {
		b.log.Warn("bus: the other servers cannot be met", "err", err)
		return
	}
	b.peers = peers
}

// Address is where other servers reach the embedded server; "" with an external one.
func (b *Bus) Address() string { return b.address }

// Close ends the connection and the embedded server.
func (b *Bus) Close() {
	if b.conn != nil {
		b.conn.Close()
	}
	b.stopEmbedded()
}

func (b *Bus) stopEmbedded() {
	if b.embedded != nil {
		b.embedded.Shutdown()
		b.embedded.WaitForShutdown()
	}
}

// Flush waits until what was published has gone out, and for a moment until the servers that this one has a line to have it: one that stops gives up what is on the way.
func (b *Bus) Flush(ctx context.Context) {
	_ = b.conn.FlushWithContext(ctx) // what is lost only delays
	ctx, cancel := context.WithTimeout(ctx, answerSoon)
	defer cancel()
	var all sync.WaitGroup
	for _, server := range b.direct() {
		all.Go(func() { _, _ = b.requestOf(ctx, server, "", "nothing", "", nil) }) // the refusal comes after what was said before
	}
	all.Wait()
}

// publish sends one message to all that nobody answers.
func (b *Bus) publish(subject string, header nats.Header, body []byte) {
	b.publishTo("", subject, header, body)
	for _, server := range b.distant() {
		b.publishTo(server, subject, header, body)
	}
}

// publishTo sends one message that nobody answers to whoever hears the subject, which is a server, as far as is known; "" if that is not known.
func (b *Bus) publishTo(server, subject string, header nats.Header, body []byte) {
	if err := b.send(server, &nats.Msg{Subject: b.prefix + subject, Header: header, Data: body}); err != nil {
		b.log.Debug("bus: not sent", "subject", subject, "err", err)
	}
}

// busName is what servers present to each other; the name in it is not looked at by anything else.
const busName = "cloudcrowd-bus"

// NewIdentity makes what servers of one crowd know each other by: a certificate with its key, in PEM. All servers have the same, kept in the store.
func NewIdentity(now time.Time) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: busName}, DNSNames: []string{busName},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.AddDate(100, 0, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return "", err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), nil
}

// ParseIdentity reads what NewIdentity made.
func ParseIdentity(text string) (tls.Certificate, error) {
	c, err := tls.X509KeyPair([]byte(text), []byte(text))
	if err == nil && c.Leaf == nil {
		c.Leaf, err = x509.ParseCertificate(c.Certificate[0])
	}
	if err != nil {
		return c, fmt.Errorf("the identity of the servers, kept in the store, cannot be read: %w", err)
	}
	return c, nil
}

// mutual lets both ends show the crowd's identity and accept nothing else.
func mutual(identity tls.Certificate) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(identity.Leaf)
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{identity}, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		ServerName: busName, VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) == 0 || string(raw[0]) != string(identity.Certificate[0]) {
				return errors.New("not a server of this crowd")
			}
			return nil
		}}
}

func splitHostPort(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return host, int(n), err
}

// ownName is an address of this machine that others may reach: the one it would use to go out, or loopback.
func ownName() string {
	c, err := net.Dial("udp", "192.0.2.1:9") // sends nothing
	if err != nil {
		return "127.0.0.1"
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).IP.String()
}

func withoutSecrets(addresses string) string {
	list := strings.Split(addresses, ",")
	for i, a := range list {
		if u, err := url.Parse(a); err == nil {
			list[i] = u.Redacted()
		}
	}
	return strings.Join(list, ",")
}

// busLog passes on what the embedded server logs.
type busLog struct{ log *slog.Logger }

func (l busLog) Noticef(format string, v ...any) { l.log.Debug("bus: " + fmt.Sprintf(format, v...)) }
func (l busLog) Warnf(format string, v ...any)   { l.log.Debug("bus: " + fmt.Sprintf(format, v...)) }
func (l busLog) Fatalf(format string, v ...any)  { l.log.Error("bus: " + fmt.Sprintf(format, v...)) }
func (l busLog) Errorf(format string, v ...any)  { l.log.Debug("bus: " + fmt.Sprintf(format, v...)) }
func (l busLog) Debugf(string, ...any)           {}
func (l busLog) Tracef(string, ...any)           {}
