package worker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

// tlsConfig accepts the pinned certificate alone, or what the system trusts.
func tlsConfig(pin string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if pin == "" {
		return c
	}
	c.InsecureSkipVerify = true // names and authorities do not matter: VerifyConnection compares the certificate itself
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) > 0 {
			sum := sha256.Sum256(s.PeerCertificates[0].Raw)
			if hex.EncodeToString(sum[:]) == pin {
				return nil
			}
		}
		return errCertificate
	}
	return c
}

// errCertificate says that whoever answers at an address is not of the crowd.
var errCertificate = (&cloudcrowd.Error{Code: cloudcrowd.Forbidden, Msg: "the server's certificate is not the one the link names: this is another server, or somebody listens in"}).
	WithHint("ask for a new join link if the server was set up anew")

func httpClient(pin string) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: tlsConfig(pin), DialContext: (&net.Dialer{Timeout: connectTimeout}).DialContext, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16, MaxConnsPerHost: 32,
			IdleConnTimeout: 90 * time.Second, ResponseHeaderTimeout: time.Minute, TLSHandshakeTimeout: 15 * time.Second,
			HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second}, // a machine that is gone does not close its connections
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a server has no reason to send a worker elsewhere
	}
}

// joinServer presents the invite. It is safe to repeat, also at another server.
func (a *Agent) joinServer(ctx context.Context, server string) error {
	signature, err := a.key.Sign(wire.JoinMessage(a.cfg.Invite, a.id))
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{
		"invite": a.cfg.Invite, "worker": string(a.id), "name": a.cfg.Name, "signature": base64.StdEncoding.EncodeToString(signature),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server+"/v1/join", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.http.Do(req)
	if wrong, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		// Once it has joined, a device waits for a certificate to be renewed; before, waiting would only hide a link that lacks its end.
		return (&cloudcrowd.Error{Code: cloudcrowd.Forbidden, Msg: "nobody this machine trusts vouches for the server's certificate", Err: wrong.Err}).
			WithHint("give the whole join link: its end, &pin=…, names the certificate; shells cut it off unless the link is quoted")
	}
	if err != nil {
		return unreachable(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return problem(resp)
	}
	var answer struct {
		Worker cloudcrowd.WorkerID  `json:"worker"`
		Owner  cloudcrowd.AccountID `json:"owner"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&answer); err != nil || answer.Worker != a.id {
		return &cloudcrowd.Error{Code: cloudcrowd.Internal, Msg: "the server's answer to joining cannot be read", Err: err}
	}
	a.state.Joined[server] = string(answer.Owner)
	if err := a.state.save(a.cfg.DataDir); err != nil {
		return err
	}
	a.event(Event{Kind: Joined, Server: server, Text: "joined " + server + ", earning for " + string(answer.Owner)})
	return nil
}

// unreachable says that the server cannot be reached; a refusal by this program itself, such as a wrong certificate, stays what it is.
func unreachable(err error) error {
	if e, ok := errors.AsType[*cloudcrowd.Error](err); ok {
		return e
	}
	return &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "the server cannot be reached", Err: err}
}

// problem reads an error answer (application/problem+json).
func problem(resp *http.Response) error {
	var p struct {
		Code   string `json:"code"`
		Detail string `json:"detail"`
		Title  string `json:"title"`
		Hint   string `json:"hint"`
	}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // an answer cut short still has a status
	_ = json.Unmarshal(b, &p)
	e := &cloudcrowd.Error{Code: cloudcrowd.Code(p.Code), Msg: p.Detail, Hint: p.Hint}
	if e.Msg == "" {
		e.Msg = "the server answered " + resp.Status
	}
	if e.Code == "" || resp.StatusCode >= 500 {
		switch {
		case resp.StatusCode == http.StatusNotFound:
			e.Code = cloudcrowd.NotFound
		case resp.StatusCode == http.StatusRequestEntityTooLarge:
			e.Code = cloudcrowd.TooLarge
		case resp.StatusCode == http.StatusTooManyRequests:
			e.Code = cloudcrowd.RateLimited
		case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
			e.Code = cloudcrowd.Forbidden
		case resp.StatusCode >= 500:
			e.Code = cloudcrowd.Unavailable
		default:
			e.Code = cloudcrowd.Internal
		}
	}
	return e
}

// passing reports whether trying again later may help.
func passing(err error) bool {
	switch cloudcrowd.CodeOf(err) {
	case cloudcrowd.Unavailable, cloudcrowd.RateLimited:
		return true
	}
	return false
}
