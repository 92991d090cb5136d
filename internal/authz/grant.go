package authz

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// A grant is base64url (no padding) of
//
//	kind (1) · expiry, Unix seconds (8, big-endian) · payload · HMAC-SHA256 of all before, cut to 16 bytes
//
// The kind is part of what is signed, so a grant of one kind can never pass for another.
const (
	kindRead    = 'r' // payload: digest (32)
	kindUpload  = 'u' // payload: most bytes (8) · length of the attempt's text (1) · attempt · worker
	kindSession = 's' // payload: SHA-256 of the bearer token (32)
)

const (
	macBytes      = 16
	headBytes     = 9
	maxGrantChars = 512
)

// MinKeyBytes is the shortest key a Signer accepts.
const MinKeyBytes = 32

// SigningKeySetting is where the store keeps the server's signing key.
const SigningKeySetting = "signing-key"

// Signer makes and checks grants with the server's key. Safe for concurrent use. Every server of an installation uses the same key.
type Signer struct{ key []byte }

// NewSigner makes a Signer; a key shorter than MinKeyBytes is a defect of the caller and panics.
func NewSigner(key []byte) *Signer {
	if len(key) < MinKeyBytes {
		panic("authz: signing key too short")
	}
	return &Signer{key: append([]byte(nil), key...)}
}

// LoadSigner reads the key from the store's settings; the first start makes and stores one. Servers that start at once get the same.
func LoadSigner(ctx context.Context, dir store.Directory) (*Signer, error) {
	var b [MinKeyBytes]byte
	rand.Read(b[:])
	text, err := dir.KeepSetting(ctx, SigningKeySetting, hex.EncodeToString(b[:]))
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(text)
	if err != nil || len(key) < MinKeyBytes {
		return nil, cloudcrowd.Errorf(cloudcrowd.Internal, "the stored signing key is damaged")
	}
	return NewSigner(key), nil
}

// Read grants reading one blob until expires.
func (s *Signer) Read(d cloudcrowd.Digest, expires time.Time) string {
	raw, err := hex.DecodeString(string(d))
	if err != nil || len(raw) != sha256.Size {
		return "" // no blob has that name, so no grant for it exists
	}
	return s.seal(kindRead, expires, raw)
}

// Upload grants a worker to store at most maxBytes in all for one attempt (outputs and log) until expires.
func (s *Signer) Upload(a cloudcrowd.AttemptID, w cloudcrowd.WorkerID, maxBytes int64, expires time.Time) string {
	attempt := a.String()
	if len(attempt) > 255 || maxBytes < 0 {
		return ""
	}
	p := binary.BigEndian.AppendUint64(make([]byte, 0, 9+len(attempt)+len(w)), uint64(maxBytes))
	p = append(p, byte(len(attempt)))
	p = append(p, attempt...)
	p = append(p, w...)
	return s.seal(kindUpload, expires, p)
}

// Session is the value of a browser's cookie: it stands for the bearer token with that hash (lower-case hex) until expires, and dies with the token.
func (s *Signer) Session(tokenHash string, expires time.Time) string {
	raw, err := hex.DecodeString(tokenHash)
	if err != nil || len(raw) != sha256.Size {
		return ""
	}
	return s.seal(kindSession, expires, raw)
}

// CheckRead verifies a grant for reading d at now: code Forbidden otherwise.
func (s *Signer) CheckRead(token string, d cloudcrowd.Digest, now time.Time) error {
	p, _, err := s.open(kindRead, token, now)
	if err != nil {
		return err
	}
	if hex.EncodeToString(p) != string(d) {
		return cloudcrowd.Errorf(cloudcrowd.Forbidden, "the grant is for another blob")
	}
	return nil
}

// UploadGrant is what an upload grant says.
type UploadGrant struct {
	Attempt  cloudcrowd.AttemptID
	Worker   cloudcrowd.WorkerID
	MaxBytes int64 // in all
	Expires  time.Time
}

// CheckUpload verifies a grant for storing at now and returns what it says: code Forbidden otherwise.
func (s *Signer) CheckUpload(token string, now time.Time) (UploadGrant, error) {
	p, expires, err := s.open(kindUpload, token, now)
	if err != nil {
		return UploadGrant{}, err
	}
	if len(p) < 9 || len(p) < 9+int(p[8]) {
		return UploadGrant{}, errGrant()
	}
	n := 9 + int(p[8])
	a, err := cloudcrowd.ParseAttemptID(string(p[9:n]))
	if err != nil {
		return UploadGrant{}, errGrant()
	}
	return UploadGrant{Attempt: a, Worker: cloudcrowd.WorkerID(p[n:]), MaxBytes: int64(binary.BigEndian.Uint64(p)), Expires: expires}, nil
}

// CheckSession finds whom a cookie stands for at now: code Unauthorized if it or its token is not valid any more.
func (s *Signer) CheckSession(ctx context.Context, dir store.Directory, cookie string, now time.Time) (Principal, error) {
	raw, _, err := s.open(kindSession, cookie, now)
	if err != nil {
		return Principal{}, errToken()
	}
	p, err := principalByHash(ctx, dir, hex.EncodeToString(raw), now)
	p.Session = err == nil
	return p, err
}

// Derive makes 32 bytes that only this server can make from the given words: the same words give the same bytes. Used to answer a repeated
// request with an idempotency key by the same secret without storing it.
func (s *Signer) Derive(words ...string) []byte {
	m := hmac.New(sha256.New, s.key)
	m.Write([]byte{'d'})
	for _, w := range words {
		m.Write(binary.BigEndian.AppendUint64(nil, uint64(len(w))))
		m.Write([]byte(w))
	}
	return m.Sum(nil)
}

func errGrant() error {
	return (&cloudcrowd.Error{Code: cloudcrowd.Forbidden, Msg: "the grant is not valid (damaged, expired or not for this)"}).
		WithHint("grants come with a lease and end with it")
}

func (s *Signer) mac(b []byte) []byte {
	m := hmac.New(sha256.New, s.key)
	m.Write(b)
	return m.Sum(nil)[:macBytes]
}

func (s *Signer) seal(kind byte, expires time.Time, payload []byte) string {
	b := make([]byte, 0, headBytes+len(payload)+macBytes)
	b = append(b, kind)
	b = binary.BigEndian.AppendUint64(b, uint64(expires.Unix()))
	b = append(b, payload...)
	b = append(b, s.mac(b)...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// open checks the signature first and looks at the content only when it is ours.
func (s *Signer) open(kind byte, token string, now time.Time) (payload []byte, expires time.Time, err error) {
	if len(token) > maxGrantChars || strings.ContainsAny(token, "\r\n") { // the decoder would skip line ends
		return nil, time.Time{}, errGrant()
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) < headBytes+macBytes {
		return nil, time.Time{}, errGrant()
	}
	body, mac := b[:len(b)-macBytes], b[len(b)-macBytes:]
	if !hmac.Equal(mac, s.mac(body)) || body[0] != kind {
		return nil, time.Time{}, errGrant()
	}
	expires = time.Unix(int64(binary.BigEndian.Uint64(body[1:])), 0)
	if !now.Before(expires) {
		return nil, time.Time{}, errGrant()
	}
	return body[headBytes:], expires, nil
}
