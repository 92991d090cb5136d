package authz

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Prefixes of secrets, so that people and secret scanners recognise them.
const (
	TokenPrefix  = "cc_"
	InvitePrefix = "cci_"
)

// secretBytes of entropy are in every secret.
const secretBytes = 20

var secretEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewSecret makes a secret with the given prefix: 160 random bits in base32.
func NewSecret(prefix string) string {
	var b [secretBytes]byte
	rand.Read(b[:])
	return prefix + secretEncoding.EncodeToString(b[:])
}

// Hash is what the store keeps of a secret: lower-case hexadecimal SHA-256. The secrets are random, so no slow hash is needed.
func Hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// errToken is the one answer to every bad token, so that nothing is told about which part was wrong.
func errToken() error {
	return (&cloudcrowd.Error{Code: cloudcrowd.Unauthorized, Msg: "the token is not valid (unknown, expired or withdrawn)"}).
		WithHint("check the token, or ask an operator for a new one")
}

// Authenticate finds whom a bearer token stands for: code Unauthorized if it is unknown or has expired at now. The secret itself is never compared:
// its hash is looked up, and the time of that tells nothing about the secrets of others.
func Authenticate(ctx context.Context, dir store.Directory, secret string, now time.Time) (Principal, error) {
	if !strings.HasPrefix(secret, TokenPrefix) || len(secret) > 128 {
		return Principal{}, errToken()
	}
	return principalByHash(ctx, dir, Hash(secret), now)
}

func principalByHash(ctx context.Context, dir store.Directory, hash string, now time.Time) (Principal, error) {
	t, err := dir.TokenByHash(ctx, hash)
	switch {
	case cloudcrowd.CodeOf(err) == cloudcrowd.NotFound:
		return Principal{}, errToken()
	case err != nil:
		return Principal{}, err
	case t.ExpiresAt != 0 && cloudcrowd.TimeOf(now) >= t.ExpiresAt:
		return Principal{}, errToken()
	}
	return Principal{Account: t.Account, Role: t.Role, TokenID: t.ID}, nil
}

// NewToken makes and stores a bearer token; the secret is returned once. ttl 0 means that it does not expire.
func NewToken(ctx context.Context, dir store.Directory, account cloudcrowd.AccountID, role cloudcrowd.Role, note string, ttl time.Duration, now time.Time) (cloudcrowd.Token, string, error) {
	secret := NewSecret(TokenPrefix)
	t := cloudcrowd.Token{ID: NewID("t"), Account: account, Role: role, Note: note, CreatedAt: cloudcrowd.TimeOf(now)}
	if ttl > 0 {
		t.ExpiresAt = cloudcrowd.TimeOf(now.Add(ttl))
	}
	return t, secret, dir.PutToken(ctx, Hash(secret), t)
}

// NewInvite makes and stores an invite; the secret, part of the join link, is returned once. maxUses 0 means no bound.
func NewInvite(ctx context.Context, dir store.Directory, owner cloudcrowd.AccountID, maxUses int, ttl time.Duration, now time.Time) (cloudcrowd.Invite, string, error) {
	secret := NewSecret(InvitePrefix)
	i := cloudcrowd.Invite{ID: NewID("i"), Owner: owner, MaxUses: maxUses, CreatedAt: cloudcrowd.TimeOf(now)}
	if ttl > 0 {
		i.ExpiresAt = cloudcrowd.TimeOf(now.Add(ttl))
	}
	return i, secret, dir.PutInvite(ctx, Hash(secret), i)
}

// NewID makes a public identifier: the prefix and 10 random base32 characters.
func NewID(prefix string) string {
	var b [7]byte
	rand.Read(b[:])
	return prefix + secretEncoding.EncodeToString(b[:])[:10]
}

type principalKey struct{}

// WithPrincipal returns a context that carries who is calling.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// FromContext returns who is calling; the zero Principal if nobody was authenticated.
func FromContext(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}
