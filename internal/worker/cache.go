package worker

import (
	"cmp"
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"cloudcrowd.dev/cloudcrowd"
)

// span names what the cache keeps: a blob, or (Length > 0) a part of one.
type span struct {
	Digest         cloudcrowd.Digest
	Offset, Length int64
}

func (s span) whole() bool { return s.Length == 0 }

func (s span) file() string {
	if s.whole() {
		return string(s.Digest)
	}
	return fmt.Sprintf("%s-%d-%d", s.Digest, s.Offset, s.Length)
}

// cache keeps blobs, and spans of blobs, as files named by digest, the least recently used going first. Whole blobs are compared with their digest when
// they come, and again when they are first used after a start, because a machine that lost power may have lost their bytes. Safe for concurrent use.
type cache struct {
	dir   string
	limit int64
	fetch func(ctx context.Context, s span, token string, w io.Writer) error

	mu      sync.Mutex
	entries map[span]*entry
	recent  list.List // of *entry, most recent first
	bytes   int64
	fresh   []cloudcrowd.Digest // whole blobs that came since the last call of news
}

// entry is one file. ready is closed once it is there or err says why not.
type entry struct {
	span    span
	size    int64
	users   int
	ready   chan struct{}
	err     error
	checked bool // against its digest, by this process
	place   *list.Element
}

// openCache takes over what an earlier process left: whole blobs, but no spans, which nothing could verify.
func openCache(dir string, limit int64) (*cache, error) {
	c := &cache{dir: dir, limit: limit, entries: make(map[span]*entry)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	type found struct {
		entry *entry
		at    int64
	}
	var all []found
	for _, f := range files {
		info, err := f.Info()
		d := cloudcrowd.Digest(f.Name())
		if err != nil || !info.Mode().IsRegular() || !d.Valid() {
			_ = os.Remove(filepath.Join(dir, f.Name())) // a leftover; harmless if it stays
			continue
		}
		e := &entry{span: span{Digest: d}, size: info.Size(), ready: make(chan struct{})}
		close(e.ready)
		all = append(all, found{e, info.ModTime().UnixNano()})
	}
	slices.SortFunc(all, func(x, y found) int { return cmp.Compare(y.at, x.at) })
	for _, f := range all {
		f.entry.place = c.recent.PushBack(f.entry)
		c.entries[f.entry.span] = f.entry
		c.bytes += f.entry.size
	}
	return c, nil
}

func (c *cache) path(s span) string { return filepath.Join(c.dir, s.file()) }

// piece is where bytes are to be read, until release is called.
type piece struct {
	path           string
	offset, length int64 // length -1: to the end
	fetched        int64 // bytes that came over the network for this call
	release        func()
}

// has reports whether the whole blob is there and was compared with its digest.
func (c *cache) has(d cloudcrowd.Digest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[span{Digest: d}]
	return e != nil && e.checked && e.present()
}

func (e *entry) present() bool {
	select {
	case <-e.ready:
		return e.err == nil
	default:
		return false
	}
}

// get returns the bytes of a blob or a span, fetching them if need be. Callers that want the same at once share one fetch. A span of a blob that is
// there whole is served from it.
func (c *cache) get(ctx context.Context, s span, token string) (piece, error) {
	for {
		c.mu.Lock()
		e := c.entries[s]
		p := piece{path: c.path(s), length: -1}
		if !s.whole() {
			if w := c.entries[span{Digest: s.Digest}]; w != nil && w.present() && s.Offset+s.Length <= w.size {
				e = w
				p = piece{path: c.path(w.span), offset: s.Offset, length: s.Length}
			}
		}
		mine := e == nil
		if mine {
			e = &entry{span: s, ready: make(chan struct{})}
			c.entries[s] = e
		} else if e.place != nil {
			c.recent.MoveToFront(e.place)
		}
		e.users++
		c.mu.Unlock()
		p.release = sync.OnceFunc(func() { c.release(e) })

		if mine {
			c.fill(ctx, e, token)
			p.fetched = e.size
		}
		select {
		case <-e.ready:
		case <-ctx.Done():
			p.release()
			return piece{}, context.Cause(ctx)
		}
		err := e.err
		if err == nil {
			err = c.recheck(e)
		}
		if err == nil {
			return p, nil
		}
		p.release()
		if mine || ctx.Err() != nil {
			return piece{}, err
		}
		// Somebody else's fetch failed, perhaps for a reason that does not concern this caller: try with its own grant.
	}
}

// recheck compares a blob of an earlier process with its digest, once.
func (c *cache) recheck(e *entry) error {
	c.mu.Lock()
	defer c.mu.Unlock() // held while reading: rare, and nobody may use the file meanwhile
	if e.checked || !e.span.whole() {
		return nil
	}
	f, err := os.Open(c.path(e.span))
	if err == nil {
		sum := sha256.New()
		_, err = io.Copy(sum, f)
		_ = f.Close() // was only read
		if err == nil && hex.EncodeToString(sum.Sum(nil)) != string(e.span.Digest) {
			err = cloudcrowd.Errorf(cloudcrowd.DigestMismatch, "the cached blob %s was damaged", e.span.Digest.Short())
		}
	}
	e.checked = err == nil
	if err != nil {
		c.drop(e)
	}
	return err
}

// fill fetches an entry's bytes and wakes who waits for them.
func (c *cache) fill(ctx context.Context, e *entry, token string) {
	size, err := c.store(ctx, e.span, token)
	c.mu.Lock()
	defer c.mu.Unlock()
	e.size, e.err, e.checked = size, err, true
	if err != nil {
		delete(c.entries, e.span)
	} else {
		e.place = c.recent.PushFront(e)
		c.bytes += size
		if e.span.whole() {
			c.fresh = append(c.fresh, e.span.Digest)
		}
		c.evict()
	}
	close(e.ready)
}

func (c *cache) store(ctx context.Context, s span, token string) (size int64, err error) {
	return c.keep(s, func(w io.Writer) error { return c.fetch(ctx, s, token, w) })
}

// keep writes the file of a span, if its bytes are the right ones.
func (c *cache) keep(s span, write func(io.Writer) error) (size int64, err error) {
	f, err := os.CreateTemp(c.dir, "new-*")
	if err != nil {
		return 0, err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err == nil {
			err = os.Rename(f.Name(), c.path(s))
		}
		if err != nil {
			_ = os.Remove(f.Name()) // the error that matters is err
		}
	}()
	sum := sha256.New()
	if err := write(io.MultiWriter(f, sum)); err != nil {
		return 0, err
	}
	if size, err = f.Seek(0, io.SeekCurrent); err != nil {
		return 0, err
	}
	if s.whole() && hex.EncodeToString(sum.Sum(nil)) != string(s.Digest) {
		return 0, cloudcrowd.Errorf(cloudcrowd.DigestMismatch, "these are other bytes than those of blob %s", s.Digest.Short())
	}
	if !s.whole() && size != s.Length {
		return 0, cloudcrowd.Errorf(cloudcrowd.DigestMismatch, "%d bytes of blob %s came instead of %d", size, s.Digest.Short(), s.Length)
	}
	return size, f.Chmod(0o400) // attempts may hold hard links of it
}

// adopt takes a copy of an attempt's output into the cache: who made it is often asked for what follows from it. It is a copy, and compared with the digest as it is
// made: the attempt's child may still have the file open, and what other attempts read must not be in its hands. A file that takes more than an eighth of the cache
// is fetched when it is needed, as is one that cannot be copied.
func (c *cache) adopt(d cloudcrowd.Digest, path string, size int64) {
	s := span{Digest: d}
	c.mu.Lock()
	known := c.entries[s] != nil
	c.mu.Unlock()
	if known || size > c.limit/8 {
		return
	}
	size, err := c.keep(s, func(w io.Writer) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	})
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[s] != nil { // fetched meanwhile; the files are the same
		return
	}
	e := &entry{span: s, size: size, checked: true, ready: make(chan struct{})}
	close(e.ready)
	e.place = c.recent.PushFront(e)
	c.entries[s] = e
	c.bytes += size
	c.fresh = append(c.fresh, d)
	c.evict()
}

