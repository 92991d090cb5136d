package browser

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	browserproto "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	logproto "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long anything may take before a test gives up. It is long: a busy machine is no failure.
const patience = 90 * time.Second

// tab is an open page. It records what a page must not do: errors in the console, violations of the content policy, requests to other hosts.
type tab struct {
	t         *testing.T
	ctx       context.Context
	base      string
	downloads string

	mu     sync.Mutex
	faults []string
	asked  int
	saved  map[string]string // GUID of a finished download → name the server gave it
	naming map[string]string
	outage bool // the server is away on purpose: failed requests are no fault
}

// openTab starts a browser with one tab for the server at base.
func openTab(t *testing.T, base string) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	alloc, stopAlloc := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stopAlloc)
	ctx, stop := chromedp.NewContext(alloc)
	t.Cleanup(stop)
	b := &tab{t: t, ctx: ctx, base: base, downloads: t.TempDir(), saved: map[string]string{}, naming: map[string]string{}}
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("the browser did not start: %v", err)
	}
	if err := chromedp.Listen(ctx, b.event); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.ListenBrowser(ctx, b.event); err != nil {
		t.Fatal(err)
	}
	yes := true
	steps := []error{
		second(chromedp.Call(ctx, network.Enable, network.EnableParams{})),
		second(chromedp.Call(ctx, logproto.Enable, cdp.Empty{})),
		second(chromedp.CallBrowser(ctx, browserproto.SetDownloadBehavior, browserproto.SetDownloadBehaviorParams{
			Behavior: browserproto.SetDownloadBehaviorBehaviorAllowAndName, DownloadPath: b.downloads, EventsEnabled: &yes})),
	}
	for _, err := range steps {
		if err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func second[T any](_ T, err error) error { return err }

// event records one event of the browser. It runs on the goroutine that reads them and calls nothing.
func (b *tab) event(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fault := func(format string, args ...any) { b.faults = append(b.faults, fmt.Sprintf(format, args...)) }
	switch e := ev.(type) {
	case *network.EventRequestWillBeSent:
		b.asked++
		u, err := url.Parse(e.Request.URL)
		if home, _ := url.Parse(b.base); err != nil || u.Scheme != "data" && u.Scheme != "blob" && u.Host != home.Host {
			fault("request to another host: %s", e.Request.URL)
		}
	case *logproto.EventEntryAdded: // violations of the content policy come here, too
		if e.Entry.Level == logproto.EntryLevelError && !(b.outage && e.Entry.Source == logproto.EntrySourceNetwork) {
			fault("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		fault("exception: %s", e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			fault("console.%s with %d values", e.Type, len(e.Args))
		}
	case *browserproto.EventDownloadWillBegin:
		b.naming[e.GUID] = e.SuggestedFilename
	case *browserproto.EventDownloadProgress:
		if e.State == browserproto.DownloadProgressStateCompleted {
			b.saved[e.GUID] = b.naming[e.GUID]
		}
	}
}

// clean fails the test if a page did what it must not do.
func (b *tab) clean() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.asked == 0 {
		b.t.Error("no request was seen: nothing was checked")
	}
	for _, f := range b.faults {
		b.t.Error(f)
	}
}

// away says whether the server is away on purpose.
func (b *tab) away(yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.outage = yes
}

// do performs steps.
func (b *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

// open goes to a page of the server.
func (b *tab) open(path string) {
	b.t.Helper()
	b.do("open "+path, chromedp.Navigate(b.base+path))
}

// eval evaluates an expression in the page.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// text is all that can be read in the page.
func (b *tab) text() string { return eval[string](b, `document.body.innerText`) }

// until waits until an expression is true in the page, which may move on meanwhile.
func (b *tab) until(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for {
		_, err := chromedp.Run(ctx, chromedp.Poll[bool](expression, chromedp.WithPollingInterval(100*time.Millisecond), chromedp.WithPollingTimeout(patience)))
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			b.t.Fatalf("it never came true that %s: %v; the page says:\n%s", expression, err, b.text())
		}
	}
}

// shows waits until a text can be read in the page.
func (b *tab) shows(text string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`document.readyState !== "loading" && document.body.innerText.includes(%q)`, text))
}

// scripts turns scripts on or off, for pages opened from now on.
func (b *tab) scripts(on bool) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on}); err != nil {
		b.t.Fatal(err)
	}
}

// download waits for a file of this name and returns its bytes.
func (b *tab) download(name string) []byte {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		b.mu.Lock()
		for guid, saved := range b.saved {
			if saved == name {
				b.mu.Unlock()
				data, err := os.ReadFile(filepath.Join(b.downloads, guid))
				if err != nil {
					b.t.Fatal(err)
				}
				return data
			}
		}
		b.mu.Unlock()
		select {
		case <-look.C:
		case <-ctx.Done():
			b.t.Fatalf("%s was not downloaded", name)
		}
	}
}

// signIn opens the admin link as a person would.
func (b *tab) signIn(link string) {
	b.t.Helper()
	b.do("open the admin link", chromedp.Navigate(link))
	b.until(`location.pathname === "/" && document.readyState === "complete"`)
	if at := eval[string](b, `location.href`); strings.Contains(at, "cc_") {
		b.t.Errorf("the token stays in the address: %s", at)
	}
}
