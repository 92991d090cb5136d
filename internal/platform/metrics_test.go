package platform

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// Whoever asks on this machine gets the figures, in good form; docs/operating.md lists exactly those of ours; and they tell of what happened.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s, err := StartServer(t.Context(), ServerConfig{DataDir: quickDir(t), Listen: "127.0.0.1:0", Version: "v7"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop(t.Context())
	resp, err := http.Get(s.URL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%d %s %v", resp.StatusCode, b, err)
	}
	problems, err := promlint.New(bytes.NewReader(b)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	var have []string
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "# TYPE cloudcrowd_"); ok {
			have = append(have, "cloudcrowd_"+strings.Fields(name)[0])
		}
	}
	page, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(cloudcrowd_[a-z_]+)").FindAllSubmatch(page, -1) {
		listed = append(listed, string(m[1]))
	}
	slices.Sort(have)
	slices.Sort(listed)
	if !slices.Equal(have, listed) {
		t.Errorf("docs/operating.md lists %q\nthe server says %q", listed, have)
	}
	for _, want := range []string{`cloudcrowd_build_info{version="v7"} 1`, "cloudcrowd_ready 1", "cloudcrowd_draining 0", "cloudcrowd_ledger_sum_microcredits 0",
		"cloudcrowd_commit_seconds_count 1", "cloudcrowd_journal_rows 1", "cloudcrowd_events_total 1"} {
		if !strings.Contains(string(b), "\n"+want+"\n") {
			t.Errorf("it does not say %s\n%s", want, b)
		}
	}
}
