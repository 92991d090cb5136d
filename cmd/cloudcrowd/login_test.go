package main

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

// Logging in keeps the other servers that the crowd names, as far as they are reached as securely, and commands go on with them when the first is gone. A
// server of that crowd that is named alone is talked to with the same token; another one is not.
func TestLoginKeepsPeers(t *testing.T) {
	t.Parallel()
	var tokens []string
	mux := http.NewServeMux()
	var named []string
	mux.HandleFunc("/v1/whoami", answer(client.Identity{Account: "ada", Role: cloudcrowd.RoleOperator}))
	mux.HandleFunc("/v1/status", func(w http.ResponseWriter, r *http.Request) {
		tokens = append(tokens, r.Header.Get("Authorization"))
		answer(cloudcrowd.ServerStatus{Servers: named})(w, r)
	})
	first, second, third := httptest.NewServer(mux), httptest.NewServer(mux), httptest.NewServer(mux)
	defer first.Close()
	defer second.Close()
	defer third.Close()
	named = []string{second.URL, first.URL, "http://192.0.2.1:8700", "nonsense"}
	dir := t.TempDir()
	run := func(args ...string) error {
		t.Helper()
		a, _, _ := quietApp()
		a.getenv = func(name string) string { return map[string]string{"CLOUDCROWD_CONFIG_DIR": dir}[name] }
		root := a.root()
		root.SetArgs(args)
		return root.ExecuteContext(t.Context())
	}
	if err := run("login", "--name", "x", "--server", first.URL, "--token", "secret"); err != nil {
		t.Fatal(err)
	}
	a, _, _ := quietApp()
	a.getenv = func(name string) string { return map[string]string{"CLOUDCROWD_CONFIG_DIR": dir}[name] }
	stored, err := a.loadContexts()
	if err != nil || !slices.Equal(stored.Targets["x"].all(), []string{first.URL, second.URL}) {
		t.Fatalf("%+v, %v", stored, err)
	}
	ask := func(server string) string {
		t.Helper()
		a, _, _ := quietApp()
		a.server = server
		a.getenv = func(name string) string { return map[string]string{"CLOUDCROWD_CONFIG_DIR": dir}[name] }
		api, err := a.connect()
		if err != nil {
			t.Fatal(err)
		}
		defer api.Close()
		tokens = nil
		if _, err := api.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
		return tokens[0] + " " + api.URL()
	}
	first.Close()
	for server, want := range map[string]string{"": "Bearer secret " + second.URL, second.URL: "Bearer secret " + second.URL, third.URL: " " + third.URL} {
		if got := ask(server); got != want {
			t.Errorf("--server %q: asked %q, want %q", server, got, want)
		}
	}
}

// A crowd that is reached by HTTPS names no plain server, wherever it is.
func TestLearnServers(t *testing.T) {
	t.Parallel()
	s := target{URL: "https://a"}
	s.learn([]string{"https://b/", "https://b", "http://127.0.0.1:1", "https://a"})
	if !slices.Equal(s.all(), []string{"https://a", "https://b"}) {
		t.Errorf("%q", s.all())
	}
}
