package client

import "cloudcrowd.dev/cloudcrowd"

// Page is one page of a list. Next is the cursor of the following page, "" on the last one.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty" doc:"cursor of the following page; absent on the last one"`
}

// Identity says whom a token stands for.
type Identity struct {
	Account cloudcrowd.AccountID `json:"account"`
	Role    cloudcrowd.Role      `json:"role"`
	Token   string               `json:"token" doc:"public id of the token"`
	Session bool                 `json:"session" doc:"known by a browser's cookie"`
}

// SubmitRequest is the body of POST /v1/jobs and /v1/plan.
type SubmitRequest struct {
	Spec cloudcrowd.JobSpec `json:"spec"`
}

// CancelRequest is the body of POST /v1/jobs/{job}/cancel.
type CancelRequest struct {
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

// DrainRequest is the body of POST /v1/drain.
type DrainRequest struct {
	Wait cloudcrowd.Duration `json:"wait,omitempty" doc:"how long to wait for attempts that are out, for example 10m; default: not at all, their leases survive"`
}

// Draining says that a server is about to stop.
type Draining struct {
	Leased int             `json:"leased" doc:"attempts that are out"`
	EndsBy cloudcrowd.Time `json:"ends_by" doc:"when the process has ended at the latest"`
}

// RevokeRequest is the body of POST /v1/workers/{worker}/revoke.
type RevokeRequest struct {
	Revoked bool `json:"revoked"`
}

// JoinRequest is the body of POST /v1/join. Signature is the base64 (standard, padded) Ed25519 signature by the device's key of JoinMessage.
type JoinRequest struct {
	Invite    string              `json:"invite" doc:"secret of the join link"`
	Worker    cloudcrowd.WorkerID `json:"worker" doc:"public nkey of the device, U…"`
	Name      string              `json:"name" doc:"chosen by its owner, 1–64 characters"`
	Signature string              `json:"signature" doc:"base64 signature of cloudcrowd-join:INVITE:WORKER"`
}

// JoinMessage is what a joining device signs.
func JoinMessage(invite string, worker cloudcrowd.WorkerID) []byte {
	return []byte("cloudcrowd-join:" + invite + ":" + string(worker))
}

// JoinAnswer says that a device is registered.
type JoinAnswer struct {
	Worker cloudcrowd.WorkerID  `json:"worker"`
	Owner  cloudcrowd.AccountID `json:"owner" doc:"account that is paid"`
	Name   string               `json:"name"`
	URL    string               `json:"url,omitempty" doc:"where workers connect (ws:// or wss://), if it is not /worker of this server"`
}

// InviteRequest is the body of POST /v1/invites.
type InviteRequest struct {
	Owner   cloudcrowd.AccountID `json:"owner,omitempty" doc:"account the joining workers earn for; default: the caller's"`
	MaxUses int                  `json:"max_uses,omitempty" doc:"0: no bound; 1: single use"`
	TTL     cloudcrowd.Duration  `json:"ttl,omitempty" doc:"how long it can be used, for example 24h; default: for ever"`
}

// NewInvite is an invite with its secret, shown once.
type NewInvite struct {
	cloudcrowd.Invite
	Secret string `json:"secret"`
	Link   string `json:"link" doc:"join link: cloudcrowd worker --join LINK"`
}

// TokenRequest is the body of POST /v1/tokens.
type TokenRequest struct {
	Account cloudcrowd.AccountID `json:"account"`
	Role    cloudcrowd.Role      `json:"role" enum:"requester,worker-owner,operator"`
	Note    string               `json:"note,omitempty"`
	TTL     cloudcrowd.Duration  `json:"ttl,omitempty" doc:"for example 720h; default: for ever"`
}

// NewToken is a token with its secret, shown once.
type NewToken struct {
	cloudcrowd.Token
	Secret string `json:"secret"`
	Link   string `json:"link" doc:"opens the console signed in"`
}

// IssueRequest is the body of POST /v1/accounts/{account}/issue.
type IssueRequest struct {
	Amount cloudcrowd.Credits `json:"amount_microcredits"`
	Note   string             `json:"note,omitempty"`
}

// BlobAnswer is the answer to an upload.
type BlobAnswer struct {
	Digest    cloudcrowd.Digest `json:"digest"`
	SizeBytes int64             `json:"size_bytes"`
}

// SessionRequest is the body of POST /session.
type SessionRequest struct {
	Token string `json:"token"`
}

// Problem is an error answer (RFC 9457, application/problem+json).
type Problem struct {
	Type     string          `json:"type" doc:"URI reference of the kind of problem: docs/api.md#CODE"`
	Title    string          `json:"title"`
	Status   int             `json:"status"`
	Detail   string          `json:"detail" doc:"one sentence: what is wrong"`
	Code     cloudcrowd.Code `json:"code" doc:"stable word for programs"`
	Field    string          `json:"field,omitempty" doc:"dotted path of the input field at fault"`
	Hint     string          `json:"hint,omitempty" doc:"one sentence: what to do"`
	Instance string          `json:"instance,omitempty" doc:"id of this answer, for the operator's log"`
	Problems []SubProblem    `json:"problems,omitempty" doc:"each problem, if there are several"`
}

// SubProblem is one of several problems.
type SubProblem struct {
	Detail string `json:"detail"`
	Field  string `json:"field,omitempty"`
	Hint   string `json:"hint,omitempty"`
}
