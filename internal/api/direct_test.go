package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

// signingBlobs sign addresses, or fail to.
type signingBlobs struct {
	*fakeBlobs
	direct blob.Direct
	err    error
	asked  [2]int64
}

func (s *signingBlobs) Sign(_ context.Context, _ cloudcrowd.Digest, off, length int64, ttl time.Duration) (blob.Direct, error) {
	s.asked = [2]int64{off, length}
	if ttl != directTTL {
		return blob.Direct{}, errors.New("another time")
	}
	return s.direct, s.err
}

// A worker that says it can is sent to the bucket for large reads, with what it needs to verify them; everybody else, small reads, odd ranges and
// failing signatures get the bytes from the server, and so does everything if the operator wants it.
func TestDirect(t *testing.T) {
	t.Parallel()
	b := bytes.Repeat([]byte("0123456789abcdef"), 20_000) // 320,000 bytes
	d := sum(b)
	for _, indirect := range []bool{false, true} {
		var blobs *signingBlobs
		r := newRig(t, func(c *Config) {
			blobs = &signingBlobs{fakeBlobs: c.Blobs.(*fakeBlobs), direct: blob.Direct{URL: "https://bucket.example/x?signature=1", BlockBytes: 65536, SizeBytes: 320_000, Blocks: []uint32{1, 2}}}
			c.Blobs, c.Indirect = blobs, indirect
		})
		r.blobs.m[d] = b
		grant := "Grant " + r.signer.Read(d, time.Now().Add(time.Hour))
		path := "/v1/blobs/" + string(d)
		for _, tt := range []struct {
			name    string
			method  string
			headers []string
			spoil   error
			asked   [2]int64 // off, length of the signature; zero: none
			status  int      // where it is allowed
			other   int      // where it is not
		}{
			{"whole", "GET", []string{"Authorization", grant, wire.DirectHeader, "1"}, nil, [2]int64{0, -1}, 307, 200},
			{"range", "GET", []string{"Authorization", grant, wire.DirectHeader, "1", "Range", "bytes=100-100099"}, nil, [2]int64{100, 100_000}, 307, 206},
			{"small range", "GET", []string{"Authorization", grant, wire.DirectHeader, "1", "Range", "bytes=0-99"}, nil, [2]int64{}, 206, 206},
			{"open range", "GET", []string{"Authorization", grant, wire.DirectHeader, "1", "Range", "bytes=100-"}, nil, [2]int64{}, 206, 206},
			{"old worker", "GET", []string{"Authorization", grant}, nil, [2]int64{}, 200, 200},
			{"head", "HEAD", []string{"Authorization", grant, wire.DirectHeader, "1"}, nil, [2]int64{}, 200, 200},
			{"no signature", "GET", []string{"Authorization", grant, wire.DirectHeader, "1"}, errors.New("no key"), [2]int64{0, -1}, 200, 200},
			{"no grant", "GET", []string{"Authorization", "Grant x", wire.DirectHeader, "1"}, nil, [2]int64{}, 403, 403},
		} {
			blobs.asked, blobs.err = [2]int64{}, tt.spoil
			resp, body := r.do("", tt.method, path, "", tt.headers...)
			want := tt.status
			if indirect {
				want, tt.asked = tt.other, [2]int64{}
			}
			if resp.StatusCode != want || blobs.asked != tt.asked {
				t.Errorf("%s: status %d, want %d; signed %v, want %v", tt.name, resp.StatusCode, want, blobs.asked, tt.asked)
			}
			if resp.StatusCode != http.StatusTemporaryRedirect {
				continue
			}
			var how wire.Direct
			if err := json.Unmarshal(body, &how); err != nil || resp.Header.Get("Location") != blobs.direct.URL || resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %v, %v", tt.name, resp.Header, err)
			}
			if tt.name == "range" {
				if from, to, ok := how.Span(100, 100_000); !ok || from != 0 || to != 131_072 || how.Block(1) != 2 {
					t.Errorf("%+v", how)
				}
			} else if how.CRC32C != nil {
				t.Errorf("%s: %+v", tt.name, how)
			}
		}
		if resp, _ := r.do("olga", "GET", path, "", wire.DirectHeader, "1"); resp.StatusCode != 200 {
			t.Errorf("a person was answered %d", resp.StatusCode)
		}
	}
}
