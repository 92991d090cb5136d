package api

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

// Answers have the form that the description promises, and what the client sends has the form it asks for.
func TestConforms(t *testing.T) {
	t.Parallel()
	r, names := furnish(t)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(r.handler.description))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("https://api/openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	check := func(what, pointer string, b []byte) {
		t.Helper()
		s, err := c.Compile("https://api/openapi.json#" + pointer)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err == nil {
			err = s.Validate(v)
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", what, err, b)
		}
	}
	escape := func(path string) string { return strings.ReplaceAll(path, "/", "~1") }
	for _, x := range []struct{ method, path, body, status string }{
		{"get", "/v1/jobs", "", "200"}, {"get", "/v1/jobs/{job}", "", "200"}, {"get", "/v1/jobs/{job}/tasks", "", "200"}, {"get", "/v1/jobs/{job}/attempts", "", "200"},
		{"get", "/v1/jobs/{job}/explain", "", "200"}, {"get", "/v1/tasks/{task}", "", "200"}, {"get", "/v1/tasks/{task}/explain", "", "200"},
		{"post", "/v1/plan", `{"spec":{}}`, "200"}, {"post", "/v1/jobs", `{"spec":{}}`, "201"}, {"get", "/v1/workers", "", "200"}, {"get", "/v1/workers/{worker}", "", "200"},
		{"get", "/v1/workers/{worker}/attempts", "", "200"}, {"post", "/v1/workers/{worker}/revoke", `{"revoked":true}`, "200"},
		{"get", "/v1/invites", "", "200"}, {"post", "/v1/invites", `{"ttl":"24h"}`, "201"}, {"get", "/v1/tokens", "", "200"},
		{"post", "/v1/tokens", `{"account":"carol","role":"requester"}`, "201"}, {"post", "/v1/accounts/{account}/issue", `{"amount_microcredits":3}`, "201"},
		{"get", "/v1/accounts", "", "200"}, {"get", "/v1/accounts/{account}", "", "200"}, {"get", "/v1/accounts/{account}/statement", "", "200"}, {"get", "/v1/transfers", "", "200"},
		{"post", "/v1/drain", `{"wait":"10m"}`, "202"}, {"get", "/v1/prices", "", "200"}, {"get", "/v1/status", "", "200"}, {"get", "/v1/whoami", "", "200"}, {"get", "/healthz", "", "200"}, {"get", "/readyz", "", "200"},
	} {
		path := strings.NewReplacer("{job}", names["JOB"], "{task}", names["TASK"], "{worker}", names["WORKER"], "{account}", "alice").Replace(x.path)
		_, b := r.do("olga", strings.ToUpper(x.method), path, x.body)
		check(x.method+" "+x.path, "/paths/"+escape(x.path)+"/"+x.method+"/responses/"+x.status+"/content/application~1json/schema", b)
	}
	_, b := r.do("", "GET", "/v1/jobs", "")
	check("a problem", "/paths/~1v1~1jobs/get/responses/default/content/application~1problem+json/schema", b)
	b, err = json.Marshal(client.SubmitRequest{Spec: cloudcrowd.JobSpec{
		Name: "x", Inputs: map[string]cloudcrowd.Input{"g": {Files: []cloudcrowd.InputFile{{Name: "g", Digest: sum(nil)}}}}, Outputs: []string{"a"}, Deadline: 1e9,
		Stages: []cloudcrowd.Stage{{Name: "a", Timeout: 6e11, Target: 1e10, Run: &cloudcrowd.Program{Module: sum(nil)}, Verify: cloudcrowd.Verify{Confidence: 0.99}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	check("a submission", "/paths/~1v1~1jobs/post/requestBody/content/application~1json/schema", b)
}

// Whatever decode takes, the standard decoder without unknown fields takes too, with the same value; and nothing panics.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"spec":{"name":"x","deadline":"10m"}}`, `{"spec":{"stages":[{"run":{"args":[""]}}]}}`, `{"spec":{"inputs":{"a":{"files":[]}}}}`, `{"spec":null}`, `null`, `[[[`, `{"Spec":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var got, want client.SubmitRequest
		if decode(b, &got) != nil {
			return
		}
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(&want); err != nil {
			t.Fatalf("%q was taken, yet %v", b, err)
		}
		x, _ := json.Marshal(got)
		y, _ := json.Marshal(want)
		if !bytes.Equal(x, y) {
			t.Fatalf("%q is read as %s, not %s", b, x, y)
		}
	})
}