func (c *cache) release(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.users--
	c.evict()
}

// evict removes what was not used for longest until the limit is kept. What is in use stays. c.mu is held.
func (c *cache) evict() {
	for at := c.recent.Back(); at != nil && c.bytes > c.limit; {
		e := at.Value.(*entry)
		at = at.Prev()
		if e.users == 0 {
			c.drop(e)
		}
	}
}

// drop forgets an entry and removes its file. c.mu is held.
func (c *cache) drop(e *entry) {
	if c.entries[e.span] != e {
		return
	}
	delete(c.entries, e.span)
	if e.place != nil {
		c.recent.Remove(e.place)
		c.bytes -= e.size
	}
	_ = os.Remove(c.path(e.span)) // openCache removes or adopts what stays
}

// trim makes room: everything not in use goes.
func (c *cache) trim() {
	c.mu.Lock()
	defer c.mu.Unlock()
	limit := c.limit
	c.limit = 0
	c.evict()
	c.limit = limit
}

// all lists the whole blobs that are there, most recently used first, at most n, and the bytes the cache takes; news starts anew.
func (c *cache) all(n int) ([]cloudcrowd.Digest, int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh = nil
	var ds []cloudcrowd.Digest
	for at := c.recent.Front(); at != nil && len(ds) < n; at = at.Next() {
		if e := at.Value.(*entry); e.span.whole() {
			ds = append(ds, e.span.Digest)
		}
	}
	return ds, c.bytes
}

// news lists the whole blobs that came since the last call, at most n, and the bytes the cache takes.
func (c *cache) news(n int) ([]cloudcrowd.Digest, int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := min(n, len(c.fresh))
	ds := slices.Clone(c.fresh[:k])
	c.fresh = c.fresh[k:]
	return ds, c.bytes
}

// diskFull reports whether err says that nothing more can be written.
func diskFull(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	return isNoSpace(err) || strings.Contains(text, "no space left") || strings.Contains(text, "not enough space")
}
