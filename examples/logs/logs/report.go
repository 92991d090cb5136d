package main

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
)

// options are the choices of a report.
type options struct{ window, burst, top int }

func (o options) validate() error {
	switch {
	case o.window < 1 || o.window > 1440:
		return fmt.Errorf("-window %d: must be from 1 to 1440 minutes", o.window)
	case o.burst < 1:
		return fmt.Errorf("-burst %d: must be at least 1", o.burst)
	case o.top < 1 || o.top > 1000:
		return fmt.Errorf("-top %d: must be from 1 to 1000", o.top)
	}
	return nil
}

// report is report.json. Times are UTC.
type report struct {
	From            string           `json:"from"` // first minute with a request
	To              string           `json:"to"`   // end of the last one
	Lines           int64            `json:"lines"`
	Requests        int64            `json:"requests"`
	UnparsedLines   int64            `json:"unparsed_lines"`
	UnparsedSamples []string         `json:"unparsed_samples"`
	TruncatedLines  int64            `json:"truncated_lines"` // requests whose referrer or agent is cut short
	Hosts           int              `json:"hosts"`
	Bytes           int64            `json:"bytes"`
	BytesPerSecond  float64          `json:"mean_bytes_per_second"`
	StatusClasses   map[string]int64 `json:"status_classes"`
	Statuses        map[string]int64 `json:"statuses"`
	Methods         map[string]int64 `json:"methods"`
	TopTalkers      []ranked         `json:"top_talkers"`
	TopBandwidth    []ranked         `json:"top_bandwidth"`
	TopPages        []ranked         `json:"top_pages"`
	TopMissing      []ranked         `json:"top_missing"`
	Window          int              `json:"burst_window_minutes"`
	Threshold       int              `json:"burst_threshold_errors"`
	Bursts          []burst          `json:"error_bursts"`
	Probing         probing          `json:"probing"`
	Bandwidth       []hour           `json:"bandwidth_by_hour"`
}

// ranked is a line of a ranking.
type ranked struct {
	Name     string  `json:"name"`
	Requests int64   `json:"requests"`
	Bytes    int64   `json:"bytes,omitempty"`
	Errors   int64   `json:"errors,omitempty"`
	Share    float64 `json:"share"` // of all requests; of all bytes in top_bandwidth
}

// burst is a time in which errors crowd.
type burst struct {
	From         string   `json:"from"`
	To           string   `json:"to"` // one past the last minute
	Errors       int64    `json:"errors"`
	ClientErrors int64    `json:"client_errors"`
	ServerErrors int64    `json:"server_errors"`
	Requests     int64    `json:"requests"`
	ErrorRate    float64  `json:"error_rate"`
	Hosts        []counts `json:"hosts"` // by errors

	start, end int64 // minutes
}

type counts struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
}

// probing lists requests that look for weaknesses.
type probing struct {
	Requests int64       `json:"requests"`
	Hosts    int         `json:"hosts"`
	Kinds    []probeKind `json:"kinds"`
}

type probeKind struct {
	Kind     string      `json:"kind"`
	Requests int64       `json:"requests"`
	Hosts    []probeHost `json:"hosts"`
}

type probeHost struct {
	Host     string   `json:"host"`
	Requests int64    `json:"requests"`
	Paths    []counts `json:"paths"` // the most frequent ones
}

// hour is the traffic of one hour; hours without a request are left out.
type hour struct {
	Hour         string `json:"hour"`
	Requests     int64  `json:"requests"`
	Bytes        int64  `json:"bytes"`
	ClientErrors int64  `json:"client_errors"`
	ServerErrors int64  `json:"server_errors"`

	minute int64 // first one
}

// reportOf turns counts to the report.
func reportOf(p *partial, o options) (*report, error) {
	if p.Lines > 0 && p.Requests == 0 {
		return nil, fmt.Errorf("none of %d lines is in the common or combined log format; the first: %s", p.Lines, p.Samples[0])
	}
	r := &report{
		Lines: p.Lines, Requests: p.Requests, UnparsedLines: p.Lines - p.Requests, UnparsedSamples: p.Samples,
		TruncatedLines: p.Truncated, Hosts: len(p.Hosts),
		StatusClasses: map[string]int64{}, Statuses: map[string]int64{}, Methods: p.Methods,
		Window: o.window, Threshold: o.burst, Bursts: bursts(p, o), Probing: probesOf(p.Probes), Bandwidth: []hour{},
	}
	for status, n := range p.Statuses {
		r.Statuses[strconv.Itoa(status)] = n
		r.StatusClasses[strconv.Itoa(status/100)+"xx"] += n
	}
	for _, t := range p.Hosts {
		r.Bytes += t.Bytes
	}
	minutes := slices.Sorted(maps.Keys(p.Minutes))
	if len(minutes) > 0 {
		first, last := minutes[0], minutes[len(minutes)-1]
		r.From, r.To = timeOf(first), timeOf(last+1)
		r.BytesPerSecond = round(float64(r.Bytes)/float64(60*(last+1-first)), 3)
	}
	for _, minute := range minutes {
		t := p.Minutes[minute]
		start := floorDiv(minute, 60) * 60
		if n := len(r.Bandwidth); n == 0 || r.Bandwidth[n-1].minute != start {
			r.Bandwidth = append(r.Bandwidth, hour{Hour: timeOf(start), minute: start})
		}
		h := &r.Bandwidth[len(r.Bandwidth)-1]
		h.Requests += t.Requests
		h.Bytes += t.Bytes
		h.ClientErrors += t.ClientErrors
		h.ServerErrors += t.ServerErrors
	}
	byRequests := func(t traffic) int64 { return t.Requests }
	byBytes := func(t traffic) int64 { return t.Bytes }
	missing := map[string]traffic{}
	for path, n := range p.Missing {
		missing[path] = traffic{Requests: n}
	}
	r.TopTalkers = rank(p.Hosts, o.top, byRequests, r.Requests)
	r.TopBandwidth = rank(p.Hosts, o.top, byBytes, r.Bytes)
	r.TopPages = rank(p.Pages, o.top, byRequests, r.Requests)
	r.TopMissing = rank(missing, o.top, byRequests, r.Requests)
	return r, nil
}

