package browser

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"github.com/chromedp/chromedp"
)

// watchProgress makes the page note every change of its progress: the words, the filled part of the stages, and how often it was loaded.
const watchProgress = `(() => {
	window.kept = true;
	window.seen = {words: [], fill: [], bars: []};
	const note = (list, value) => { if (value && list.at(-1) !== value) list.push(value); };
	const look = () => {
		note(seen.words, document.querySelector(".progress p")?.textContent);
		note(seen.fill, [...document.querySelectorAll(".graph .node rect")].map(r => r.getAttribute("width")).join(" "));
		note(seen.bars, String(document.querySelectorAll(".timeline .bar").length));
	};
	look();
	new MutationObserver(look).observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true});
	return true;
})()`

// A person signs in by the admin link, finds out what to do on the empty pages, watches a job from waiting to done without touching the page, looks at
// its tasks and money, downloads the result, cancels another job, and signs out. Nothing the pages do breaks their own policy.
func TestConsole(t *testing.T) {
	chromium(t)
	p := newPlatform(t)
	b := openTab(t, p.URL)
	b.open("/jobs")
	b.until(`location.pathname === "/login"`)
	b.signIn(p.Admin)
	b.shows("cloudcrowd run job.yaml")
	b.shows("cloudcrowd worker --join")
	b.shows("Sum of all accounts")

	job := p.submit("finance", map[string]string{"paths": "600000"})
	b.open("/jobs/" + string(job))
	b.until(`document.querySelector("#live").textContent === "Live"`)
	b.until(watchProgress)
	b.shows("No task has been carved yet")
	p.hire("ada", "grace")
	b.until(`document.querySelector(".verdict .state.done") !== null`)
	b.shows("100 % of the work is accepted")
	b.do("scroll to the timeline", chromedp.ScrollIntoView(chromedp.CSS(`[data-fragment="job.timeline"]`)))
	b.until(`document.querySelectorAll(".timeline .bar").length > 12`)
	if !eval[bool](b, `window.kept === true`) {
		t.Error("the page was loaded again while the job ran")
	}
	for list, least := range map[string]int{"words": 4, "fill": 3} {
		if n := eval[int](b, `seen.`+list+`.length`); n < least {
			t.Errorf("the page showed %d different states of its %s while the job ran, want at least %d: %s", n, list, least, eval[string](b, `JSON.stringify(seen.`+list+`)`))
		}
	}
	if n := eval[int](b, `document.querySelectorAll(".graph .node.done").length`); n != 2 {
		t.Errorf("%d stages are drawn as done, want 2", n)
	}

	b.do("click the result", chromedp.Click(chromedp.CSS(`.preview h3 a[href$="risk.json"]`)))
	if got, want := b.download("risk.json"), p.result(job, "risk.json"); !bytes.Equal(got, want) || len(want) == 0 {
		t.Errorf("the page's link gave %d bytes, the API %d", len(got), len(want))
	}
	b.do("scroll to the tasks", chromedp.ScrollIntoView(chromedp.CSS(`[data-fragment="job.tasks"]`)))
	b.do("open a task", chromedp.Click(chromedp.CSS(`#tasks tbody a`)))
	b.until(`location.pathname.startsWith("/tasks/")`)
	b.shows("Why this worker?")

	second := p.submit("finance", map[string]string{"paths": "60000000", "seed": "7"})
	b.open("/jobs/" + string(second))
	b.do("cancel", chromedp.Click(chromedp.CSS(`details.act summary`)), chromedp.SendKeys(chromedp.CSS(`details.act input[name=reason]`), "no longer needed"), chromedp.Click(chromedp.CSS(`details.act button.danger`)))
	b.until(`document.querySelector(".verdict .state.cancelled") !== null`)
	b.shows("no longer needed")
	if got, err := p.api.Job(t.Context(), second); err != nil || got.State != cloudcrowd.JobCancelled || got.Hold.State == cloudcrowd.HoldPending {
		t.Errorf("after the button the job is %s with a hold that is %s (%v)", got.State, got.Hold.State, err)
	}

	b.open("/ledger")
	b.shows("Sum of all accounts: 0")
	b.shows("ada")
	for _, path := range []string{"/jobs", "/workers", "/accounts/admin", "/help"} {
		b.open(path)
		b.until(`document.querySelector("h1") !== null`)
	}
	b.do("sign out", chromedp.Click(chromedp.CSS(`form[action="/session/end"] button`)))
	b.until(`location.pathname === "/login"`)
	for _, path := range []string{"/", "/jobs", "/jobs/" + string(job), "/workers", "/ledger"} {
		b.open(path)
		if at := eval[string](b, `location.pathname`); at != "/login" {
			t.Errorf("signed out, %s is still shown at %s", path, at)
		}
	}
	b.clean()
}

