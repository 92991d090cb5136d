package api

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

//go:generate go test -run TestDescription -update .

const about = `CloudCrowd turns computers into one pool that runs jobs, checks the answers and pays for the work.

Times are Unix microseconds. Amounts named *_microcredits are millionths of a credit. Durations are text ("10m", "1.5s"). Lists come in
pages: items, and next, the cursor of the following page. Errors are application/problem+json with a stable code. JSON is strict: unknown keys and query
parameters are refused.`

// describe is the description's frame.
func describe(version string) huma.Config {
	schemas := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	schemas.RegisterTypeAlias(reflect.TypeFor[cloudcrowd.Duration](), reflect.TypeFor[durationText]())
	format := huma.Format{
		Marshal: func(w io.Writer, v any) error {
			if p, ok := v.(*Problem); ok {
				v = p.Problem
			}
			e := json.NewEncoder(w)
			e.SetEscapeHTML(false)
			return e.Encode(withoutNulls(v))
		},
		Unmarshal: json.Unmarshal,
	}
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: "CloudCrowd", Version: "1", Description: about, License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}},
			Components: &huma.Components{
				Schemas: schemas,
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"bearer":  {Type: "http", Scheme: "bearer", Description: "a token of an account: cc_…"},
					"grant":   {Type: "apiKey", In: "header", Name: "Authorization", Description: "`Grant GRANT`: what a lease lets a worker read or store"},
					"session": {Type: "apiKey", In: "cookie", Name: "cloudcrowd-PORT", Description: "a browser that signed in (POST /session)"},
				},
			},
		},
		Formats:                      map[string]huma.Format{"application/json": format, "json": format},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	}
}

// durationText is how a cloudcrowd.Duration looks in JSON.
type durationText string

// Schema implements huma.SchemaProvider.
func (durationText) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{
		{Type: huma.TypeString, Description: "number and unit: 90s, 10m, 1h30m", Examples: []any{"10m"}},
		{Type: huma.TypeNumber, Description: "seconds; accepted, never sent"},
	}}
}

// bodyOf describes a JSON body that a handler decodes itself, strictly.
func bodyOf[T any](h *Handler, name string) *huma.RequestBody {
	h.bodies = append(h.bodies, bodyType{t: reflect.TypeFor[T](), name: name})
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{}, Description: name}
}

type bodyType struct {
	t    reflect.Type
	name string
}

// serveDescription completes the description with what is more than JSON, and serves it.
func (h *Handler) serveDescription() error {
	o := h.huma.OpenAPI()
	for _, path := range o.Paths {
		for _, op := range []*huma.Operation{path.Get, path.Post, path.Put, path.Delete} {
			h.describeBody(op)
		}
	}
	for _, op := range h.rawOperations() {
		o.AddOperation(op)
	}
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, b, "", " "); err != nil {
		return err
	}
	pretty.WriteByte('\n')
	h.description = pretty.Bytes()
	h.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		w.Write(h.description)
	})
	return nil
}

func (h *Handler) describeBody(op *huma.Operation) {
	if op == nil || op.RequestBody == nil {
		return
	}
	for _, b := range h.bodies {
		if b.name == op.RequestBody.Description {
			schema := h.huma.OpenAPI().Components.Schemas.Schema(b.t, true, b.name)
			op.RequestBody.Content = map[string]*huma.MediaType{"application/json": {Schema: schema}}
			op.RequestBody.Description = ""
			op.RequestBody.Required = op.OperationID != "cancel-job"
			return
		}
	}
}

