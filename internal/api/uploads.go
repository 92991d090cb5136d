package api

import (
	"context"
	"sync"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/authz"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// uploads remembers which account uploaded which blob. Blobs are stored once for all, so without it one could ask whether somebody else has a
// certain file, or get at its bytes by naming its digest.
type uploads struct {
	dir   store.Directory
	known *cache[string, struct{}]
}

func newUploads(dir store.Directory) *uploads {
	return &uploads{dir: dir, known: newCache[string, struct{}](1 << 16)}
}

func uploadKey(a cloudcrowd.AccountID, d cloudcrowd.Digest) string {
	return "upload/" + string(a) + "/" + string(d)
}

// has reports whether the account uploaded the blob.
func (u *uploads) has(ctx context.Context, a cloudcrowd.AccountID, d cloudcrowd.Digest) (bool, error) {
	key := uploadKey(a, d)
	if _, ok := u.known.get(key); ok {
		return true, nil
	}
	v, err := u.dir.Setting(ctx, key)
	if err == nil && v != "" {
		u.known.put(key, struct{}{})
	}
	return v != "", err
}

// add remembers it, durably.
func (u *uploads) add(ctx context.Context, a cloudcrowd.AccountID, d cloudcrowd.Digest) error {
	if has, err := u.has(ctx, a, d); has || err != nil {
		return err
	}
	if err := u.dir.PutSetting(ctx, uploadKey(a, d), "1"); err != nil {
		return err
	}
	u.known.put(uploadKey(a, d), struct{}{})
	return nil
}

// mayUse reports whether the caller may name a blob: it uploaded it, or it may read every blob; and the blob is there.
func (h *Handler) mayUse(ctx context.Context, p authz.Principal, d cloudcrowd.Digest) (bool, error) {
	if authz.ScopeOf(p.Role, authz.ReadBlob) != authz.All {
		if has, err := h.uploads.has(ctx, p.Account, d); !has || err != nil {
			return false, err
		}
	}
	_, err := h.Blobs.Stat(ctx, d)
	if cloudcrowd.CodeOf(err) == cloudcrowd.NotFound {
		return false, nil
	}
	return err == nil, err
}

// quotas counts what was stored by each upload grant, so that its bound holds for all uploads together.
type quotas struct {
	now func() time.Time
	mu  sync.Mutex
	by  map[string]*quota
}

type quota struct {
	used    int64 // bytes stored or being stored
	blobs   map[cloudcrowd.Digest]bool
	expires time.Time
}

func newQuotas(now func() time.Time) *quotas { return &quotas{now: now, by: map[string]*quota{}} }

// reserve counts size bytes of blob d against the grant: code TooLarge if they are too many. Storing the same blob again counts once. The
// caller calls release when the blob was not stored.
func (q *quotas) reserve(g authz.UploadGrant, d cloudcrowd.Digest, size int64) (release func(), err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	key := g.Attempt.String() + "/" + string(g.Worker)
	one := q.by[key]
	if one == nil {
		if len(q.by)%1024 == 1023 {
			now := q.now()
			for k, old := range q.by {
				if now.After(old.expires) {
					delete(q.by, k)
				}
			}
		}
		one = &quota{blobs: map[cloudcrowd.Digest]bool{}}
		q.by[key] = one
	}
	if g.Expires.After(one.expires) {
		one.expires = g.Expires
	}
	if one.blobs[d] {
		return func() {}, nil
	}
	if size > g.MaxBytes-one.used {
		return nil, cloudcrowd.Errorf(cloudcrowd.TooLarge, "this attempt may store %s in all; %s of it are left", cloudcrowd.Bytes(g.MaxBytes), cloudcrowd.Bytes(max(0, g.MaxBytes-one.used)))
	}
	one.used += size
	one.blobs[d] = true
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		one.used -= size
		delete(one.blobs, d)
	}, nil
}
