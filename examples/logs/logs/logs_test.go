package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd/examples/internal/exampletest"
)

func scanTask(t *testing.T, log []byte) exampletest.Files {
	t.Helper()
	return exampletest.Task(t, exampletest.Files{"log": log}, func(in, out string) error {
		return run([]string{"scan", "-in", in, "-out", out})
	})
}

func mergeRun(in, out string, final bool) error {
	return run([]string{"merge", "-in", in, "-out", out, fmt.Sprintf("-final=%t", final)})
}

func reportOfLog(t *testing.T, log string) report {
	t.Helper()
	var r report
	result := exampletest.Tree(t, []exampletest.Files{scanTask(t, []byte(log))}, 2, mergeRun)
	if err := json.Unmarshal(result["report.json"], &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// The report over random pieces of the log equals, byte for byte, the one of the same program over the whole file.
func TestAnyCut(t *testing.T) {
	t.Parallel()
	log := exampletest.Load(t, "../apache-access.log.gz")
	// Bytes that are no text, and lines that are no requests, must not depend on the cut either.
	random := rand.New(rand.NewPCG(9, 9))
	lines := bytes.SplitAfter(log, []byte("\n"))
	for range 200 {
		i := random.IntN(len(lines))
		switch random.IntN(4) {
		case 0:
			lines[i] = []byte("garbage " + strconv.Itoa(i) + " \xff\xfe\x00 <>&\n")
		case 1:
			lines[i] = bytes.Replace(lines[i], []byte("GET /"), []byte("GET /\xc3\x28\xa0"+strconv.Itoa(i%3)), 1)
		case 2:
			lines[i] = bytes.Replace(lines[i], []byte("GET /"), []byte{'G', 'E', 'T', ' ', '/', byte(0x80 + i%8)}, 1)
		case 3:
			lines[i] = []byte("\r\n")
		}
	}
	for _, text := range [][]byte{log, bytes.Join(lines, nil)} {
		whole := exampletest.Tree(t, []exampletest.Files{scanTask(t, text)}, 2, mergeRun)
		for seed := range uint64(6) {
			random := rand.New(rand.NewPCG(seed, 4))
			var parts []exampletest.Files
			for _, piece := range exampletest.Lines(random, text, 1+random.IntN(40)) {
				parts = append(parts, scanTask(t, piece))
			}
			exampletest.Same(t, exampletest.Tree(t, parts, 2+random.IntN(15), mergeRun), whole)
		}
	}
}

// Totals of the real log are those that a regular expression finds.
func TestAgainstRegularExpression(t *testing.T) {
	t.Parallel()
	log := string(exampletest.Load(t, "../apache-access.log.gz"))
	form := regexp.MustCompile(`^(\S+) \S+ \S+ \[([^\]]+)\] "(\S+) (\S+)[^"]*" (\d{3}) (\d+|-)`)
	statuses, hosts, hours := map[string]int64{}, map[string]int64{}, map[string]int64{}
	var total, wordpress int64
	for _, line := range strings.Split(strings.TrimSpace(log), "\n") {
		m := form.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("no match: %s", line)
		}
		statuses[m[5]]++
		hosts[m[1]]++
		n, _ := strconv.ParseInt(m[6], 10, 64)
		total += n
		at, err := time.Parse("02/Jan/2006:15:04:05 -0700", m[2])
		if err != nil {
			t.Fatal(err)
		}
		hours[at.UTC().Format("2006-01-02T15:00Z")]++
		if strings.Contains(m[4], "wp-login") || strings.Contains(m[4], "wp-admin") {
			wordpress++
		}
	}
	result := exampletest.Tree(t, []exampletest.Files{scanTask(t, []byte(log))}, 2, mergeRun)
	if !bytes.Equal(result["report.svg"], exampletest.Load(t, "../report.svg")) {
		t.Error("the README shows another report.svg")
	}
	r := reportOfLog(t, log)
	if r.Lines != 10_000 || r.Requests != 10_000 || r.UnparsedLines != 0 || r.TruncatedLines != 1 {
		t.Errorf("%d lines, %d requests, %d unparsed, %d truncated", r.Lines, r.Requests, r.UnparsedLines, r.TruncatedLines)
	}
	if r.Bytes != total || r.Hosts != len(hosts) {
		t.Errorf("%d bytes of %d hosts, want %d of %d", r.Bytes, r.Hosts, total, len(hosts))
	}
	for status, n := range statuses {
		if r.Statuses[status] != n {
			t.Errorf("status %s: %d, want %d", status, r.Statuses[status], n)
		}
	}
	most := int64(0)
	for _, n := range hosts {
		most = max(most, n)
	}
	if r.TopTalkers[0].Requests != most || hosts[r.TopTalkers[0].Name] != most {
		t.Errorf("top talker %+v, want one with %d", r.TopTalkers[0], most)
	}
	if len(r.Bandwidth) != len(hours) {
		t.Errorf("%d hours, want %d", len(r.Bandwidth), len(hours))
	}
	for _, h := range r.Bandwidth {
		if hours[h.Hour] != h.Requests {
			t.Errorf("%s: %d requests, want %d", h.Hour, h.Requests, hours[h.Hour])
		}
	}
	if r.Probing.Kinds[0].Kind != "wordpress" || r.Probing.Kinds[0].Requests != wordpress {
		t.Errorf("%+v, want %d wordpress requests", r.Probing.Kinds[0].Kind, wordpress)
	}
}

// Lines of every known form are read to the same fields, and what is no request is none.
func TestParseLine(t *testing.T) {
	t.Parallel()
	want := request{host: "10.0.0.1", second: 1431857103, method: "GET", path: "/a?b=c", status: 200, bytes: 5}
	for _, line := range []string{
		`10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /a?b=c HTTP/1.1" 200 5`,
		`10.0.0.1 - bob smith [17/May/2015:12:05:03 +0200] "GET /a?b=c HTTP/1.1" 200 5 "-" "-"`,
		`10.0.0.1 - - [17/May/2015:05:35:03 -0430] "GET /a?b=c" 200 5 "x \" y" "z"`,
		`www.example.com:443 10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /a?b=c HTTP/2.0" 200 5 "-" "-" 17 more`,
	} {
		got, ok := parseLine(line)
		got.referrer, got.agent = "", ""
		if !ok || got != want {
			t.Errorf("%s\n got %+v %v\nwant %+v", line, got, ok, want)
		}
	}
	if r, ok := parseLine(`::1 - - [17/May/2015:10:05:03 +0000] "\x16\x03\x01" 400 -`); !ok || r.host != "::1" || r.method != "" || r.bytes != 0 {
		t.Errorf("not HTTP: %+v %v", r, ok)
	}
	for _, line := range []string{
		"", "hello", `10.0.0.1 - - [17/May/2015:10:05:03] "GET / HTTP/1.1" 200 5`, `10.0.0.1 - - [32/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5`,
		`10.0.0.1 - - [17/Mai/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5`, `10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1 200 5`,
		`10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 2x0 5`, `10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 many`,
		`10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 99999999999999999999`, `{"json": true}`, ` [`,
	} {
		if r, ok := parseLine(line); ok {
			t.Errorf("%s: read as %+v", line, r)
		}
	}
}

// Any bytes at all scan without a panic.
func TestGarbage(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 5))
	base := `10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /a%2e%2e/%zz HTTP/1.1" 404 5 "a" "b"` + "\n"
	for range 3000 {
		line := []byte(base)
		for range 1 + random.IntN(6) {
			line[random.IntN(len(line))] = byte(random.IntN(256))
		}
		if _, err := scan(bytes.NewReader(line[:random.IntN(len(line)+1)])); err != nil && !strings.Contains(err.Error(), "compressed") {
			t.Fatal(err)
		}
	}
}

