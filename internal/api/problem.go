package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Problem is every error answer: RFC 9457 with the code, field and hint of a cloudcrowd.Error.
type Problem struct {
	client.Problem
	headers http.Header
	cause   error // for the log
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header { return p.headers }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

var titles = map[cloudcrowd.Code]string{
	cloudcrowd.Invalid:             "The input is wrong",
	cloudcrowd.NotFound:            "No such thing",
	cloudcrowd.Conflict:            "Not possible in this state",
	cloudcrowd.Unauthorized:        "No valid token",
	cloudcrowd.Forbidden:           "Not allowed",
	cloudcrowd.InsufficientCredits: "Not enough credits",
	cloudcrowd.LeaseLost:           "The lease is lost",
	cloudcrowd.TooLarge:            "Too large",
	cloudcrowd.RateLimited:         "Too many requests",
	cloudcrowd.Unavailable:         "Not possible now",
	cloudcrowd.DigestMismatch:      "The bytes do not match their digest",
	cloudcrowd.Unsuccessful:        "The job ended without its result",
	cloudcrowd.Internal:            "A defect of the server",
}

func newProblem(code cloudcrowd.Code, status int, detail string) *Problem {
	p := &Problem{headers: http.Header{}}
	p.Type, p.Title, p.Status, p.Detail, p.Code = "/docs/api.md#"+string(code), titles[code], status, detail, code
	switch code {
	case cloudcrowd.Unavailable, cloudcrowd.RateLimited:
		p.headers.Set("Retry-After", "1")
	case cloudcrowd.Unauthorized:
		p.headers.Set("WWW-Authenticate", `Bearer realm="cloudcrowd"`)
	}
	return p
}

// problemOf makes the answer to an error. What is not a *cloudcrowd.Error is a defect; its text stays in the log.
func problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if tooBig, ok := errors.AsType[*http.MaxBytesError](err); ok {
		err = cloudcrowd.Errorf(cloudcrowd.TooLarge, "the body is larger than %s", cloudcrowd.Bytes(tooBig.Limit))
	}
	if rotten, ok := errors.AsType[*store.CorruptError](err); ok && len(listed(err)) == 0 {
		err = (&cloudcrowd.Error{Code: cloudcrowd.Internal, Msg: rotten.What + " is damaged on the server's disk", Err: err}).
			WithHint("the operator runs `cloudcrowd fsck`, which says what is lost with it, and restores a backup")
	}
	all := listed(err)
	if len(all) == 0 {
		code, detail := cloudcrowd.Internal, "something went wrong in the server; its log says what"
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			code, detail = cloudcrowd.Unavailable, "the request took too long or was given up"
		}
		p := newProblem(code, code.HTTPStatus(), detail)
		p.cause = err
		return p
	}
	e := all[0]
	p := newProblem(e.Code, e.Code.HTTPStatus(), e.Msg)
	p.Field, p.Hint, p.cause = e.Field, e.Hint, err
	if len(all) > 1 {
		for _, e := range all {
			p.Problems = append(p.Problems, client.SubProblem{Detail: e.Msg, Field: e.Field, Hint: e.Hint})
		}
	}
	return p
}

// listed returns the cloudcrowd.Errors of err: several if it joins several.
func listed(err error) []*cloudcrowd.Error {
	switch e := err.(type) {
	case nil:
		return nil
	case *cloudcrowd.Error:
		if below := listed(e.Err); len(below) > 1 {
			return below
		}
		return []*cloudcrowd.Error{e}
	case interface{ Unwrap() []error }:
		var all []*cloudcrowd.Error
		for _, one := range e.Unwrap() {
			all = append(all, listed(one)...)
		}
		return all
	case interface{ Unwrap() error }:
		return listed(e.Unwrap())
	}
	return nil
}

// writeProblem answers an error outside huma.
func writeProblem(w http.ResponseWriter, p *Problem) {
	for name, values := range p.headers {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	for _, name := range []string{"Etag", "Content-Disposition", "Content-Length", "Accept-Ranges"} {
		w.Header().Del(name)
	}
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p.Problem)
}

// init makes huma's own refusals (parameters, sizes) look like all others.
func init() {
	huma.DefaultArrayNullable = false // see withoutNulls
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return humaProblem(nil, status, msg, errs)
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		return humaProblem(ctx, status, msg, errs)
	}
}

func humaProblem(ctx huma.Context, status int, msg string, errs []error) *Problem {
	code := cloudcrowd.Invalid
	switch status {
	case http.StatusRequestEntityTooLarge:
		code = cloudcrowd.TooLarge
	case http.StatusInternalServerError:
		code = cloudcrowd.Internal
	}
	p := newProblem(code, status, msg)
	for _, err := range errs {
		d, ok := err.(huma.ErrorDetailer)
		if !ok {
			continue
		}
		detail := d.ErrorDetail()
		_, name, _ := strings.Cut(detail.Location, ".")
		s := client.SubProblem{Detail: detail.Message, Field: name}
		if detail.Message == "unknown query parameter" && ctx != nil {
			var known []string
			for _, q := range ctx.Operation().Parameters {
				if q.In == "query" {
					known = append(known, q.Name)
				}
			}
			s.Detail = "unknown query parameter " + name
			s.Hint = suggest(name, known)
		}
		p.Problems = append(p.Problems, s)
	}
	if len(p.Problems) > 0 {
		p.Detail, p.Field, p.Hint = p.Problems[0].Detail, p.Problems[0].Field, p.Problems[0].Hint
	}
	if len(p.Problems) == 1 {
		p.Problems = nil
	}
	return p
}
