package wire

import (
	"io/fs"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"cloudcrowd.dev/cloudcrowd"
)

// checker checks values, the same on their way out and in, so that a sender learns of its mistake before the receiver closes the connection.
// The first failure stays.
type checker struct {
	err error
	job cloudcrowd.JobID // the last one found valid
}

func (c *checker) fail(field, format string, args ...any) {
	if c.err == nil {
		c.err = cloudcrowd.Fieldf(field, format, args...)
	}
}

func (c *checker) count(field string, n, limit int) {
	if n > limit && c.err == nil {
		c.err = tooMany(field, n, limit)
	}
}

func (c *checker) attempt(field string, id cloudcrowd.AttemptID) {
	if id.Task.Job != c.job || c.job == "" {
		if !id.Task.Job.Valid() {
			c.fail(field, "%q is not a job id", clip(string(id.Task.Job)))
			return
		}
		c.job = id.Task.Job
	}
	if id.Task.Stage < 0 || id.Task.Index < 0 || id.N < 1 {
		c.fail(field, "%s is not an attempt", id)
	}
}

func (c *checker) attempts(field string, ids []cloudcrowd.AttemptID) {
	c.count(field, len(ids), MaxEntries)
	for _, id := range ids {
		c.attempt(field, id)
	}
}

func (c *checker) digest(field string, d cloudcrowd.Digest) {
	if !d.Valid() {
		c.fail(field, "%q is not a digest", clip(string(d)))
	}
}

func (c *checker) digests(field string, ds []cloudcrowd.Digest) {
	c.count(field, len(ds), MaxCached)
	for _, d := range ds {
		c.digest(field, d)
	}
}

// amount is a whole number from 0 to most.
func (c *checker) amount(field string, n, most int64) {
	if n < 0 || n > most {
		c.fail(field, "%d is not between 0 and %d", n, most)
	}
}

// real is a finite number from 0 to most.
func (c *checker) real(field string, x, most float64) {
	if !(x >= 0 && x <= most) {
		c.fail(field, "%v is not between 0 and %v", x, most)
	}
}

// line is text of one line for people or programs.
func (c *checker) line(field, s string, limit int) {
	if len(s) > limit {
		c.fail(field, "%d bytes; at most %d", len(s), limit)
		return
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		c.fail(field, "%q holds what is no printable text", clip(s))
	}
}

// text is text of several lines.
func (c *checker) text(field, s string, limit int) {
	if len(s) > limit {
		c.fail(field, "%d bytes; at most %d", len(s), limit)
		return
	}
	if !utf8.ValidString(s) {
		c.fail(field, "not UTF-8")
	}
}

// token is what goes into an HTTP header.
func (c *checker) token(field, s string) {
	if len(s) > MaxToken {
		c.fail(field, "%d bytes; at most %d", len(s), MaxToken)
		return
	}
	for _, b := range []byte(s) {
		if b <= ' ' || b >= 0x7f {
			c.fail(field, "a token is made of printable ASCII characters")
			return
		}
	}
}

func (c *checker) path(field, p string) {
	if err := checkPath(p); err != "" {
		c.fail(field, "%q %s", clip(p), err)
	}
}

// ValidPath reports whether p may name a file of a task or a result: relative, slash-separated, UTF-8, no "." or ".." element, no backslash and no
// control character, at most MaxPath bytes.
func ValidPath(p string) bool { return checkPath(p) == "" }

func checkPath(p string) string {
	switch {
	case len(p) > MaxPath:
		return "is a path of more than 255 bytes"
	case p == "." || !fs.ValidPath(p): // also refuses what is not UTF-8
		return "is not a relative path without . and .."
	case strings.ContainsRune(p, '\\') || strings.ContainsFunc(p, unicode.IsControl):
		return "holds a backslash or a control character"
	}
	return ""
}

func (c *checker) session(field, s string) {
	c.token(field, s)
	if s == "" || len(s) > 64 {
		c.fail(field, "a session is named by 1 to 64 characters, not %d", len(s))
	}
}

const (
	anySize    = math.MaxInt64
	anySeconds = 1e9 // 31 years
)

// clip shortens what is quoted in an error.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
