package worker

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"cloudcrowd.dev/cloudcrowd/internal/link"
)

// serversFile of DataDir holds the other servers of the crowd, so that a start does not depend on the configured one.
const serversFile = "servers.json"

// shunned is how long a server that an HTTP request could not be sent to is asked last.
const shunned = 30 * time.Second

// servers are those of the crowd as far as the worker knows: the configured one, and those that servers have named. They share certificate, devices and
// blobs, so any of them will do. Safe for concurrent use.
type servers struct {
	home string // Config.Server
	path string

	mu     sync.Mutex
	named  []string // by the last Welcome that named any, sorted
	at     string   // connected to, now or last; at first home
	failed map[string]time.Time
}

// knownServers is the content of serversFile.
type knownServers struct {
	Home    string   `json:"home"` // the configured one when they were named
	Servers []string `json:"servers"`
}

// loadServers reads what an earlier process was told, unless that was another crowd. A damaged file counts as none: the next Welcome brings it again.
func loadServers(dir, home string) *servers {
	s := &servers{home: home, path: filepath.Join(dir, serversFile), at: home, failed: map[string]time.Time{}}
	var k knownServers
	if b, err := os.ReadFile(s.path); err == nil && json.Unmarshal(b, &k) == nil && (k.Home == home || slices.Contains(k.Servers, home)) {
		s.named = s.usable(k.Servers)
	}
	return s
}

// usable leaves out what the worker would not connect to if it were configured: plain HTTP to another machine, or in place of HTTPS, and no addresses.
func (s *servers) usable(list []string) []string {
	var good []string
	for _, server := range list {
		server = strings.TrimSuffix(server, "/")
		if link.CheckServer(server) == nil && (strings.HasPrefix(server, "https:") || strings.HasPrefix(s.home, "http:")) {
			good = append(good, server)
		}
	}
	slices.Sort(good)
	return slices.Compact(good)
}

// learn takes over the list of a Welcome and keeps it on disk. An empty one changes nothing: it comes from a server that does not tell.
func (s *servers) learn(list []string) error {
	list = s.usable(list)
	s.mu.Lock()
	defer s.mu.Unlock() // also while writing: the file is to hold the newest
	if len(list) == 0 || slices.Equal(list, s.named) {
		return nil
	}
	s.named = list
	b, err := json.MarshalIndent(knownServers{s.home, list}, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(s.path, append(b, '\n'))
}

// all lists every known server, home first.
func (s *servers) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.others(nil, s.home)
}

// others appends first and then the others in random order. s.mu is held.
func (s *servers) others(list []string, first string) []string {
	list = append(list, first)
	n := len(list)
	for _, server := range append([]string{s.home}, s.named...) {
		if !slices.Contains(list, server) {
			list = append(list, server)
		}
	}
	rest := list[n:]
	rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	return list
}

// after lists whom to connect to when the connection to one server has ended: all others, in random order, so that the workers of a server that is
// gone spread over those that are left, and that server last.
func (s *servers) after(lost string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.others(nil, lost)
	return append(list[1:], lost)
}

func (s *servers) connected(server string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = server
	delete(s.failed, server)
}

// toAsk lists whom to send an HTTP request to: the server connected to, then the others; at the end those that could not be reached lately.
func (s *servers) toAsk() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.others(nil, s.at)
	slices.SortStableFunc(list, func(a, b string) int { return s.rank(a) - s.rank(b) })
	return list
}

func (s *servers) rank(server string) int {
	if at, ok := s.failed[server]; ok && time.Since(at) < shunned {
		return 1
	}
	return 0
}

// note remembers how asking a server went.
func (s *servers) note(server string, reached bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reached {
		delete(s.failed, server)
	} else if len(s.named) > 0 {
		s.failed[server] = time.Now()
	}
}

// ask sends a request to the server the worker is connected to and, where that cannot take it (it is not there, or says that it does not work now), to the
// others in turn. It must be harmless to send twice; build makes it anew for every server. The answer is none of those that send it elsewhere. If
// nobody took it, the error is one after which trying again may help, if any server's was.
func (a *Agent) ask(build func(server string) (*http.Request, error)) (*http.Response, error) {
	var failure error
	for _, server := range a.servers.toAsk() {
		req, err := build(server)
		if err != nil {
			return nil, err
		}
		resp, err := a.http.Do(req)
		if req.Context().Err() == nil {
			a.servers.note(server, err == nil)
		}
		switch {
		case err != nil:
			err = unreachable(err)
		case absent(resp.StatusCode):
			err = problem(resp)
			_ = resp.Body.Close() // was only read
		default:
			return resp, nil
		}
		if failure == nil || passing(err) {
			failure = err
		}
		if req.Context().Err() != nil {
			break
		}
	}
	return nil, failure
}

// absent reports whether a status says that the server is starting, stopping or not behind its proxy: another one of the crowd may answer otherwise.
func absent(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}