// Probing is recognised through escapes, and ordinary requests are left alone.
func TestProbeOf(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/wp-login.php":                            "wordpress",
		"/blog/wp-admin/":                          "wordpress",
		"/phpMyAdmin/index.php":                    "admin panels",
		"/static/..%2f..%2fetc/passwd":             "path traversal",
		"/static/%252e%252e%252fsecret":            "path traversal",
		"/a?id=1+UNION+SELECT+password":            "injection",
		"/?x=%24%7Bjndi:ldap://evil/a%7D":          "injection",
		"/.git/config":                             "secrets",
		"/.env":                                    "secrets",
		"/cgi-bin/test.cgi":                        "scripts",
		"http://example.com/":                      "open proxy",
		"/js/fckeditor/editor/fckeditor.html":      "upload editors",
		"/":                                        "",
		"/blog/tags/sysadmin":                      "",
		"/projects/xdotool/xdotool.xhtml":          "",
		"/files/a..b.tar.gz":                       "",
		"/style/selection.css?union=select&a=100%": "",
	} {
		if got := probeOf(request{method: "GET", path: path}); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if got := probeOf(request{method: "GET", path: "/", agent: "sqlmap/1.4"}); got != "scanner" {
		t.Errorf("scanner: %q", got)
	}
	if got := probeOf(request{path: "\x16\x03"}); got != "not HTTP" {
		t.Errorf("not HTTP: %q", got)
	}
}

