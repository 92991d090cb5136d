package console

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// get asks the gallery for one page.
func get(t testing.TB, h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// Every page of every canned set answers, is bounded in size, carries the policy, and refers to nothing outside.
func TestGalleryPages(t *testing.T) {
	t.Parallel()
	h, sets := gallery()
	outside := regexp.MustCompile(`(?:src|href|action|data-events)="(?:https?:)?//`)
	inline := regexp.MustCompile(`<script(?:>|[^>]*[^>s]>[^<])|\sstyle="|<style|\son[a-z]+="|javascript:`)
	for _, set := range sets {
		for _, path := range set.Pages {
			w := get(t, h, path)
			want := http.StatusOK
			if strings.HasSuffix(path, "/nowhere") {
				want = http.StatusNotFound
			}
			body, _ := io.ReadAll(w.Body)
			if w.Code != want {
				t.Errorf("%s answers %d, want %d:\n%.400s", path, w.Code, want, body)
			}
			if len(body) > 1_500_000 {
				t.Errorf("%s has %d bytes; no page may be larger than 1.5 MB", path, len(body))
			}
			if got := w.Header().Get("Content-Security-Policy"); got != contentPolicy {
				t.Errorf("%s has policy %q", path, got)
			}
			if m := outside.Find(body); m != nil {
				t.Errorf("%s refers to another site: %s", path, m)
			}
			if m := inline.Find(body); m != nil {
				t.Errorf("%s holds an inline script or style: %s", path, m)
			}
			if n := strings.Count(string(body), "<h1"); n != 1 {
				t.Errorf("%s has %d first-level headings, want 1", path, n)
			}
			if i := strings.Index(string(body), "ZgotmplZ"); i >= 0 {
				t.Errorf("%s: a value was rejected by the template: %s", path, body[max(0, i-80):i+20])
			}
		}
	}
}
