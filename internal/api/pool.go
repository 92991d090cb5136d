package api

import (
	"context"
	"encoding/base64"
	"net/http"
	"unicode"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/nats-io/nkeys"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/internal/authz"
)

// WorkerPath is an input with the id of a worker.
type WorkerPath struct {
	Worker cloudcrowd.WorkerID `path:"worker" maxLength:"80" doc:"public nkey of a worker"`
}

type workerPages struct {
	WorkerPath
	Paged
}

type revokeBody struct {
	WorkerPath
	RawBody []byte `contentType:"application/json"`
}

type joinBody struct {
	RawBody []byte `contentType:"application/json"`
}

func (h *Handler) poolRoutes() {
	route(h, huma.Operation{OperationID: "list-workers", Method: http.MethodGet, Path: "/v1/workers", Tags: []string{"workers"}, Summary: "List workers"},
		authz.ReadWorker, func(ctx context.Context, p authz.Principal, _ *empty) (client.Page[cloudcrowd.WorkerView], error) {
			all, err := h.Backend.Workers(ctx)
			var mine []cloudcrowd.WorkerView
			for _, w := range all {
				if p.On(authz.ReadWorker, w.Owner) == nil {
					mine = append(mine, w)
				}
			}
			return page(mine, "", err)
		})
	route(h, huma.Operation{OperationID: "get-worker", Method: http.MethodGet, Path: "/v1/workers/{worker}", Tags: []string{"workers"}, Summary: "One worker"},
		authz.ReadWorker, func(ctx context.Context, p authz.Principal, in *WorkerPath) (cloudcrowd.WorkerView, error) {
			return h.workerOf(ctx, p, authz.ReadWorker, in.Worker)
		})
	route(h, huma.Operation{OperationID: "list-worker-attempts", Method: http.MethodGet, Path: "/v1/workers/{worker}/attempts", Tags: []string{"workers"},
		Summary: "List a worker's attempts, newest first", Description: "A worker's owner sees what was done and earned, not the requester's files and logs."},
		authz.ReadWorker, func(ctx context.Context, p authz.Principal, in *workerPages) (client.Page[cloudcrowd.Attempt], error) {
			if _, err := h.workerOf(ctx, p, authz.ReadWorker, in.Worker); err != nil {
				return client.Page[cloudcrowd.Attempt]{}, err
			}
			list, next, err := h.Backend.WorkerAttempts(ctx, in.Worker, in.page())
			return page(redact(p, list), next, err)
		})
	route(h, huma.Operation{OperationID: "revoke-worker", Method: http.MethodPost, Path: "/v1/workers/{worker}/revoke", Tags: []string{"workers"},
		Summary: "Shut a worker out, or let it in again", RequestBody: bodyOf[client.RevokeRequest](h, "RevokeRequest")},
		authz.RevokeWorker, func(ctx context.Context, p authz.Principal, in *revokeBody) (cloudcrowd.WorkerView, error) {
			var body client.RevokeRequest
			if err := decode(in.RawBody, &body); err != nil {
				return cloudcrowd.WorkerView{}, err
			}
			if _, err := h.workerOf(ctx, p, authz.RevokeWorker, in.Worker); err != nil {
				return cloudcrowd.WorkerView{}, err
			}
			if err := h.Backend.RevokeWorker(ctx, in.Worker, body.Revoked); err != nil {
				return cloudcrowd.WorkerView{}, err
			}
			return h.Backend.Worker(ctx, in.Worker)
		})
	route(h, huma.Operation{OperationID: "join", Method: http.MethodPost, Path: "/v1/join", Tags: []string{"workers"}, Summary: "Register a device as a worker",
		Description: "Needs no token but an invite, and proof of the device's key. Joining again is harmless.", RequestBody: bodyOf[client.JoinRequest](h, "JoinRequest")},
		"", func(ctx context.Context, _ authz.Principal, in *joinBody) (client.JoinAnswer, error) {
			var body client.JoinRequest
			if err := decode(in.RawBody, &body); err != nil {
				return client.JoinAnswer{}, err
			}
			return h.join(ctx, body)
		})
}

func (h *Handler) workerOf(ctx context.Context, p authz.Principal, op authz.Operation, id cloudcrowd.WorkerID) (cloudcrowd.WorkerView, error) {
	w, err := h.Backend.Worker(ctx, id)
	if err == nil {
		err = p.On(op, w.Owner)
	}
	if err != nil {
		return cloudcrowd.WorkerView{}, hide(err, "worker", string(id))
	}
	return w, nil
}

// redact takes from attempts what belongs to the requester alone. Undecided digests go too: they are what a quorum compares.
func redact(p authz.Principal, list []cloudcrowd.Attempt) []cloudcrowd.Attempt {
	if p.May(authz.ReadEverything) == nil {
		return list
	}
	out := make([]cloudcrowd.Attempt, len(list))
	for i, a := range list {
		if a.Result != nil {
			r := *a.Result
			r.Outputs, r.StderrTail, r.Log = nil, "", ""
			a.Result = &r
		}
		if !a.State.Ended() {
			a.ResultDigest = ""
		}
		out[i] = a
	}
	return out
}

func (h *Handler) join(ctx context.Context, in client.JoinRequest) (client.JoinAnswer, error) {
	if !nkeys.IsValidPublicUserKey(string(in.Worker)) {
		return client.JoinAnswer{}, cloudcrowd.Fieldf("worker", "not the public nkey of a device; it begins with U and has 56 characters")
	}
	if err := checkName("name", in.Name, 64); err != nil {
		return client.JoinAnswer{}, err
	}
	signature, err := base64.StdEncoding.DecodeString(in.Signature)
	if err != nil {
		return client.JoinAnswer{}, cloudcrowd.Fieldf("signature", "not base64")
	}
	key, err := nkeys.FromPublicKey(string(in.Worker))
	if err == nil {
		err = key.Verify(client.JoinMessage(in.Invite, in.Worker), signature)
	}
	if err != nil {
		return client.JoinAnswer{}, &cloudcrowd.Error{Code: cloudcrowd.Forbidden, Field: "signature", Msg: "the signature is not the device's", Err: err}
	}
	now := cloudcrowd.TimeOf(h.Now())
	w, err := h.Directory.Join(ctx, authz.Hash(in.Invite), cloudcrowd.Worker{ID: in.Worker, Name: in.Name, RegisteredAt: now}, now)
	if err != nil {
		return client.JoinAnswer{}, err
	}
	if w.Revoked {
		return client.JoinAnswer{}, cloudcrowd.Errorf(cloudcrowd.Forbidden, "this device was shut out by its owner or an operator")
	}
	if h.Joined != nil {
		h.Joined(w)
	}
	return client.JoinAnswer{Worker: w.ID, Owner: w.Owner, Name: w.Name, URL: h.WorkerURL}, nil
}

// checkName wants 1 to most characters that can be printed, on one line.
func checkName(field, name string, most int) error {
	if name == "" || utf8.RuneCountInString(name) > most {
		return cloudcrowd.Fieldf(field, "must have 1 to %d characters", most)
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return cloudcrowd.Fieldf(field, "holds a character that cannot be printed")
		}
	}
	return nil
}
