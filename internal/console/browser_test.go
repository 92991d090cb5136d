package console

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"cloudcrowd.dev/cloudcrowd"
)

// axeSource is axe-core 4.14.1 (MPL-2.0, see testdata/axe-core.LICENSE), compressed.
//
//go:embed testdata/axe.min.js.gz
var axeSource []byte

// browser starts a headless Chromium for a test and returns the context of one tab. Without a Chromium the test is skipped loudly.
func browser(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: needs a browser, and -short was given")
	}
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		if os.Getenv("CLOUDCROWD_REQUIRE_ALL") == "1" {
			t.Fatal("no Chromium was found; install it (Debian: apt-get install chromium)")
		}
		t.Skip("SKIPPED: no Chromium was found, so the console was not tried in a browser (Debian: apt-get install chromium)")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	alloc, stopAlloc := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stopAlloc)
	ctx, stop := chromedp.NewContext(alloc)
	t.Cleanup(stop)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("the browser did not start: %v", err)
	}
	return ctx
}

func axe(t *testing.T) string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(axeSource))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// axe finds nothing wrong on any page of the gallery, in either theme; no page is wider than a phone.
func TestAccessible(t *testing.T) {
	t.Parallel()
	h, sets := gallery()
	srv := httptest.NewServer(h)
	defer srv.Close()
	ctx := browser(t)
	source := axe(t)
	for _, set := range sets {
		for _, path := range set.Pages {
			for _, theme := range []string{"light", "dark"} {
				if theme == "dark" && set.Name != "small" && set.Name != "failing" {
					continue // the others show nothing that has a colour of its own
				}
				if set.Name != "small" && (strings.HasSuffix(path, "/help") || strings.HasSuffix(path, "/nowhere")) {
					continue // the same everywhere
				}
				checkPage(t, ctx, srv.URL+path+"?theme="+theme, source)
			}
		}
	}
}

func checkPage(t *testing.T, ctx context.Context, address, source string) {
	t.Helper()
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(360, 740), chromedp.Navigate(address)); err != nil {
		t.Fatalf("%s: %v", address, err)
	}
	wide, err := chromedp.Run(ctx, chromedp.Evaluate[int](`document.documentElement.scrollWidth`))
	if err != nil || wide > 360 {
		t.Errorf("%s is %d px wide on a phone of 360 (%v)", address, wide, err)
	}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 900)); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[bool](source+";true")); err != nil {
		t.Fatalf("%s: axe: %v", address, err)
	}
	only := ""
	if strings.HasSuffix(address, "dark") { // the same page in other colours
		only = `, runOnly: ["color-contrast"]`
	}
	found, err := chromedp.Run(ctx, chromedp.Evaluate[string](`axe.run(document, {resultTypes: ["violations"], preload: false, iframes: false, elementRef: false, performanceTimer: false`+only+`}).then(r => JSON.stringify(r.violations.map(
		v => ({rule: v.id, help: v.help, at: v.nodes.slice(0, 4).map(n => n.target.join(" ") + ": " + n.failureSummary.slice(0, 300))}))))`, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: axe: %v", address, err)
	}
	var violations []struct {
		Rule, Help string
		At         []string
	}
	if err := json.Unmarshal([]byte(found), &violations); err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		t.Errorf("%s: %s (%s)\n\t%s", address, v.Rule, v.Help, strings.Join(v.At, "\n\t"))
	}
}

// An open page follows the event stream, changes only what changed, says when the stream is lost and heals; keys work.
func TestLive(t *testing.T) {
	t.Parallel()
	d := cannedSmall()
	var progress atomic.Int64
	progress.Store(10)
	backend := &movingJob{canned: d, progress: &progress}
	events, down := make(chan string), atomic.Bool{}
	drop := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "retry: 50\n\n")
		w.(http.Flusher).Flush()
		for {
			select {
			case e := <-events:
				fmt.Fprintf(w, "id: 1\nevent: %s\ndata: {}\n\n", e)
				w.(http.Flusher).Flush()
			case <-drop:
				return
			case <-r.Context().Done():
				return
			}
		}
	})
	mux.Handle("/", New(Config{Backend: backend, Blobs: d, Auth: fixedViewer{"operator", cloudcrowd.RoleOperator}}))
	srv := httptest.NewServer(mux)
	defer srv.Close()
	defer srv.CloseClientConnections()
	ctx, cancel := context.WithTimeout(browser(t), time.Minute)
	defer cancel()
	id := d.jobIn(t, cloudcrowd.JobRunning).ID
	do := func(what string, actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, actions...); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	until := func(expression string) {
		t.Helper()
		_, err := chromedp.Run(ctx, chromedp.Poll[bool](expression))
		for err != nil && ctx.Err() == nil { // the page was left while it was asked
			_, err = chromedp.Run(ctx, chromedp.Poll[bool](expression))
		}
		if err != nil {
			state, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelector("#live").textContent + " | " + document.querySelector(".progress p")?.textContent`))
			t.Fatalf("it never came true that %s: %v (%s)", expression, err, state)
		}
	}
	do("open", chromedp.Navigate(srv.URL+"/jobs/"+string(id)))
	until(`document.querySelector("#live").textContent === "Live"`)
	until(`document.querySelector(".progress p").textContent.includes("10 %")`)
	do("mark", chromedp.Steps(eval(`window.kept = document.querySelector(".progress p"); document.querySelector("[data-fragment='job.head'] .copy").focus()`)))
	progress.Store(55)
	events <- "task.done"
	until(`document.querySelector(".progress p").textContent.includes("55 %")`)
	until(`window.kept === document.querySelector(".progress p") && document.activeElement.classList.contains("copy")`)
	down.Store(true)
	drop <- struct{}{}
	until(`/trying again/.test(document.querySelector("#live").textContent)`)
	down.Store(false)
	progress.Store(70)
	until(`document.querySelector("#live").textContent === "Live"`)
	until(`document.querySelector(".progress p").textContent.includes("70 %")`)
	do("help", eval(`document.activeElement.blur()`), chromedp.KeyEvent("?"))
	until(`document.getElementById("keys").open`)
	do("close", chromedp.KeyEvent("?"))
	until(`!document.getElementById("keys").open`)
	do("theme", chromedp.KeyEvent("t"))
	until(`/^(dark|light)$/.test(document.documentElement.dataset.theme)`)
	do("go", chromedp.KeyEvent("g"), chromedp.KeyEvent("j"))
	until(`location.pathname === "/jobs"`)
	until(`document.readyState === "complete" && document.documentElement.classList.contains("js")`)
	do("next row", chromedp.KeyEvent("j"))
	until(`document.querySelectorAll("tr.here").length === 1`)
	do("search", chromedp.KeyEvent("/"))
	until(`document.activeElement.name === "q"`)
}

func eval(expression string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := chromedp.Evaluate[any](expression)(ctx, t)
		return err
	})
}

// movingJob is canned data whose running job's progress can be set, in percent.
type movingJob struct {
	*canned
	progress *atomic.Int64
}

func (m *movingJob) Job(ctx context.Context, id cloudcrowd.JobID) (cloudcrowd.Job, error) {
	j, err := m.canned.Job(ctx, id)
	j.Progress = float64(m.progress.Load()) / 100
	return j, err
}