// A burst is found when its errors lie on both sides of a cut, and its borders are those of a search over every window.
func TestBursts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 6))
		p := newPartial()
		at := make([]int64, 200)
		for minute := range at {
			if random.IntN(6) == 0 {
				at[minute] = int64(random.IntN(4))
			}
			if at[minute] > 0 {
				p.Minutes[int64(minute)] = traffic{Requests: at[minute] + 1, ClientErrors: at[minute]}
				p.Errors[int64(minute)] = map[string]int64{"host": at[minute]}
			}
		}
		o := options{window: 1 + random.IntN(12), burst: 1 + random.IntN(9), top: 3}
		// Naive: mark the error minutes of every window that reaches the threshold.
		inside := make([]bool, len(at))
		for start := 1 - o.window; start < len(at); start++ {
			from, to := max(0, start), min(len(at), start+o.window)
			var sum int64
			first, last := -1, -1
			for minute := from; minute < to; minute++ {
				sum += at[minute]
				if at[minute] > 0 {
					if first < 0 {
						first = minute
					}
					last = minute
				}
			}
			if sum >= int64(o.burst) {
				for minute := first; minute <= last; minute++ {
					inside[minute] = true
				}
			}
		}
		got := make([]bool, len(at))
		for _, b := range bursts(p, o) {
			var sum int64
			for minute := b.start; minute < b.end; minute++ {
				got[minute] = true
				sum += at[minute]
			}
			if sum != b.Errors || b.Errors < int64(o.burst) {
				t.Errorf("seed %d: burst of %d errors, counted %d", seed, b.Errors, sum)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(inside) {
			t.Fatalf("seed %d, %+v:\n got %v\nwant %v", seed, o, got, inside)
		}
	}
}

// An empty log makes an empty report; a file that is no access log at all is refused with its first line.
func TestEmptyAndForeign(t *testing.T) {
	t.Parallel()
	if r := reportOfLog(t, "\n\n"); r.Lines != 0 || r.Requests != 0 || len(r.Bursts) != 0 {
		t.Errorf("%+v", r)
	}
	part := scanTask(t, []byte("name,age\nann,3\n"))
	_, err := exampletest.TryTask(t, exampletest.Files{"parts/000000/partial.json": part["partial.json"]},
		func(in, out string) error { return mergeRun(in, out, true) })
	if err == nil || !strings.Contains(err.Error(), "none of 2 lines") || !strings.Contains(err.Error(), "name,age") {
		t.Errorf("error %v", err)
	}
	for name, args := range map[string][]string{"-window 0": {"-window", "0"}, "-burst 0": {"-burst", "0"}, "-top 0": {"-top", "0"}} {
		if err := run(append([]string{"merge"}, args...)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := scan(strings.NewReader("\x1f\x8b\x08\x00")); err == nil {
		t.Error("gzip accepted as lines")
	}
}

// The picture is well-formed for an empty log, one line, and years.
func TestPlot(t *testing.T) {
	t.Parallel()
	line := "h - - [17/May/%d:10:05:03 +0000] \"GET /<a>&\\\" HTTP/1.1\" 500 5\n"
	for _, log := range []string{"", fmt.Sprintf(line, 2015), fmt.Sprintf(line, 1969) + fmt.Sprintf(line, 2015)} {
		svg := exampletest.Tree(t, []exampletest.Files{scanTask(t, []byte(log))}, 2, mergeRun)["report.svg"]
		decoder := xml.NewDecoder(bytes.NewReader(svg))
		for {
			if _, err := decoder.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
}
