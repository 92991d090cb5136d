package api

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/authz"
)

// Handler is the HTTP API: an http.Handler for the whole address space of the server. Make one with New, serve it with Server, and call Close when
// the server is to stop, so that live feeds end.
type Handler struct {
	Config
	mux     *http.ServeMux
	huma    huma.API
	limits  *limiter
	uploads *uploads
	quotas  *quotas
	owners  *cache[cloudcrowd.JobID, cloudcrowd.AccountID]
	damaged sync.Map // digests of blobs that were found damaged and not stored again since

	bodies      []bodyType
	description []byte // openapi.json

	closing   chan struct{}
	closeOnce sync.Once
}

// New makes the API. It fails on a Config that lacks something required.
func New(c Config) (*Handler, error) {
	if c.Backend == nil || c.Blobs == nil || c.Directory == nil || c.Signer == nil {
		return nil, errors.New("api: Backend, Blobs, Directory and Signer are required")
	}
	c.fill()
	h := &Handler{
		Config: c, mux: http.NewServeMux(), closing: make(chan struct{}),
		limits: newLimiter(c.Limits, c.Now), uploads: newUploads(c.Directory), quotas: newQuotas(c.Now),
		owners: newCache[cloudcrowd.JobID, cloudcrowd.AccountID](1 << 14),
	}
	h.huma = humago.New(h.mux, describe(c.Version))
	h.jobRoutes()
	h.poolRoutes()
	h.ledgerRoutes()
	h.directoryRoutes()
	h.statusRoutes()
	h.blobRoutes()
	h.outputRoutes()
	h.eventRoutes()
	h.sessionRoutes()
	if err := h.serveDescription(); err != nil {
		return nil, err
	}
	return h, nil
}

// Close ends live feeds and refuses new ones. Safe to call twice.
func (h *Handler) Close() { h.closeOnce.Do(func() { close(h.closing) }) }

// Who says who asks, for the console: ok is false without a valid token or session.
func (h *Handler) Who(r *http.Request) (cloudcrowd.AccountID, cloudcrowd.Role, bool) {
	p := authz.FromContext(r.Context())
	return p.Account, p.Role, p.Role != ""
}

// answer is what huma writes: a JSON body.
type answer[O any] struct{ Body O }

// route registers one JSON operation: the policy is asked whether the caller's role may do it at all, then do runs. Whose things it may be
// done on is do's to check, with Principal.On.
func route[I, O any](h *Handler, op huma.Operation, what authz.Operation, do func(ctx context.Context, p authz.Principal, in *I) (O, error)) {
	op.BodyReadTimeout = -1    // bodies have a deadline of their own, see guardBody
	op.SkipValidateBody = true // they are decoded strictly here, with better answers
	if op.MaxBodyBytes == 0 {
		op.MaxBodyBytes = maxOtherBody
	}
	if what != "" {
		op.Security = []map[string][]string{{"bearer": {}}, {"session": {}}}
		op.Middlewares = append(op.Middlewares, func(ctx huma.Context, next func(huma.Context)) {
			if err := authz.FromContext(ctx.Context()).May(what); err != nil { // before anything of the request is looked at
				_, w := humago.Unwrap(ctx)
				writeProblem(w, h.problem(ctx.Context(), err))
				return
			}
			next(ctx)
		})
	}
	huma.Register(h.huma, op, func(ctx context.Context, in *I) (*answer[O], error) {
		out, err := do(ctx, authz.FromContext(ctx), in)
		if err != nil {
			return nil, h.problem(ctx, err)
		}
		return &answer[O]{Body: out}, nil
	})
}

// raw registers an operation that is more than JSON: bytes, feeds.
func (h *Handler) raw(pattern string, do func(w http.ResponseWriter, r *http.Request) error) {
	h.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := do(w, r); err != nil {
			writeProblem(w, h.problem(r.Context(), err))
		}
	})
}

// problem makes the answer to an error and logs what is the server's fault.
func (h *Handler) problem(ctx context.Context, err error) *Problem {
	p := problemOf(err)
	p.Instance = requestID(ctx)
	if p.Code == cloudcrowd.Internal {
		h.Log.ErrorContext(ctx, "request failed", "request", p.Instance, "err", err)
	}
	return p
}

// empty is the input of an operation without any.
type empty struct{}

// Keyed is an input with an idempotency key.
type Keyed struct {
	Key string `header:"Idempotency-Key" maxLength:"200" doc:"repeating a request with the same key has no further effect"`
}

// Paged is an input with the bounds of a page.
type Paged struct {
	Limit  int    `query:"limit" minimum:"0" maximum:"1000" doc:"most items of a page; 0: 100"`
	Cursor string `query:"cursor" maxLength:"1000" doc:"next of the previous page"`
}
