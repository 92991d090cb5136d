package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"

	"cloudcrowd.dev/cloudcrowd"
)

//go:embed static/*
var staticFiles embed.FS

var assetTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

// assetHashes names every embedded file's content, so that browsers may keep it for ever.
var assetHashes = sync.OnceValue(func() map[string]string {
	out := map[string]string{}
	entries, err := staticFiles.ReadDir("static")
	if err != nil {
		panic("console: embedded files: " + err.Error())
	}
	for _, e := range entries {
		b, err := staticFiles.ReadFile("static/" + e.Name())
		if err != nil {
			panic("console: embedded files: " + err.Error())
		}
		sum := sha256.Sum256(b)
		out[e.Name()] = hex.EncodeToString(sum[:6])
	}
	return out
})

func assetHash(name string) string { return assetHashes()[name] }

// asset serves an embedded file; with its hash in the address it may be kept for a year.
func (c *Console) asset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	b, err := staticFiles.ReadFile("static/" + path.Base(name))
	if err != nil {
		c.fail(w, r, viewer{}, cloudcrowd.Errorf(cloudcrowd.NotFound, "There is no file %q", name))
		return
	}
	tag := `"` + assetHash(name) + `"`
	w.Header().Set("ETag", tag)
	w.Header().Set("Content-Type", assetTypes[path.Ext(name)])
	w.Header().Set("Cache-Control", "no-cache")
	if r.URL.Query().Get("v") == assetHash(name) {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(b)
}

// themeOf reads the chosen theme: ?theme= (for the gallery) before the cookie; "" follows the system.
func themeOf(r *http.Request) string {
	v := r.URL.Query().Get("theme")
	if v == "" {
		if ck, err := r.Cookie("theme"); err == nil {
			v = ck.Value
		}
	}
	if v == "dark" || v == "light" {
		return v
	}
	return ""
}

// theme keeps the choice of dark, light or the system's in a cookie, for readers without scripts.
func (c *Console) theme(w http.ResponseWriter, r *http.Request) {
	v := r.PostFormValue("theme")
	if v != "dark" && v != "light" {
		v = ""
	}
	ck := &http.Cookie{Name: "theme", Value: v, Path: c.url("/"), MaxAge: 365 * 24 * 3600, SameSite: http.SameSiteLaxMode, HttpOnly: false}
	if v == "" {
		ck.MaxAge = -1
	}
	http.SetCookie(w, ck)
	http.Redirect(w, r, c.localPath(r.PostFormValue("next")), http.StatusSeeOther)
}

// localPath returns next if it is a path of this server, else the overview: a form must not send people elsewhere.
func (c *Console) localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n") {
		return c.url("/")
	}
	return next
}
