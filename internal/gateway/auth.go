package gateway

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

// admitTimeout bounds one question to Admission.
const admitTimeout = 5 * time.Second

// Check implements the bus's authentication; nothing else calls it. A connection that came through a WebSocket is known by its nonce and must prove a
// device key; any other is the server's own and must know the secret.
func (g *Gateway) Check(c server.ClientAuthentication) bool {
	options := c.GetOpts()
	nonce := c.GetNonce()
	g.mu.Lock()
	s := g.waiting[string(nonce)]
	delete(g.waiting, string(nonce)) // once only: a second CONNECT on a connection fails
	g.mu.Unlock()
	if s == nil {
		user := subtle.ConstantTimeCompare([]byte(options.Username), []byte(ownUser))
		password := subtle.ConstantTimeCompare([]byte(options.Password), []byte(g.secret))
		return user&password == 1
	}
	var id cloudcrowd.WorkerID
	var err error
	asked := make(chan struct{})
	go func() { // a stack that has grown for this would stay as large as long as the connection lives
		defer close(asked)
		id, err = g.admit(options.Nkey, options.Sig, nonce)
	}()
	<-asked
	if err == nil {
		err = g.attach(s, id)
	}
	if err != nil {
		g.cfg.Log.Info("worker refused", "worker", options.Nkey, "remote", s.remote, "error", err)
		s.setRefusal(err)
		return false
	}
	c.RegisterUser(&server.User{Username: string(id), Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{wire.UpSubject(id)}},
		Subscribe: &server.SubjectPermission{Allow: []string{wire.DownSubject(id)}},
	}})
	return true
}

// admit verifies the signature and asks Admission.
func (g *Gateway) admit(nkey, signature string, nonce []byte) (cloudcrowd.WorkerID, error) {
	if !nkeys.IsValidPublicUserKey(nkey) {
		return "", cloudcrowd.Errorf(cloudcrowd.Unauthorized, "the device named no key")
	}
	key, err := nkeys.FromPublicKey(nkey)
	if err != nil {
		return "", cloudcrowd.Errorf(cloudcrowd.Unauthorized, "the device's key cannot be read")
	}
	sig, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil || len(nonce) == 0 || key.Verify(nonce, sig) != nil {
		return "", cloudcrowd.Errorf(cloudcrowd.Unauthorized, "the device did not prove that it holds its key")
	}
	g.mu.Lock()
	draining := g.draining
	g.mu.Unlock()
	if draining != nil {
		return "", draining
	}
	ctx, cancel := context.WithTimeout(context.Background(), admitTimeout)
	defer cancel()
	if err := g.cfg.Admission.Admit(ctx, cloudcrowd.WorkerID(nkey)); err != nil {
		return "", err
	}
	return cloudcrowd.WorkerID(nkey), nil
}

// attach makes s the worker's connection; an older one of the same device is closed, and the Crowd learns of its end first.
func (g *Gateway) attach(s *session, id cloudcrowd.WorkerID) error {
	for {
		g.mu.Lock()
		if g.stopped || s.closed() {
			g.mu.Unlock()
			return cloudcrowd.Errorf(cloudcrowd.Unavailable, "the connection has ended")
		}
		old := g.workers[id]
		if old == nil {
			s.worker = id
			g.workers[id] = s
			g.mu.Unlock()
			return nil
		}
		delete(g.workers, id)
		g.mu.Unlock()
		g.cfg.Crowd.Gone(id)
		g.refuse(old, cloudcrowd.Errorf(cloudcrowd.Conflict, "this device has connected again"))
	}
}
