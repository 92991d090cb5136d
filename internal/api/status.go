package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/internal/authz"
	"cloudcrowd.dev/cloudcrowd/internal/link"
)

// Health is the answer of /healthz and /readyz.
type Health struct {
	Status  string `json:"status" doc:"ok"`
	Version string `json:"version"`
}

func (h *Handler) statusRoutes() {
	route(h, huma.Operation{OperationID: "get-status", Method: http.MethodGet, Path: "/v1/status", Tags: []string{"status"}, Summary: "The overview"},
		authz.ReadStatus, func(ctx context.Context, p authz.Principal, _ *empty) (cloudcrowd.ServerStatus, error) {
			s, err := h.Backend.Status(ctx)
			if p.May(authz.ReadEverything) != nil {
				s.Attention = nil // may name others' jobs and workers
			}
			return s, err
		})
	route(h, huma.Operation{OperationID: "get-prices", Method: http.MethodGet, Path: "/v1/prices", Tags: []string{"status"}, Summary: "The posted price vector, in micro-credits"},
		authz.ReadStatus, func(context.Context, authz.Principal, *empty) (cloudcrowd.Prices, error) {
			return h.Backend.Prices(), nil
		})
	route(h, huma.Operation{OperationID: "whoami", Method: http.MethodGet, Path: "/v1/whoami", Tags: []string{"status"}, Summary: "Say whom the token stands for"},
		authz.ReadSelf, func(_ context.Context, p authz.Principal, _ *empty) (client.Identity, error) {
			return client.Identity{Account: p.Account, Role: p.Role, Token: p.TokenID, Session: p.Session}, nil
		})
	route(h, huma.Operation{OperationID: "healthz", Method: http.MethodGet, Path: "/healthz", Tags: []string{"status"}, Summary: "The process lives"},
		"", func(context.Context, authz.Principal, *empty) (Health, error) {
			return Health{Status: "ok", Version: h.Version}, nil
		})
	route(h, huma.Operation{OperationID: "readyz", Method: http.MethodGet, Path: "/readyz", Tags: []string{"status"}, Summary: "The server takes work, else 503 with the reason"},
		"", func(ctx context.Context, _ authz.Principal, _ *empty) (Health, error) {
			select {
			case <-h.closing:
				return Health{}, cloudcrowd.Errorf(cloudcrowd.Unavailable, "the server is stopping")
			default:
			}
			if h.Ready != nil {
				return Health{Status: "ok", Version: h.Version}, h.Ready(ctx)
			}
			s, err := h.Backend.Status(ctx)
			if err == nil && s.ReadOnly != "" {
				err = cloudcrowd.Errorf(cloudcrowd.Unavailable, "no new work is accepted: %s", s.ReadOnly)
			}
			return Health{Status: "ok", Version: h.Version}, err
		})
	route(h, huma.Operation{OperationID: "drain", Method: http.MethodPost, Path: "/v1/drain", Tags: []string{"status"}, DefaultStatus: http.StatusAccepted,
		Summary: "Stop the server in order", Description: "Operators only. From now on new jobs and new connections of workers are refused with `unavailable`. Leases survive the restart.",
		RequestBody: bodyOf[client.DrainRequest](h, "DrainRequest")},
		authz.DrainServer, func(ctx context.Context, _ authz.Principal, in *drainBody) (client.Draining, error) {
			var body client.DrainRequest
			if len(in.RawBody) > 0 {
				if err := decode(in.RawBody, &body); err != nil {
					return client.Draining{}, err
				}
			}
			if body.Wait < 0 || time.Duration(body.Wait) > longestDrainWait {
				return client.Draining{}, cloudcrowd.Fieldf("wait", "must be from 0s to %s", longestDrainWait)
			}
			if h.Drain == nil {
				return client.Draining{}, cloudcrowd.Errorf(cloudcrowd.Conflict, "this server cannot be stopped by a request")
			}
			return h.Drain(ctx, time.Duration(body.Wait))
		})
	h.raw("GET /metrics", h.metrics)
}

const longestDrainWait = 24 * time.Hour

type drainBody struct {
	RawBody []byte `contentType:"application/json"`
}

// metrics answers an operator, and whoever asks on this machine itself: monitors seldom have tokens. A request that was passed on by a proxy comes from elsewhere.
func (h *Handler) metrics(w http.ResponseWriter, r *http.Request) error {
	if h.Metrics == nil {
		return notFound("metrics of this server", "/metrics")
	}
	p := authz.FromContext(r.Context())
	passedOn := r.Header.Get("Forwarded") != "" || r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Via") != ""
	if p.Role != "" || passedOn || !link.Loopback(remoteHost(r)) {
		if err := p.May(authz.ReadMetrics); err != nil {
			return err
		}
	}
	h.Metrics.ServeHTTP(w, r)
	return nil
}

// Starting answers until the API can: the process lives, and takes no work yet.
func Starting(version string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(Health{Status: "ok", Version: version}) // whoever asked has gone
			return
		}
		writeProblem(w, newProblem(cloudcrowd.Unavailable, http.StatusServiceUnavailable, "the server is starting: it reads its journal"))
	})
}
