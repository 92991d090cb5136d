package api

import (
	"encoding/json"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/internal/authz"
)

const (
	bearerScheme = "Bearer "
	grantScheme  = "Grant "
	sessionLife  = 12 * time.Hour
)

// authenticate finds who asks: by the token of the Authorization header, else by a browser's cookie, else nobody. A wrong token is an error,
// a stale cookie is nobody, so that the sign-in page still works.
func (h *Handler) authenticate(r *http.Request) (authz.Principal, error) {
	header := r.Header.Get("Authorization")
	switch {
	case strings.HasPrefix(header, grantScheme):
		return authz.Principal{}, nil
	case len(header) >= len(bearerScheme) && strings.EqualFold(header[:len(bearerScheme)], bearerScheme):
		return authz.Authenticate(r.Context(), h.Directory, strings.TrimSpace(header[len(bearerScheme):]), h.Now())
	case header != "":
		return authz.Principal{}, cloudcrowd.Errorf(cloudcrowd.Unauthorized, "the Authorization header is neither `Bearer TOKEN` nor `Grant GRANT`")
	}
	cookie, err := r.Cookie(cookieName(r))
	if err != nil {
		return authz.Principal{}, nil
	}
	p, err := h.Signer.CheckSession(r.Context(), h.Directory, cookie.Value, h.Now())
	if cloudcrowd.CodeOf(err) == cloudcrowd.Unauthorized {
		return authz.Principal{}, nil
	}
	return p, err
}

// sameSite refuses a browser's write that another site may have started. Cookies go along with such requests, tokens never do.
func sameSite(r *http.Request) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return nil
	}
	if r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" || http.NewCrossOriginProtection().Check(r) != nil {
		return cloudcrowd.Errorf(cloudcrowd.Forbidden, "this request did not come from the console's own pages").
			WithHint("programs send a token in the Authorization header, not the cookie")
	}
	return nil
}

// cookieName differs by port, for cookies of one host are shared by all its ports; with TLS the prefix binds the cookie to this very host.
func cookieName(r *http.Request) string {
	_, port, _ := net.SplitHostPort(r.Host)
	if r.TLS != nil {
		return "__Host-cloudcrowd-" + port
	}
	return "cloudcrowd-" + port
}

// sessionRoutes: signing a browser in and out. Forms are understood beside JSON, so that it works without scripts.
func (h *Handler) sessionRoutes() {
	h.raw("POST /session", h.signIn)
	h.raw("DELETE /session", h.signOut)
	h.raw("POST /session/end", h.signOut)
}

func (h *Handler) signIn(w http.ResponseWriter, r *http.Request) error {
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		return cloudcrowd.Errorf(cloudcrowd.Forbidden, "another site may not sign you in here")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxOtherBody)
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	form := kind == "application/x-www-form-urlencoded"
	var in client.SessionRequest
	next := "/"
	if form {
		if err := r.ParseForm(); err != nil {
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "the form cannot be read")
		}
		in.Token = r.PostForm.Get("token")
		next = localPath(r.PostForm.Get("next"))
	} else {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		if err := decode(body, &in); err != nil {
			return err
		}
	}
	in.Token = strings.TrimSpace(in.Token)
	p, err := authz.Authenticate(r.Context(), h.Directory, in.Token, h.Now())
	if err != nil {
		if form && cloudcrowd.CodeOf(err) == cloudcrowd.Unauthorized {
			http.Redirect(w, r, "/login?wrong=1&next="+url.QueryEscape(next), http.StatusSeeOther)
			return nil
		}
		return err
	}
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(r), Value: h.Signer.Session(authz.Hash(in.Token), h.Now().Add(sessionLife)), Path: "/",
		MaxAge: int(sessionLife / time.Second), HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
	if form {
		http.Redirect(w, r, next, http.StatusSeeOther)
		return nil
	}
	return writeJSON(w, http.StatusOK, client.Identity{Account: p.Account, Role: p.Role, Token: p.TokenID, Session: true})
}

func (h *Handler) signOut(w http.ResponseWriter, r *http.Request) error {
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		return cloudcrowd.Errorf(cloudcrowd.Forbidden, "another site may not sign you out here")
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName(r), Path: "/", MaxAge: -1, HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode})
	if r.Method == http.MethodPost {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return nil
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// localPath returns next if it is a path of this server, else "/": a form must not send people elsewhere.
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(withoutNulls(v))
}
