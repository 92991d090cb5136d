package link

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Every link reads back as itself, whatever the secret holds.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := Link{
			Kind:   rapid.SampledFrom([]Kind{Join, Admin}).Draw(t, "kind"),
			Server: rapid.SampledFrom([]string{"https://example.org", "https://10.0.0.1:8443", "http://127.0.0.1:8080", "http://[::1]:1", "https://[2001:db8::1]:8443"}).Draw(t, "server"),
			Secret: rapid.StringN(1, 40, -1).Draw(t, "secret"),
			Pin:    rapid.SampledFrom([]string{"", strings.Repeat("a1", 32)}).Draw(t, "pin"),
		}
		got, err := Parse(l.String())
		if err != nil || got != l {
			t.Fatalf("%s reads as %+v, %v; want %+v", l, got, err, l)
		}
	})
}

// The documented form is the one written.
func TestForm(t *testing.T) {
	t.Parallel()
	pin := strings.Repeat("0f", 32)
	for want, l := range map[string]Link{
		"https://host:8443/join#s=SECRET&pin=" + pin: {Kind: Join, Server: "https://host:8443", Secret: "SECRET", Pin: pin},
		"https://host:8443/admin#t=TOKEN":            {Kind: Admin, Server: "https://host:8443", Secret: "TOKEN"},
	} {
		if l.String() != want {
			t.Errorf("got %s, want %s", l, want)
		}
	}
}

// What is no link is refused with the reason.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                   "not a link",
		"host:8443":                          "not a link",
		"https://h/join":                     "secret",
		"https://h/join#pin=00":              "secret",
		"https://h/join#s=x&pin=00":          "64 characters",
		"https://h/join#s=x&pin=zz":          "64 characters",
		"https://h/jobs#s=x":                 "neither",
		"http://h/join#s=x":                  "plain http",
		"http://127.0.0.1.evil.org/join#s=x": "plain http",
		"http://localhost.evil/join#s=x":     "plain http",
		"ftp://h/join#s=x":                   "scheme",
		"https://user@localhost/join#s=x":    "not a link",
		"https://h/join#s=%zz":               "not a link",
		"https://h/join#s=x;pin=y":           "cannot be read",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}
