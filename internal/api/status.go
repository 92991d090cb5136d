package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/internal/authz"
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
			s, err := h.Backend.Status(ctx)
			if err == nil && s.ReadOnly != "" {
				err = cloudcrowd.Errorf(cloudcrowd.Unavailable, "no new work is accepted: %s", s.ReadOnly)
			}
			if err == nil && h.Ready != nil {
				err = h.Ready(ctx)
			}
			return Health{Status: "ok", Version: h.Version}, err
		})
}
