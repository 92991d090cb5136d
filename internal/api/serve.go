package api

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/authz"
	"cloudcrowd.dev/cloudcrowd/internal/callid"
)

// Server makes an http.Server with the timeouts that keep slow or silent clients from holding it. TLS may be nil, on loopback.
func Server(h http.Handler, c *tls.Config, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, TLSConfig: c,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

type requestKey struct{}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// ServeHTTP implements http.Handler: names the request, authenticates, limits, serves.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/worker" && h.Worker != nil {
		h.Worker.ServeHTTP(w, r)
		return
	}
	id := rand.Text()[:13]
	ctx := context.WithValue(context.WithValue(r.Context(), requestKey{}, id), addressKey{}, addressOf(r))
	ctx = callid.With(ctx, r.Header.Get(callid.Header))
	out := &response{ResponseWriter: w, control: http.NewResponseController(w), stall: h.Limits.Stall, now: h.Now}
	w = out
	guardBody(w, r, h.Limits.Stall)
	if r.ProtoMajor == 1 {
		out.control.SetWriteDeadline(time.Time{}) // left over from an earlier request of this connection
	}
	start := time.Now()
	defer func() {
		if cause := recover(); cause != nil {
			if cause == http.ErrAbortHandler {
				panic(cause)
			}
			h.Log.ErrorContext(ctx, "panic while serving", "request", id, "path", r.URL.Path, "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
			if out.status != 0 {
				panic(http.ErrAbortHandler) // too late for an answer: the broken connection tells
			}
			p := newProblem(cloudcrowd.Internal, http.StatusInternalServerError, "something went wrong in the server; its log says what")
			p.Instance = id
			writeProblem(w, p)
		}
		h.Log.DebugContext(ctx, "served", "request", id, "method", r.Method, "path", r.URL.Path, "status", out.status, "took", time.Since(start))
	}()
	h.headers(w, r, id)
	h.serve(w, r.WithContext(ctx))
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	switch r.URL.Path { // nothing secret, nothing costly, for load balancers and monitors
	case "/healthz", "/readyz", "/openapi.json":
		if !h.limits.take("monitors", h.Limits.PerSecond, h.Limits.Burst) {
			writeProblem(w, h.problem(ctx, tooMany()))
			return
		}
		h.mux.ServeHTTP(w, r)
		return
	}
	p, err := h.authenticate(r)
	if err == nil {
		err = h.limits.allow(p, remoteHost(r), r.Header.Get("Authorization"), r.URL.Path)
	} else if !h.limits.anonymous(remoteHost(r)) {
		err = tooMany()
	}
	if err == nil && p.Session {
		err = sameSite(r)
	}
	if err != nil {
		writeProblem(w, h.problem(ctx, err))
		return
	}
	if r.URL.Path != "/v1/events" {
		release, ok := h.limits.enter()
		if !ok {
			writeProblem(w, h.problem(ctx, cloudcrowd.Errorf(cloudcrowd.Unavailable, "the server is serving as many requests as it can")))
			return
		}
		defer release()
	}
	r = r.WithContext(authz.WithPrincipal(ctx, p))
	if _, pattern := h.mux.Handler(r); pattern != "" {
		h.mux.ServeHTTP(w, r)
		return
	}
	h.unmatched(w, r)
}

// unmatched answers what no route of the API takes.
func (h *Handler) unmatched(w http.ResponseWriter, r *http.Request) {
	if h.Console != nil && !strings.HasPrefix(r.URL.Path, "/v1/") && r.URL.Path != "/session" {
		for _, name := range []string{"Content-Security-Policy", "Cache-Control"} { // pages have their own
			w.Header().Del(name)
		}
		h.Console.ServeHTTP(w, r)
		return
	}
	var allowed []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = m
		if _, pattern := h.mux.Handler(other); pattern != "" {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		p := newProblem(cloudcrowd.Invalid, http.StatusMethodNotAllowed, r.Method+" is not possible here")
		p.Hint = "use " + strings.Join(allowed, " or ")
		writeProblem(w, p)
		return
	}
	writeProblem(w, newProblem(cloudcrowd.NotFound, http.StatusNotFound, "there is nothing at "+r.URL.Path))
}

// headers set what every answer carries. Other sites may neither read nor frame answers: no CORS header is ever sent.
func (h *Handler) headers(w http.ResponseWriter, r *http.Request, id string) {
	head := w.Header()
	head.Set(callid.Header, id)
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("X-Frame-Options", "DENY")
	head.Set("Content-Security-Policy", "default-src 'none'; sandbox; frame-ancestors 'none'")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cache-Control", "no-store")
	if h.Strict && r.TLS != nil {
		head.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// response remembers whether an answer was begun and moves the write deadline ahead of every write, so that a reader may be slow but not silent.
type response struct {
	http.ResponseWriter
	control  *http.ResponseController
	stall    time.Duration
	now      func() time.Time
	deadline time.Time
	status   int
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	if status >= 200 && w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if next := time.Now().Add(w.stall); next.Sub(w.deadline) > w.stall/8 {
		w.deadline = next
		w.control.SetWriteDeadline(next)
	}
	return w.ResponseWriter.Write(b)
}
