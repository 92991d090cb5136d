package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
)

// partial is what a set of lines adds up to. Maps are written with sorted keys, so equal counts are equal bytes.
type partial struct {
	Lines     int64              `json:"lines"` // not blank
	Requests  int64              `json:"requests"`
	Truncated int64              `json:"truncated"`
	Samples   []string           `json:"samples"` // the first lines that are no requests
	Methods   map[string]int64   `json:"methods"`
	Statuses  map[int]int64      `json:"statuses"`
	Hosts     map[string]traffic `json:"hosts"`
	Pages     map[string]traffic `json:"pages"`   // successful requests by path, without the query
	Missing   map[string]int64   `json:"missing"` // status 404 by path
	Minutes   map[int64]traffic  `json:"minutes"` // since 1970, UTC
	// Errors counts errors by minute and host, for the bursts.
	Errors map[int64]map[string]int64 `json:"errors"`
	// Probes counts probing requests by kind, host and path.
	Probes map[string]map[string]map[string]int64 `json:"probes"`
}

// traffic is how much some part of the requests is.
type traffic struct {
	Requests     int64 `json:"n,omitempty"`
	Bytes        int64 `json:"b,omitempty"`
	ClientErrors int64 `json:"c,omitempty"` // status 400–499
	ServerErrors int64 `json:"s,omitempty"` // status 500–599
}

// maxSamples bounds how many unparsed lines are shown.
const maxSamples = 5

func newPartial() *partial {
	return &partial{
		Samples: []string{}, Methods: map[string]int64{}, Statuses: map[int]int64{}, Hosts: map[string]traffic{},
		Pages: map[string]traffic{}, Missing: map[string]int64{}, Minutes: map[int64]traffic{},
		Errors: map[int64]map[string]int64{}, Probes: map[string]map[string]map[string]int64{},
	}
}

// scan counts the lines of a log.
func scan(r io.Reader) (*partial, error) {
	p := newPartial()
	reader := bufio.NewReaderSize(r, 1<<16)
	if head, _ := reader.Peek(4); bytes.HasPrefix(head, []byte("\x1f\x8b")) || string(head) == "\x28\xb5\x2f\xfd" {
		return nil, errors.New("this is compressed; the lines splitter hands out plain lines")
	}
	for {
		line, err := reader.ReadString('\n')
		if text := strings.TrimRight(strings.TrimPrefix(line, "\ufeff"), "\r\n"); strings.TrimSpace(text) != "" {
			p.line(text)
		}
		if errors.Is(err, io.EOF) {
			return p, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// line counts one line.
func (p *partial) line(text string) {
	p.Lines++
	r, ok := parseLine(text)
	if !ok {
		if len(p.Samples) < maxSamples {
			p.Samples = append(p.Samples, clean(text))
		}
		return
	}
	p.Requests++
	if r.truncated {
		p.Truncated++
	}
	t := traffic{Requests: 1, Bytes: r.bytes}
	switch r.status / 100 {
	case 4:
		t.ClientErrors = 1
	case 5:
		t.ServerErrors = 1
	}
	host, path := clean(r.host), clean(r.path)
	page, _, _ := strings.Cut(path, "?")
	minute := floorDiv(r.second, 60)
	method := r.method
	if method == "" {
		method = "(none)"
	}
	p.Methods[clean(method)]++
	p.Statuses[r.status]++
	plus(p.Hosts, host, t)
	plus(p.Minutes, minute, t)
	if r.status < 400 && r.method != "" {
		plus(p.Pages, page, traffic{Requests: 1, Bytes: r.bytes})
	}
	if r.status == 404 {
		p.Missing[path]++
	}
	if r.status >= 400 {
		if p.Errors[minute] == nil {
			p.Errors[minute] = map[string]int64{}
		}
		p.Errors[minute][host]++
	}
	if kind := probeOf(r); kind != "" {
		p.probe(kind, host, path, 1)
	}
}

func (p *partial) probe(kind, host, path string, n int64) {
	if p.Probes[kind] == nil {
		p.Probes[kind] = map[string]map[string]int64{}
	}
	if p.Probes[kind][host] == nil {
		p.Probes[kind][host] = map[string]int64{}
	}
	p.Probes[kind][host][path] += n
}

// add adds the counts of lines that come later in the log.
func (p *partial) add(later *partial) {
	p.Lines += later.Lines
	p.Requests += later.Requests
	p.Truncated += later.Truncated
	p.Samples = append(p.Samples, later.Samples...)
	p.Samples = p.Samples[:min(len(p.Samples), maxSamples)]
	for method, n := range later.Methods {
		p.Methods[method] += n
	}
	for status, n := range later.Statuses {
		p.Statuses[status] += n
	}
	for host, t := range later.Hosts {
		plus(p.Hosts, host, t)
	}
	for page, t := range later.Pages {
		plus(p.Pages, page, t)
	}
	for path, n := range later.Missing {
		p.Missing[path] += n
	}
	for minute, t := range later.Minutes {
		plus(p.Minutes, minute, t)
	}
	for minute, hosts := range later.Errors {
		if p.Errors[minute] == nil {
			p.Errors[minute] = map[string]int64{}
		}
		for host, n := range hosts {
			p.Errors[minute][host] += n
		}
	}
	for kind, hosts := range later.Probes {
		for host, paths := range hosts {
			for path, n := range paths {
				p.probe(kind, host, path, n)
			}
		}
	}
}

// plus adds t to the entry of key.
func plus[K comparable](m map[K]traffic, key K, t traffic) {
	sum := m[key]
	sum.Requests += t.Requests
	sum.Bytes += t.Bytes
	sum.ClientErrors += t.ClientErrors
	sum.ServerErrors += t.ServerErrors
	m[key] = sum
}

// floorDiv divides and rounds down, for times before 1970 too.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// writeJSON writes a value as JSON, indented by indent.
func writeJSON(path string, v any, indent string) error {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	if err := encoder.Encode(v); err != nil {
		return err
	}
	return os.WriteFile(path, buffer.Bytes(), 0o644)
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}
