package api

import (
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/authz"
)

// limiter bounds how much one caller, and all of them, may ask.
type limiter struct {
	limits Limits
	now    func() time.Time
	slots  chan struct{}

	mu      sync.Mutex
	buckets map[string]*rate.Limiter
	streams map[cloudcrowd.AccountID]int
	total   int // streams
}

// maxBuckets is how many callers are remembered; beyond, those that have not asked for a while are forgotten.
const maxBuckets = 10_000

func newLimiter(l Limits, now func() time.Time) *limiter {
	return &limiter{
		limits: l, now: now, slots: make(chan struct{}, l.Concurrent),
		buckets: map[string]*rate.Limiter{}, streams: map[cloudcrowd.AccountID]int{},
	}
}

func tooMany() error {
	return cloudcrowd.Errorf(cloudcrowd.RateLimited, "too many requests").WithHint("wait a second; clients of this project do so by themselves")
}

// allow counts one request. A worker's grants were handed out by this server one by one, so they carry their own bound.
func (l *limiter) allow(p authz.Principal, address, authorization, path string) error {
	switch {
	case p.TokenID != "":
		if !l.take("t"+p.TokenID, l.limits.PerSecond, l.limits.Burst) {
			return tooMany()
		}
	case strings.HasPrefix(authorization, grantScheme) && strings.HasPrefix(path, blobPath):
	case strings.HasPrefix(path, "/v1/") || path == "/session":
		if !l.anonymous(address) {
			return tooMany()
		}
	}
	return nil
}

// anonymous counts a request without a valid token from an address.
func (l *limiter) anonymous(address string) bool {
	return l.take("a"+address, l.limits.Anonymous, l.limits.AnonymousBurst)
}

func (l *limiter) take(key string, perSecond float64, burst int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	b := l.buckets[key]
	if b == nil {
		if len(l.buckets) >= maxBuckets {
			for k, old := range l.buckets {
				if old.TokensAt(now) >= float64(old.Burst()) {
					delete(l.buckets, k)
				}
			}
			if len(l.buckets) >= maxBuckets {
				clear(l.buckets)
			}
		}
		b = rate.NewLimiter(rate.Limit(perSecond), burst)
		l.buckets[key] = b
	}
	return b.AllowN(now, 1)
}

// enter takes one of the places for requests being served; release gives it back.
func (l *limiter) enter() (release func(), ok bool) {
	select {
	case l.slots <- struct{}{}:
		return func() { <-l.slots }, true
	default:
		return nil, false
	}
}

// stream takes one of the places for live feeds.
func (l *limiter) stream(a cloudcrowd.AccountID) (release func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= l.limits.Streams || l.streams[a] >= l.limits.StreamsEach {
		return nil, false
	}
	l.total++
	l.streams[a]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.total--
		if l.streams[a]--; l.streams[a] == 0 {
			delete(l.streams, a)
		}
	}, true
}
