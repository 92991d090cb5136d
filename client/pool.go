package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"cloudcrowd.dev/cloudcrowd"
)

// Workers lists the workers the token may see.
func (c *Client) Workers(ctx context.Context) (Page[cloudcrowd.WorkerView], error) {
	return get[Page[cloudcrowd.WorkerView]](ctx, c, "/v1/workers", nil)
}

// Worker returns one worker.
func (c *Client) Worker(ctx context.Context, id cloudcrowd.WorkerID) (cloudcrowd.WorkerView, error) {
	return get[cloudcrowd.WorkerView](ctx, c, "/v1/workers/"+url.PathEscape(string(id)), nil)
}

// WorkerAttempts lists a worker's attempts, newest first.
func (c *Client) WorkerAttempts(ctx context.Context, id cloudcrowd.WorkerID, q PageQuery) (Page[cloudcrowd.Attempt], error) {
	return get[Page[cloudcrowd.Attempt]](ctx, c, "/v1/workers/"+url.PathEscape(string(id))+"/attempts", q.values())
}

// RevokeWorker shuts a worker out, or lets it in again.
func (c *Client) RevokeWorker(ctx context.Context, id cloudcrowd.WorkerID, revoked bool) (cloudcrowd.WorkerView, error) {
	return exchange[cloudcrowd.WorkerView](ctx, c, call{method: http.MethodPost, path: "/v1/workers/" + url.PathEscape(string(id)) + "/revoke", repeat: true},
		RevokeRequest{Revoked: revoked})
}

// Join registers a device by an invite; no token is needed. Sign makes the device key's signature of its argument. Repeating is harmless.
func (c *Client) Join(ctx context.Context, invite string, worker cloudcrowd.WorkerID, name string, sign func([]byte) (string, error)) (JoinAnswer, error) {
	signature, err := sign(JoinMessage(invite, worker))
	if err != nil {
		return JoinAnswer{}, err
	}
	return exchange[JoinAnswer](ctx, c, call{method: http.MethodPost, path: "/v1/join", repeat: true},
		JoinRequest{Invite: invite, Worker: worker, Name: name, Signature: signature})
}

// Invites lists invites, without their secrets.
func (c *Client) Invites(ctx context.Context) (Page[cloudcrowd.Invite], error) {
	return get[Page[cloudcrowd.Invite]](ctx, c, "/v1/invites", nil)
}

// CreateInvite makes an invite; the join link is in the answer and shown only there.
func (c *Client) CreateInvite(ctx context.Context, r InviteRequest) (NewInvite, error) {
	return post[NewInvite](ctx, c, "/v1/invites", r, newKey())
}

// RevokeInvite withdraws an invite; workers that joined by it stay.
func (c *Client) RevokeInvite(ctx context.Context, id string) error {
	return c.remove(ctx, "/v1/invites/"+url.PathEscape(id))
}

// Tokens lists the public parts of tokens.
func (c *Client) Tokens(ctx context.Context) (Page[cloudcrowd.Token], error) {
	return get[Page[cloudcrowd.Token]](ctx, c, "/v1/tokens", nil)
}

// CreateToken makes a token; its secret is in the answer and shown only there. Operators only.
func (c *Client) CreateToken(ctx context.Context, r TokenRequest) (NewToken, error) {
	return post[NewToken](ctx, c, "/v1/tokens", r, newKey())
}

// DeleteToken withdraws a token at once.
func (c *Client) DeleteToken(ctx context.Context, id string) error {
	return c.remove(ctx, "/v1/tokens/"+url.PathEscape(id))
}

// remove deletes what is at path. That it is not there is no error when an earlier try, whose answer was lost, may have deleted it.
func (c *Client) remove(ctx context.Context, path string) error {
	sent := 0
	_, err := exchange[struct{}](ctx, c, call{method: http.MethodDelete, path: path, repeat: true, sent: &sent}, nil)
	if cloudcrowd.CodeOf(err) == cloudcrowd.NotFound && sent > 1 {
		return nil
	}
	return err
}

// Accounts lists the accounts the token may see; an operator's list comes from one snapshot and sums to zero.
func (c *Client) Accounts(ctx context.Context) (Page[cloudcrowd.Account], error) {
	return get[Page[cloudcrowd.Account]](ctx, c, "/v1/accounts", nil)
}

// Account returns one account.
func (c *Client) Account(ctx context.Context, id cloudcrowd.AccountID) (cloudcrowd.Account, error) {
	return get[cloudcrowd.Account](ctx, c, "/v1/accounts/"+url.PathEscape(string(id)), nil)
}

// StatementQuery selects lines of a statement.
type StatementQuery struct {
	PageQuery
	Earned       bool             // what the account's workers earned; else what its jobs paid
	Job          cloudcrowd.JobID // "" for all
	Since, Until cloudcrowd.Time  // [Since, Until); 0: no bound
}

// Statement lists every paid attempt of an account, newest first.
func (c *Client) Statement(ctx context.Context, id cloudcrowd.AccountID, q StatementQuery) (Page[cloudcrowd.Charge], error) {
	v := q.values()
	v.Set("side", "paid")
	if q.Earned {
		v.Set("side", "earned")
	}
	set(v, "job", string(q.Job))
	setTime(v, "since", q.Since)
	setTime(v, "until", q.Until)
	return get[Page[cloudcrowd.Charge]](ctx, c, "/v1/accounts/"+url.PathEscape(string(id))+"/statement", v)
}

func setTime(v url.Values, name string, t cloudcrowd.Time) {
	if t != 0 {
		v.Set(name, strconv.FormatInt(int64(t), 10))
	}
}

// Issue creates credits in an account. The same key gives the same transfer; "" is replaced by a fresh one. Operators only.
func (c *Client) Issue(ctx context.Context, to cloudcrowd.AccountID, amount cloudcrowd.Credits, note, key string) (cloudcrowd.Transfer, error) {
	if key == "" {
		key = newKey()
	}
	return post[cloudcrowd.Transfer](ctx, c, "/v1/accounts/"+url.PathEscape(string(to))+"/issue", IssueRequest{Amount: amount, Note: note}, key)
}

// TransferQuery selects transfers; zero fields select all that the token may see.
type TransferQuery struct {
	PageQuery
	Account      cloudcrowd.AccountID
	Job          cloudcrowd.JobID
	Since, Until cloudcrowd.Time // [Since, Until); 0: no bound
}

// Transfers lists transfers, newest first.
func (c *Client) Transfers(ctx context.Context, q TransferQuery) (Page[cloudcrowd.Transfer], error) {
	v := q.values()
	set(v, "account", string(q.Account))
	set(v, "job", string(q.Job))
	setTime(v, "since", q.Since)
	setTime(v, "until", q.Until)
	return get[Page[cloudcrowd.Transfer]](ctx, c, "/v1/transfers", v)
}
