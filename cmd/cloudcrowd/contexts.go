package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// localContext is the name of the context that a server on this machine stores.
const localContext = "local"

// target says which server to talk to and as whom.
type target struct {
	URL     string   `json:"url"`
	Servers []string `json:"servers,omitempty"` // more servers of the same crowd, used when the first is gone
	Token   string   `json:"token,omitempty"`
	Pin     string   `json:"pin,omitempty"` // SHA-256 of a self-signed certificate; empty: the system's authorities decide
}

// all lists the addresses of the crowd.
func (t target) all() []string { return append([]string{t.URL}, t.Servers...) }

// same reports whether both are the same account at the same server.
func (t target) same(o target) bool { return t.URL == o.URL && t.Token == o.Token && t.Pin == o.Pin }

// contexts are the servers this user has logged in to. The file is readable by its owner only.
type contexts struct {
	Current string            `json:"current,omitempty"`
	Targets map[string]target `json:"contexts"`

	path string
}

// loadContexts reads the stored contexts; without a file there are none.
func (a *app) loadContexts() (*contexts, error) {
	dir := a.getenv("CLOUDCROWD_CONFIG_DIR")
	if dir == "" {
		base, err := os.UserConfigDir()
		if err != nil {
			return &contexts{Targets: map[string]target{}}, nil // no home: nothing stored, nothing to store
		}
		dir = filepath.Join(base, "cloudcrowd")
	}
	c := &contexts{path: filepath.Join(dir, "contexts.json")}
	data, err := os.ReadFile(c.path)
	if err == nil {
		err = json.Unmarshal(data, c)
		if err != nil {
			return nil, cloudcrowd.Errorf(cloudcrowd.Invalid, "%s: %v", c.path, err).WithHint("remove the file and log in again")
		}
	}
	if c.Targets == nil {
		c.Targets = map[string]target{}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return c, nil
}

// save writes beside and renames, so that a reader never sees half a file.
func (c *contexts) save() error {
	if c.path == "" {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "no folder to store contexts in").WithHint("set CLOUDCROWD_CONFIG_DIR")
	}
	if err := os.MkdirAll(filepath.Dir(c.path), 0o700); err != nil {
		return err
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(c.path), "contexts-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), c.path)
}

// names are the contexts in order of name.
func (c *contexts) names() []string {
	var names []string
	for name := range c.Targets {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// missing is the error for a context nobody stored.
func (c *contexts) missing(name string) error {
	err := cloudcrowd.Errorf(cloudcrowd.NotFound, "no context %q", name)
	if near := nearest(name, c.names()); near != "" {
		return err.WithHint("did you mean %q?", near)
	}
	return err.WithHint("`cloudcrowd login --list` lists them, `cloudcrowd login LINK --name %s` stores one", name)
}

// rememberLocal stores the server on this machine as the context "local" and chooses it, unless another context is chosen already.
// It returns whether it is chosen now, and the server that had the name before.
func (a *app) rememberLocal(t target) (chosen bool, before target, err error) {
	c, err := a.loadContexts()
	if err != nil {
		return false, target{}, err
	}
	before = c.Targets[localContext]
	c.Targets[localContext] = t
	if _, exists := c.Targets[c.Current]; !exists {
		c.Current = localContext
	}
	return c.Current == localContext, before, c.save()
}

// forgetLocal removes the context "local" if it still is the given server. The server that had the name before gets it back if it still runs.
func (a *app) forgetLocal(t, before target) error {
	c, err := a.loadContexts()
	if err != nil || !c.Targets[localContext].same(t) {
		return err
	}
	if !before.same(t) && before.listens() {
		c.Targets[localContext] = before
		return c.save()
	}
	delete(c.Targets, localContext)
	if c.Current == localContext {
		c.Current = ""
	}
	return c.save()
}

// listens reports whether somebody accepts connections at a server on this machine.
func (t target) listens() bool {
	u, err := url.Parse(t.URL)
	if err != nil || u.Port() == "" {
		return false
	}
	c, err := net.DialTimeout("tcp", u.Host, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// describe is a context in one line, without its secret.
func (t target) describe() string {
	words := t.URL
	if t.Pin != "" {
		words += fmt.Sprintf(" (certificate %.16s…)", t.Pin)
	}
	if len(t.Servers) > 0 {
		words += fmt.Sprintf(" and %d more of its crowd", len(t.Servers))
	}
	return words
}