// rawOperations describes the operations that huma does not serve.
func (h *Handler) rawOperations() []*huma.Operation {
	schemas := h.huma.OpenAPI().Components.Schemas
	text := &huma.Schema{Type: huma.TypeString}
	bytesOf := map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}
	jsonOf := func(v any, name string) map[string]*huma.MediaType {
		return map[string]*huma.MediaType{"application/json": {Schema: schemas.Schema(reflect.TypeOf(v), true, name)}}
	}
	inPath := func(names ...string) []*huma.Param {
		var list []*huma.Param
		for _, n := range names {
			list = append(list, &huma.Param{Name: n, In: "path", Required: true, Schema: text})
		}
		return list
	}
	inQuery := func(name, doc string) *huma.Param {
		return &huma.Param{Name: name, In: "query", Schema: text, Description: doc}
	}
	user := []map[string][]string{{"bearer": {}}, {"session": {}}}
	both := []map[string][]string{{"bearer": {}}, {"grant": {}}}
	failed := &huma.Response{Description: "Error", Content: map[string]*huma.MediaType{"application/problem+json": {Schema: schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")}}}
	answers := func(status, doc string, content map[string]*huma.MediaType) map[string]*huma.Response {
		return map[string]*huma.Response{status: {Description: doc, Content: content}, "default": failed}
	}
	return []*huma.Operation{
		{OperationID: "get-blob", Method: http.MethodGet, Path: "/v1/blobs/{digest}", Tags: []string{"blobs"}, Summary: "Read a blob", Security: both,
			Description: "Ranges, HEAD and If-None-Match are understood; the ETag is the digest. A requester sees what it uploaded and, with job or task, what belongs to that. A worker that sends Cloudcrowd-Direct may be answered 307: the bytes are at Location, and the body says how to verify a range of them.",
			Parameters:  append(inPath("digest"), inQuery("job", "own job that has the blob as an output"), inQuery("task", "own task that has it as output or log")),
			Responses:   answers("200", "the bytes", bytesOf)},
		{OperationID: "put-blob", Method: http.MethodPut, Path: "/v1/blobs/{digest}", Tags: []string{"blobs"}, Summary: "Store a blob", Security: both,
			Description: "Content-Length is required. Bytes that do not match the digest are refused (digest-mismatch) and nothing is stored. Repeating is harmless.",
			Parameters:  inPath("digest"), RequestBody: &huma.RequestBody{Required: true, Content: bytesOf}, Responses: answers("201", "stored", jsonOf(client.BlobAnswer{}, "BlobAnswer"))},
		{OperationID: "get-output", Method: http.MethodGet, Path: "/v1/jobs/{job}/outputs/{stage}/{task}/{path}", Tags: []string{"jobs"}, Summary: "Read an output file of a task", Security: user,
			Description: "The path may hold slashes. Task -1 is a built-in merge.", Parameters: inPath("job", "stage", "task", "path"), Responses: answers("200", "the file", bytesOf)},
		{OperationID: "get-log", Method: http.MethodGet, Path: "/v1/attempts/{attempt}/log", Tags: []string{"jobs"}, Summary: "Read what an attempt printed", Security: user,
			Parameters: inPath("attempt"), Responses: answers("200", "stdout and stderr", map[string]*huma.MediaType{"text/plain": {Schema: text}})},
		{OperationID: "events", Method: http.MethodGet, Path: "/v1/events", Tags: []string{"events"}, Summary: "Follow the live feed (server-sent events)", Security: user,
			Description: "Each event has id, event (its type) and data (an Event). A comment comes every 15 seconds.",
			Parameters: []*huma.Param{inQuery("job", "only this job"), inQuery("after", "like Last-Event-ID"),
				{Name: "Last-Event-ID", In: "header", Schema: text, Description: "resume after this event; without it the feed starts now"}},
			Responses: answers("200", "the feed", map[string]*huma.MediaType{"text/event-stream": {Schema: schemas.Schema(reflect.TypeFor[cloudcrowd.Event](), true, "Event")}})},
		{OperationID: "sign-in", Method: http.MethodPost, Path: "/session", Tags: []string{"session"}, Summary: "Sign a browser in",
			Description: "Answers with an HttpOnly cookie that lives 12 hours at most and no longer than the token. Forms (token, next) are understood too.",
			RequestBody: &huma.RequestBody{Required: true, Content: jsonOf(client.SessionRequest{}, "SessionRequest")}, Responses: answers("200", "signed in", jsonOf(client.Identity{}, "Identity"))},
		{OperationID: "sign-out", Method: http.MethodDelete, Path: "/session", Tags: []string{"session"}, Summary: "Sign a browser out", Description: "POST /session/end does the same for forms.",
			Responses: answers("204", "signed out", nil)},
	}
}
