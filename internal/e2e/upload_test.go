package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// A client that disappears during its upload, or a server that does, leaves nothing: no blob, no half of one, and a server that serves. Bytes that are
// not those of their digest are refused.
func TestUpload(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, nil)
	content := strings.Repeat("ACGT\n", 200_000)
	digest := digestOf(content)

	conn := c.put(digest, len(content), content[:len(content)/2])
	until(t, "the upload begins", func() bool { return len(c.unfinished()) == 1 })
	conn.Close()
	until(t, "what was sent is removed", func() bool { return len(c.unfinished()) == 0 })
	c.notStored(digest)

	c.put(digest, len(content), content[:len(content)/2])
	until(t, "the upload begins", func() bool { return len(c.unfinished()) == 1 })
	c.server.kill()
	c.again()
	if left := c.unfinished(); len(left) > 0 {
		t.Errorf("after the restart %v is left", left)
	}
	c.notStored(digest)

	wrong := digestOf("something else")
	answer, err := io.ReadAll(c.put(wrong, len(content), content))
	if err != nil || !strings.Contains(string(answer), string(cloudcrowd.DigestMismatch)) {
		t.Errorf("wrong bytes: %v, %s", err, answer)
	}
	c.notStored(wrong)

	stored, err := c.api.PutBytes(t.Context(), []byte(content))
	if err != nil || stored != digest {
		t.Errorf("%s, %v", stored, err)
	}
	c.balance()
	c.fsck()
}

func digestOf(content string) cloudcrowd.Digest {
	sum := sha256.Sum256([]byte(content))
	return cloudcrowd.Digest(hex.EncodeToString(sum[:]))
}

// put begins an upload of so many bytes by hand, and sends some.
func (c *crowd) put(digest cloudcrowd.Digest, size int, sent string) net.Conn {
	c.t.Helper()
	u, err := url.Parse(c.serving.URL)
	if err != nil {
		c.t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	_, err = fmt.Fprintf(conn, "PUT /v1/blobs/%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		digest, u.Host, c.token, size, sent)
	if err != nil {
		c.t.Fatal(err)
	}
	return conn
}

// unfinished are the files of uploads under way.
func (c *crowd) unfinished() []string {
	c.t.Helper()
	entries, err := os.ReadDir(filepath.Join(c.data, "blobs", "tmp"))
	if err != nil {
		c.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (c *crowd) notStored(digest cloudcrowd.Digest) {
	c.t.Helper()
	if has, err := c.api.HasBlob(c.t.Context(), digest); has || err != nil {
		c.t.Errorf("blob %s: stored %v, %v", digest.Short(), has, err)
	}
	err := filepath.WalkDir(filepath.Join(c.data, "blobs"), func(path string, _ os.DirEntry, err error) error {
		if strings.Contains(path, string(digest)) || strings.HasSuffix(path, string(digest)[2:]) {
			c.t.Errorf("%s is there", path)
		}
		return err
	})
	if err != nil {
		c.t.Error(err)
	}
}
