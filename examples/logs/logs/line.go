package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// request is one parsed line of the log.
type request struct {
	host      string
	second    int64  // since 1970, UTC
	method    string // "" if the request line is no HTTP
	path      string // with the query; the whole request line if that is no HTTP
	status    int
	bytes     int64
	referrer  string
	agent     string
	truncated bool // referrer or agent are damaged
}

// parseLine reads one line of the common or combined log format, with or without the virtual host in front.
// A line that ends inside referrer or agent is still a request.
func parseLine(line string) (request, bool) {
	var r request
	before, rest, ok := strings.Cut(line, " [")
	if !ok {
		return r, false
	}
	fields := strings.Fields(before)
	if len(fields) == 0 {
		return r, false
	}
	r.host = fields[0]
	if len(fields) >= 4 && isVirtualHost(fields[0]) {
		r.host = fields[1]
	}
	stamp, rest, ok := strings.Cut(rest, "] \"")
	if !ok {
		return r, false
	}
	if r.second, ok = parseTime(stamp); !ok {
		return r, false
	}
	line, rest, ok = quoted(rest)
	if !ok {
		return r, false
	}
	r.method, r.path = parseRequest(line)
	status, rest, _ := strings.Cut(strings.TrimPrefix(rest, " "), " ")
	if len(status) != 3 || !digits(status) || status[0] < '1' || status[0] > '5' {
		return r, false
	}
	r.status, _ = strconv.Atoi(status)
	size, rest, _ := strings.Cut(rest, " ")
	if size != "-" {
		var err error
		if r.bytes, err = strconv.ParseInt(size, 10, 64); err != nil || r.bytes < 0 {
			return r, false
		}
	}
	for _, field := range []*string{&r.referrer, &r.agent} {
		if rest = strings.TrimLeft(rest, " "); rest == "" {
			break
		}
		if rest[0] != '"' {
			break // further fields of the server's own format
		}
		if *field, rest, ok = quoted(rest[1:]); !ok {
			r.truncated = true
			break
		}
	}
	return r, true
}

// isVirtualHost reports whether a field has the form name:port, which an address of IP version 6 has not.
func isVirtualHost(field string) bool {
	name, port, ok := strings.Cut(field, ":")
	return ok && name != "" && port != "" && digits(port)
}

// quoted splits a text behind its opening quote at the closing one; a backslash protects a quote.
func quoted(text string) (inside, rest string, ok bool) {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return text[:i], text[i+1:], true
		}
	}
	return text, "", false
}

// parseRequest splits a request line. What is no HTTP request comes back without a method.
func parseRequest(line string) (method, path string) {
	method, rest, ok := strings.Cut(line, " ")
	if !ok || method == "" || strings.Trim(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_-") != "" {
		return "", line
	}
	if i := strings.LastIndex(rest, " HTTP/"); i >= 0 {
		rest = rest[:i]
	}
	return method, rest
}

var months = map[string]time.Month{
	"Jan": 1, "Feb": 2, "Mar": 3, "Apr": 4, "May": 5, "Jun": 6, "Jul": 7, "Aug": 8, "Sep": 9, "Oct": 10, "Nov": 11, "Dec": 12,
}

// parseTime reads 17/May/2015:10:05:03 +0000 to seconds since 1970.
func parseTime(stamp string) (int64, bool) {
	if len(stamp) != len("17/May/2015:10:05:03 +0000") || stamp[2] != '/' || stamp[6] != '/' || stamp[11] != ':' ||
		stamp[14] != ':' || stamp[17] != ':' || stamp[20] != ' ' || (stamp[21] != '+' && stamp[21] != '-') {
		return 0, false
	}
	var n [7]int
	for i, at := range [7][2]int{{0, 2}, {7, 11}, {12, 14}, {15, 17}, {18, 20}, {22, 24}, {24, 26}} {
		text := stamp[at[0]:at[1]]
		if !digits(text) {
			return 0, false
		}
		n[i], _ = strconv.Atoi(text)
	}
	month, ok := months[stamp[3:6]]
	if !ok || n[0] < 1 || n[0] > 31 || n[2] > 23 || n[3] > 59 || n[4] > 60 {
		return 0, false
	}
	offset := int64(n[5]*3600 + n[6]*60)
	if stamp[21] == '-' {
		offset = -offset
	}
	return time.Date(n[1], month, n[0], n[2], n[3], n[4], 0, time.UTC).Unix() - offset, true
}

func digits(text string) bool { return strings.Trim(text, "0123456789") == "" && text != "" }

// clean makes a text of the log fit for JSON, so that unlike texts stay unlike: bytes that are no text become \xNN, and
// what is longer than 300 bytes is cut.
func clean(text string) string {
	const limit = 300
	if len(text) > limit {
		text = text[:limit] + "…"
	}
	plain := true
	for i := range len(text) {
		plain = plain && text[i] >= 0x20 && text[i] < 0x7f
	}
	if plain {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if r < 0x20 || r == 0x7f || r == utf8.RuneError && size == 1 {
			fmt.Fprintf(&b, "\\x%02x", text[i])
		} else {
			b.WriteString(text[i : i+size])
		}
		i += size
	}
	return b.String()
}
