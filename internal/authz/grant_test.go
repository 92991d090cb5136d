package authz

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

var (
	testKey = []byte("0123456789abcdef0123456789abcdef")
	now     = time.Unix(1_800_000_000, 0)
	later   = now.Add(time.Hour)
	blobA   = cloudcrowd.Digest(strings.Repeat("a1", 32))
	blobB   = cloudcrowd.Digest(strings.Repeat("b2", 32))
	attempt = cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: cloudcrowd.NewJobID(now, 7), Stage: 1, Index: 17}, N: 2}
)

// directory is the little of store.Directory that is needed here.
type directory struct {
	store.Directory
	tokens   map[string]cloudcrowd.Token
	settings map[string]string
}

func (d *directory) PutToken(_ context.Context, hash string, t cloudcrowd.Token) error {
	d.tokens[hash] = t
	return nil
}

func (d *directory) TokenByHash(_ context.Context, hash string) (cloudcrowd.Token, error) {
	t, ok := d.tokens[hash]
	if !ok {
		return t, cloudcrowd.Errorf(cloudcrowd.NotFound, "no such token")
	}
	return t, nil
}

func (d *directory) Setting(_ context.Context, key string) (string, error) {
	return d.settings[key], nil
}

func (d *directory) PutSetting(_ context.Context, key, value string) error {
	d.settings[key] = value
	return nil
}

func (d *directory) KeepSetting(_ context.Context, key, value string) (string, error) {
	if d.settings[key] == "" {
		d.settings[key] = value
	}
	return d.settings[key], nil
}

func newDirectory() *directory {
	return &directory{tokens: map[string]cloudcrowd.Token{}, settings: map[string]string{}}
}

// A grant opens what it names, until it expires, and nothing else.
func TestGrants(t *testing.T) {
	t.Parallel()
	s := NewSigner(testKey)
	read := s.Read(blobA, later)
	if err := s.CheckRead(read, blobA, now); err != nil {
		t.Fatal(err)
	}
	g, err := s.CheckUpload(s.Upload(attempt, "UWORKER", 1<<40, later), now)
	if err != nil || g.Attempt != attempt || g.Worker != "UWORKER" || g.MaxBytes != 1<<40 || !g.Expires.Equal(later) {
		t.Fatalf("%+v, %v", g, err)
	}
	for name, err := range map[string]error{
		"another blob":     s.CheckRead(read, blobB, now),
		"expired":          s.CheckRead(read, blobA, later),
		"another key":      NewSigner([]byte(strings.Repeat("x", 32))).CheckRead(read, blobA, now),
		"empty":            s.CheckRead("", blobA, now),
		"upload as read":   s.CheckRead(s.Upload(attempt, "U", 1, later), blobA, now),
		"session as read":  s.CheckRead(s.Session(string(blobA), later), blobA, now),
		"read as upload":   second(s.CheckUpload(read, now)),
		"upload, expired":  second(s.CheckUpload(s.Upload(attempt, "U", 1, now), now)),
		"padding appended": s.CheckRead(read+"=", blobA, now),
		"newline appended": s.CheckRead(read+"\n", blobA, now),
	} {
		if cloudcrowd.CodeOf(err) != cloudcrowd.Forbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s.Read("not a digest", later) != "" || s.Upload(attempt, "U", -1, later) != "" {
		t.Error("a grant for nonsense was made")
	}
}

func second[T any](_ T, err error) error { return err }

// Changing any single bit of a grant makes it worthless.
func TestGrantBits(t *testing.T) {
	t.Parallel()
	s := NewSigner(testKey)
	for _, token := range []string{s.Read(blobA, later), s.Upload(attempt, "UWORKER", 1000, later)} {
		raw, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			t.Fatal(err)
		}
		for bit := range len(raw) * 8 {
			raw[bit/8] ^= 1 << (bit % 8)
			bad := base64.RawURLEncoding.EncodeToString(raw)
			if s.CheckRead(bad, blobA, now) == nil || second(s.CheckUpload(bad, now)) == nil {
				t.Fatalf("accepted with bit %d changed", bit)
			}
			raw[bit/8] ^= 1 << (bit % 8)
		}
	}
}

// No text but one that was signed is ever accepted, and nothing panics.
func FuzzGrant(f *testing.F) {
	s := NewSigner(testKey)
	good := map[string]bool{s.Read(blobA, later): true, s.Upload(attempt, "UWORKER", 1000, later): true}
	for g := range good {
		f.Add(g)
		f.Add(g[:len(g)-1])
	}
	f.Add("")
	f.Add("cgAAAAAAAAAAAA")
	dir := newDirectory()
	f.Fuzz(func(t *testing.T, token string) {
		_, uploadErr := s.CheckUpload(token, now)
		readErr := s.CheckRead(token, blobA, now)
		_, sessionErr := s.CheckSession(context.Background(), dir, token, now)
		if !good[token] && (uploadErr == nil || readErr == nil || sessionErr == nil) {
			t.Fatalf("accepted %q", token)
		}
	})
}

// A token is known by its hash alone, ends at its time, and takes its browser sessions with it.
func TestTokens(t *testing.T) {
	t.Parallel()
	ctx, dir := context.Background(), newDirectory()
	s, err := LoadSigner(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadSigner(ctx, dir)
	if err != nil || again.CheckRead(s.Read(blobA, later), blobA, now) != nil {
		t.Fatal("the key changed between two starts")
	}
	token, secret, err := NewToken(ctx, dir, "alice", cloudcrowd.RoleRequester, "laptop", time.Hour, now)
	if err != nil || !strings.HasPrefix(secret, TokenPrefix) {
		t.Fatal(secret, err)
	}
	for hash := range dir.tokens {
		if strings.Contains(hash, secret) || len(hash) != 64 {
			t.Fatal("the secret itself is stored")
		}
	}
	p, err := Authenticate(ctx, dir, secret, now)
	if err != nil || p != (Principal{Account: "alice", Role: cloudcrowd.RoleRequester, TokenID: token.ID}) {
		t.Fatalf("%+v, %v", p, err)
	}
	cookie := s.Session(Hash(secret), now.Add(24*time.Hour))
	if p, err := s.CheckSession(ctx, dir, cookie, now); err != nil || p.Account != "alice" || !p.Session {
		t.Fatalf("%+v, %v", p, err)
	}
	for name, err := range map[string]error{
		"unknown":              second(Authenticate(ctx, dir, NewSecret(TokenPrefix), now)),
		"expired":              second(Authenticate(ctx, dir, secret, now.Add(time.Hour))),
		"its hash":             second(Authenticate(ctx, dir, Hash(secret), now)),
		"empty":                second(Authenticate(ctx, dir, "", now)),
		"session of expired":   second(s.CheckSession(ctx, dir, cookie, now.Add(2*time.Hour))),
		"session, forged":      second(s.CheckSession(ctx, dir, "A"+cookie[1:], now)),
		"session, another key": second(NewSigner(testKey).CheckSession(ctx, dir, cookie, now)),
	} {
		if cloudcrowd.CodeOf(err) != cloudcrowd.Unauthorized {
			t.Errorf("%s: %v", name, err)
		}
	}
	clear(dir.tokens)
	if _, err := s.CheckSession(ctx, dir, cookie, now); cloudcrowd.CodeOf(err) != cloudcrowd.Unauthorized {
		t.Error("the session outlived its token:", err)
	}
}
