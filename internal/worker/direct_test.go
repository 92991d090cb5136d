package worker

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

// storage is a server that sends workers to a storage service, and the service.
type storage struct {
	bytes    []byte // of the one blob
	location string // "": of the service
	how      *wire.Direct
	served   []string // who gave bytes: "server" or "service"
	spoil    func(w http.ResponseWriter, r *http.Request) bool
}

const testBlock = 1000

func (s *storage) start(t *testing.T) *Agent {
	t.Helper()
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Header.Get(wire.DirectHeader) != "" {
			t.Error("the grant went to the storage service")
		}
		s.served = append(s.served, "service")
		if s.spoil == nil || !s.spoil(w, r) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.bytes))
		}
	}))
	t.Cleanup(service.Close)
	if s.location == "" {
		s.location = service.URL + "/x?signature=secret"
	}
	if s.how == nil {
		var sums []uint32
		for block := range slices.Chunk(s.bytes, testBlock) {
			sums = append(sums, wire.SumOf(block))
		}
		how := wire.NewDirect(testBlock, int64(len(s.bytes)), sums[2:5])
		s.how = &how
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(wire.DirectHeader) != "" {
			w.Header().Set("Location", s.location)
			w.WriteHeader(http.StatusTemporaryRedirect)
			_ = json.NewEncoder(w).Encode(s.how)
			return
		}
		s.served = append(s.served, "server")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.bytes))
	}))
	t.Cleanup(server.Close)
	a, err := New(Config{Server: server.URL, DataDir: t.TempDir(), Invite: invite, Name: "test", Slots: 1, Speed: 1, MemoryBytes: 1 << 30, Sandbox: sandboxOf(nil)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.http.CloseIdleConnections()
		a.direct.http.CloseIdleConnections()
	})
	return a
}

func testBytes() []byte {
	b := make([]byte, 7500)
	for i := range b {
		b[i] = byte(i*i>>3 + i)
	}
	return b
}

// A blob or a span that the server sends a worker elsewhere for is read there, without the grant, and is the same.
func TestDirect(t *testing.T) {
	t.Parallel()
	s := &storage{bytes: testBytes()}
	a := s.start(t)
	d := digest(s.bytes)
	for _, sp := range []span{{Digest: d}, {d, 2300, 2600}, {d, 2000, 3000}, {d, 2999, 1002}} {
		var w bytes.Buffer
		want := s.bytes
		if !sp.whole() {
			want = want[sp.Offset : sp.Offset+sp.Length]
		}
		if err := a.download(t.Context(), sp, "ok", &w); err != nil || !bytes.Equal(w.Bytes(), want) {
			t.Errorf("%v: %d bytes, %v", sp, w.Len(), err)
		}
	}
	if len(s.served) != 4 || slices.Contains(s.served, "server") {
		t.Errorf("served by %v", s.served)
	}
}

// Whatever is wrong with the storage service, the worker has the bytes from the server, in the same call if nothing had come yet; damage is never
// taken for the blob, and the service's address is in no error.
func TestDirectFallsBack(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	b := testBytes()
	d := digest(b)
	answer := func(status int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(status); return true }
	}
	damaged := func(w http.ResponseWriter, r *http.Request) bool {
		bad := slices.Clone(b)
		bad[3500] ^= 1
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(bad))
		return true
	}
	for name, tt := range map[string]struct {
		storage
		first  cloudcrowd.Code // of the first call; "": it succeeds
		avoids bool            // the service is not asked for this blob again
	}{
		"unreachable":    {storage{location: closed.URL}, "", true},
		"no address":     {storage{location: "/x"}, "", false},
		"odd scheme":     {storage{location: "file:///etc/passwd"}, "", false},
		"wrong sums":     {storage{how: &wire.Direct{BlockBytes: testBlock, SizeBytes: 7500, CRC32C: []byte{1}}}, "", false},
		"denied":         {storage{spoil: answer(403)}, "", true},
		"missing":        {storage{spoil: answer(404)}, "", true},
		"sent on":        {storage{spoil: answer(302)}, "", true},
		"ignores ranges": {storage{spoil: answer(200)}, "", true},
		"breaks off": {storage{spoil: func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(206)
			_, _ = w.Write(b[:5])
			return true
		}}, cloudcrowd.Unavailable, false},
		"damaged on disk": {storage{spoil: damaged}, cloudcrowd.DigestMismatch, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tt.storage
			s.bytes = b
			a := s.start(t)
			var w bytes.Buffer
			sp := span{d, 2300, 2600}
			err := a.download(t.Context(), sp, "ok", &w)
			if cloudcrowd.CodeOf(err) != tt.first || tt.first == "" && !bytes.Equal(w.Bytes(), b[2300:4900]) {
				t.Errorf("%d bytes, %v", w.Len(), err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the address is in %v", err)
			}
			if a.direct.wanted(d) == tt.avoids {
				t.Errorf("the service is asked again: %v", !tt.avoids)
			}
		})
	}
}

// A blob that is damaged at the storage service comes from the server at the second try.
func TestDirectDamaged(t *testing.T) {
	t.Parallel()
	b := testBytes()
	s := &storage{bytes: b, spoil: func(w http.ResponseWriter, _ *http.Request) bool {
		_, _ = w.Write([]byte("something else"))
		return true
	}}
	a := s.start(t)
	var err error
	if a.cache, err = openCache(t.TempDir(), 1<<20); err != nil {
		t.Fatal(err)
	}
	a.cache.fetch = a.download
	got, err := a.obtain(t.Context(), span{Digest: digest(b)}, "ok")
	if err != nil {
		t.Fatal(err)
	}
	got.release()
	if !slices.Equal(s.served, []string{"service", "server"}) {
		t.Errorf("served by %v", s.served)
	}
}