// rank lists the n largest entries; equal ones by name.
func rank(entries map[string]traffic, n int, by func(traffic) int64, total int64) []ranked {
	names := slices.SortedFunc(maps.Keys(entries), func(a, b string) int {
		return cmp.Or(cmp.Compare(by(entries[b]), by(entries[a])), cmp.Compare(a, b))
	})
	list := []ranked{}
	for _, name := range names[:min(n, len(names))] {
		t := entries[name]
		list = append(list, ranked{name, t.Requests, t.Bytes, t.ClientErrors + t.ServerErrors,
			round(float64(by(t))/float64(max(1, total)), 6)})
	}
	return list
}

// ordered lists counts, largest first, equal ones by name, at most n.
func ordered(m map[string]int64, n int) []counts {
	list := []counts{}
	for name, count := range m {
		list = append(list, counts{name, count})
	}
	slices.SortFunc(list, func(a, b counts) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name))
	})
	return list[:min(n, len(list))]
}

// bursts finds the times in which errors crowd: every window of o.window minutes with at least o.burst errors, windows
// that overlap or touch joined to one, trimmed to the first and last minute with an error.
func bursts(p *partial, o options) []burst {
	list := []burst{}
	minutes := slices.Sorted(maps.Keys(p.Errors))
	errorsAt := func(minute int64) int64 { t := p.Minutes[minute]; return t.ClientErrors + t.ServerErrors }
	var sum int64
	first := 0
	for i, minute := range minutes {
		sum += errorsAt(minute)
		for minutes[first] <= minute-int64(o.window) {
			sum -= errorsAt(minutes[first])
			first++
		}
		if sum < int64(o.burst) {
			continue
		}
		if n := len(list); n > 0 && minutes[first] <= list[n-1].end {
			list[n-1].end = minutes[i] + 1
		} else {
			list = append(list, burst{start: minutes[first], end: minutes[i] + 1})
		}
	}
	for i := range list {
		b := &list[i]
		hosts := map[string]int64{}
		for minute := b.start; minute < b.end; minute++ {
			t := p.Minutes[minute]
			b.Requests += t.Requests
			b.ClientErrors += t.ClientErrors
			b.ServerErrors += t.ServerErrors
			for host, n := range p.Errors[minute] {
				hosts[host] += n
			}
		}
		b.From, b.To = timeOf(b.start), timeOf(b.end)
		b.Errors = b.ClientErrors + b.ServerErrors
		b.ErrorRate = round(float64(b.Errors)/float64(b.Requests), 4)
		b.Hosts = ordered(hosts, o.top)
	}
	return list
}

// probesOf lists every kind and host of probing, most requests first.
func probesOf(probes map[string]map[string]map[string]int64) probing {
	const paths = 5 // shown of one host
	result := probing{Kinds: []probeKind{}}
	all := map[string]bool{}
	for kind, hosts := range probes {
		k := probeKind{Kind: kind}
		for host, seen := range hosts {
			h := probeHost{Host: host, Paths: ordered(seen, paths)}
			for _, n := range seen {
				h.Requests += n
			}
			all[host] = true
			k.Requests += h.Requests
			k.Hosts = append(k.Hosts, h)
		}
		slices.SortFunc(k.Hosts, func(a, b probeHost) int {
			return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Host, b.Host))
		})
		result.Requests += k.Requests
		result.Kinds = append(result.Kinds, k)
	}
	slices.SortFunc(result.Kinds, func(a, b probeKind) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Kind, b.Kind))
	})
	result.Hosts = len(all)
	return result
}

// timeOf prints a minute since 1970.
func timeOf(minute int64) string { return time.Unix(minute*60, 0).UTC().Format("2006-01-02T15:04Z") }

// round keeps the given number of decimals.
func round(v float64, decimals int) float64 {
	scale := math.Pow10(decimals)
	return math.Round(v*scale) / scale
}