// Every page can be read and used without scripts: signing in by the form, the pictures, the tables, cancelling.
func TestWithoutScripts(t *testing.T) {
	chromium(t)
	p := newPlatform(t)
	p.hire("ada", "grace")
	job := p.submit("finance", map[string]string{"paths": "100000"})
	done := p.ended(job)
	if done.State != cloudcrowd.JobDone {
		t.Fatalf("the job is %s: %s", done.State, done.Reason)
	}
	b := openTab(t, p.URL)
	b.scripts(false)
	b.open("/ledger")
	token := p.Admin[strings.Index(p.Admin, "#t=")+3:]
	b.do("sign in", chromedp.SendKeys(chromedp.CSS(`input[name=token]`), token), chromedp.Click(chromedp.CSS(`form.stack button`)))
	for deadline := patienceEnds(); !strings.HasSuffix(b.address(), "/ledger"); {
		deadline.check(t, "the form signs in")
	}
	for path, want := range map[string][]string{
		"/":                                   {"Value at risk", "ada", "Sum of all accounts"},
		"/jobs":                               {"Value at risk", "done"},
		"/jobs/" + string(job):                {"100 % of the work is accepted", "simulate", "risk.json", "What happened", "ada", "#0"},
		"/tasks/" + string(job) + "-0-0":      {"Why this worker?", "accepted"},
		"/workers":                            {"ada", "grace", "linux"},
		"/workers/" + string(p.worker("ada")): {"ada", "Earned"},
		"/ledger":                             {"Sum of all accounts: 0", "ada", string(job)},
		"/help":                               {"Signs"},
	} {
		b.open(path)
		text := b.markup()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("without scripts %s lacks %q", path, w)
			}
		}
		if strings.Contains(text, `class="js"`) {
			t.Fatal("scripts ran")
		}
	}
	b.open("/jobs/" + string(job))
	for _, picture := range []string{"svg.graph .node.done", "svg.timeline .bar.accepted", "svg.spending path"} {
		if n := eval[int](b, `document.querySelectorAll("`+picture+`").length`); n == 0 {
			t.Errorf("without scripts the job's page lacks %s", picture)
		}
	}
	b.clean()
}

// When the server dies, an open page says that it is no longer live; when the server is back, the page heals by itself and goes on with the job.
func TestServerLost(t *testing.T) {
	chromium(t)
	p := newPlatform(t)
	b := openTab(t, p.URL)
	b.signIn(p.Admin)
	job := p.submit("finance", map[string]string{"paths": "200000"})
	b.open("/jobs/" + string(job))
	b.until(`document.querySelector("#live").textContent === "Live"`)
	b.until(`(window.kept = true)`)
	b.away(true)
	p.crash()
	b.until(`/trying again/.test(document.querySelector("#live").textContent)`)
	p.again()
	b.until(`document.querySelector("#live").textContent === "Live"`)
	b.away(false)
	p.hire("ada", "grace")
	b.until(`document.querySelector(".verdict .state.done") !== null`)
	if !eval[bool](b, `window.kept === true`) {
		t.Error("the page was loaded again")
	}
	b.clean()
}

// The pages refuse what the browser would let through from elsewhere: a request with a session cookie that another site started.
func TestOtherSite(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	for _, path := range []string{"/session/end", "/theme", "/jobs/j0000000000000000/cancel", "/workers/invites"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL+path, strings.NewReader("reason=x"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Origin", "https://elsewhere.example")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<12))
		answer.Body.Close()
		if answer.StatusCode != http.StatusForbidden && answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("POST %s from another site: %s %s", path, answer.Status, body)
		}
	}
}
