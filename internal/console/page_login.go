package console

import "net/http"

// loginView is the form to sign in with a token.
type loginView struct {
	Next  string
	Wrong bool // the last token was refused
}

// login shows a form that posts a token to /session, which the API answers with a cookie.
func (c *Console) login(w http.ResponseWriter, r *http.Request) {
	v, _ := c.who(r)
	c.plainPage(w, r, "login", page{Title: "Sign in", Viewer: v, V: loginView{Next: c.localPath(r.URL.Query().Get("next")), Wrong: r.URL.Query().Get("wrong") != ""}})
}

// admin is where the server's admin link leads: the token stands behind the # and never reaches a log; a script posts it to /session.
func (c *Console) admin(w http.ResponseWriter, r *http.Request) {
	v, _ := c.who(r)
	c.plainPage(w, r, "admin", page{Title: "Sign in", Viewer: v, V: loginView{Next: c.url("/")}})
}

// join is where a join link, or its QR code, leads a browser: it says what to do with it. The secret stands behind the # and stays in the browser.
func (c *Console) join(w http.ResponseWriter, r *http.Request) {
	v, _ := c.who(r)
	c.plainPage(w, r, "join", page{Title: "Join", Viewer: v})
}

func (c *Console) help(w http.ResponseWriter, r *http.Request) {
	v, _ := c.who(r)
	c.plainPage(w, r, "help", page{Title: "Help", Section: "help", Viewer: v, V: nil})
}

func (c *Console) plainPage(w http.ResponseWriter, r *http.Request, name string, p page) {
	if err := c.show(w, r, http.StatusOK, name, nil, p); err != nil {
		c.fail(w, r, p.Viewer, err)
	}
}
