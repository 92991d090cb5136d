package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"
)

// cache is the folder of compiled code: DIGEST/code is what the engine wrote in a compile child, DIGEST/sum the digest of it, written by us. Code
// that does not match its sum, for whatever reason, is thrown away and compiled again.
type cache struct {
	dir     string
	limit   int64 // bytes
	compile func(ctx context.Context, module []byte, dir string) error

	mu   sync.Mutex
	busy map[string]chan struct{} // digests being compiled or checked
}

// ensure returns the folder with the compiled code of a module, compiling it if needed. One compilation per module at a time.
func (c *cache) ensure(ctx context.Context, digest string, module []byte) (string, error) {
	unlock, err := c.lock(ctx, digest)
	if err != nil {
		return "", err
	}
	defer unlock()
	home := filepath.Join(c.dir, digest)
	if intact(home) {
		now := time.Now()
		_ = os.Chtimes(home, now, now)
		return filepath.Join(home, "code"), nil
	}
	// Built aside and renamed, because other processes may use the same folder.
	aside, err := os.MkdirTemp(c.dir, asidePrefix)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(aside)
	code := filepath.Join(aside, "code")
	if err := os.Mkdir(code, 0o700); err != nil {
		return "", err
	}
	if err := c.compile(ctx, module, code); err != nil {
		return "", err
	}
	sum, _, err := sumOf(code)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(aside, "sum"), []byte(sum), 0o600); err != nil {
		return "", err
	}
	if !intact(home) {
		c.discard(digest)
	}
	if err := os.Rename(aside, home); err != nil && !intact(home) {
		return "", err
	}
	c.prune(digest)
	return filepath.Join(home, "code"), nil
}

// asidePrefix begins the names of folders being built or deleted; prune deletes old ones that a killed process left.
const asidePrefix = "aside-"

// intact says whether home holds code that matches its sum.
func intact(home string) bool {
	want, err := os.ReadFile(filepath.Join(home, "sum"))
	if err != nil {
		return false
	}
	sum, files, err := sumOf(filepath.Join(home, "code"))
	return err == nil && files > 0 && sum == string(want)
}

// discard deletes the code of a module, so that nobody sees half of it.
func (c *cache) discard(digest string) {
	aside, err := os.MkdirTemp(c.dir, asidePrefix)
	if err != nil {
		return
	}
	_ = os.Rename(filepath.Join(c.dir, digest), filepath.Join(aside, "old"))
	_ = os.RemoveAll(aside)
}

// drop forgets the code of a module.
func (c *cache) drop(digest string) {
	if unlock, err := c.lock(context.Background(), digest); err == nil {
		defer unlock()
		c.discard(digest)
	}
}

// lock waits until nobody else works on a digest.
func (c *cache) lock(ctx context.Context, digest string) (unlock func(), err error) {
	for {
		c.mu.Lock()
		other := c.busy[digest]
		if other == nil {
			mine := make(chan struct{})
			c.busy[digest] = mine
			c.mu.Unlock()
			return func() {
				c.mu.Lock()
				delete(c.busy, digest)
				c.mu.Unlock()
				close(mine)
			}, nil
		}
		c.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// prune deletes the longest unused modules, except keep, until the rest is within the limit. Children that run one have it in memory.
func (c *cache) prune(keep string) {
	type entry struct {
		digest string
		bytes  int64
		used   time.Time
	}
	var entries []entry
	var total int64
	dirs, _ := os.ReadDir(c.dir)
	for _, d := range dirs {
		info, err := d.Info()
		if err != nil || !d.IsDir() {
			continue
		}
		if strings.HasPrefix(d.Name(), asidePrefix) {
			if time.Since(info.ModTime()) > time.Hour {
				_ = os.RemoveAll(filepath.Join(c.dir, d.Name()))
			}
			continue
		}
		e := entry{digest: d.Name(), used: info.ModTime()}
		_ = filepath.WalkDir(filepath.Join(c.dir, d.Name()), func(_ string, f fs.DirEntry, err error) error {
			if err == nil && f.Type().IsRegular() {
				if info, err := f.Info(); err == nil {
					e.bytes += info.Size()
				}
			}
			return nil
		})
		total += e.bytes
		entries = append(entries, e)
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].used.Before(entries[j].used) })
	for _, e := range entries {
		c.mu.Lock()
		busy := c.busy[e.digest] != nil
		c.mu.Unlock()
		if total > c.limit && e.digest != keep && !busy {
			c.discard(e.digest)
			total -= e.bytes
		}
	}
}

// sumOf is a digest over the names and contents of all files below dir.
func sumOf(dir string) (sum string, files int, err error) {
	all := sha256.New()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", 0, err
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := root.ReadFile(path)
		if err != nil {
			return err
		}
		one := sha256.Sum256(b)
		all.Write([]byte(path))
		all.Write([]byte{0})
		all.Write(one[:])
		files++
		return nil
	})
	return hex.EncodeToString(all.Sum(nil)), files, err
}
