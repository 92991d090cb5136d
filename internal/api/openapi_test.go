package api

import (
	"bytes"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write openapi.json")

// The description checked in is the one served.
func TestDescription(t *testing.T) {
	t.Parallel()
	h := newRig(t).handler
	if *update {
		if err := os.WriteFile("openapi.json", h.description, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("openapi.json")
	if err != nil || !bytes.Equal(want, h.description) {
		t.Fatal("openapi.json is out of date; run go generate ./internal/api")
	}
}
