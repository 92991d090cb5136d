package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

// Fetching gives up after fetchPatience of failures that may pass; the server then finds another worker.
const (
	fetchPatience = 90 * time.Second
	firstBackoff  = 100 * time.Millisecond
	lastBackoff   = 5 * time.Second
	// stallTime is how long a transfer may give no byte.
	stallTime = time.Minute
)

// download is one GET of a blob or a span into w, where the server says if it sends this worker elsewhere.
func (a *Agent) download(ctx context.Context, s span, token string, w io.Writer) error {
	if a.direct.wanted(s.Digest) {
		if err := a.get(ctx, s, token, w, true); !errors.Is(err, errElsewhere) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return a.get(ctx, s, token, w, false)
}

func (a *Agent) get(ctx context.Context, s span, token string, w io.Writer, direct bool) error {
	resp, err := a.ask(func(server string) (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/v1/blobs/"+string(s.Digest), nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Grant "+token)
		if !s.whole() {
			req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", s.Offset, s.Offset+s.Length-1))
		}
		if direct {
			req.Header.Set(wire.DirectHeader, "1")
		}
		return req, nil
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if direct && resp.StatusCode == http.StatusTemporaryRedirect {
		return a.follow(ctx, s, resp, w)
	}
	body := io.Reader(resp.Body)
	switch {
	case resp.StatusCode == http.StatusPartialContent && !s.whole():
		body = io.LimitReader(body, s.Length+1) // one more is noticed by its size
	case resp.StatusCode == http.StatusOK && s.whole():
	case resp.StatusCode == http.StatusOK: // a server may answer a range with everything
		if _, err := io.CopyN(io.Discard, body, s.Offset); err != nil {
			return unreachable(err)
		}
		body = io.LimitReader(body, s.Length)
	default:
		return problem(resp)
	}
	if _, err := io.Copy(w, stalling(body, func() { resp.Body.Close() })); err != nil {
		if diskFull(err) {
			return err
		}
		return unreachable(err)
	}
	return nil
}

// stalling makes a reader whose reads fail when one takes longer than stallTime: stop is called and ends it.
func stalling(r io.Reader, stop func()) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		timer := time.AfterFunc(stallTime, stop)
		defer timer.Stop()
		return r.Read(p)
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// obtain gets a blob or span into the cache, trying again while that may help.
func (a *Agent) obtain(ctx context.Context, s span, token string) (piece, error) {
	deadline := time.Now().Add(fetchPatience)
	for wait := firstBackoff; ; wait = min(2*wait, lastBackoff) {
		p, err := a.cache.get(ctx, s, token)
		if err == nil {
			return p, nil
		}
		if diskFull(err) {
			a.noteFullDisk(err)
			a.cache.trim()
			return piece{}, err
		}
		mismatch := cloudcrowd.CodeOf(err) == cloudcrowd.DigestMismatch
		if mismatch {
			a.direct.avoid(s.Digest)
		}
		if ctx.Err() != nil || !(passing(err) || mismatch) || time.Now().Add(wait).After(deadline) {
			return piece{}, err
		}
		if !pause(ctx, wait) {
			return piece{}, context.Cause(ctx)
		}
	}
}

// pause waits, and reports false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// prepare gets everything an attempt needs into the cache and holds it there until the attempt ends.
func (a *Agent) prepare(ctx context.Context, at *attempt) error {
	p := &at.lease.Payload
	grant := tokens(at.lease.Grants)
	hold := func(s span) error {
		if _, ok := at.pieces[s]; ok {
			return nil
		}
		got, err := a.obtain(ctx, s, grant(s.Digest))
		if err != nil {
			return fmt.Errorf("blob %s: %w", s.Digest.Short(), err)
		}
		at.pieces[s] = got
		at.fetched += got.fetched
		return nil
	}
	if err := hold(span{Digest: p.Module}); err != nil {
		return err
	}
	for i := range p.Files {
		for j := range p.Files[i].Segments {
			if s := &p.Files[i].Segments[j]; s.Blob != "" && (s.Whole || s.Length > 0) {
				if err := hold(spanOf(s)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// tokens finds the token for a blob. Most often there are one or two, which need no map.
func tokens(grants []cloudcrowd.Grant) func(cloudcrowd.Digest) string {
	if len(grants) > 8 {
		m := make(map[cloudcrowd.Digest]string, len(grants))
		for _, g := range grants {
			m[g.Blob] = g.Token
		}
		return func(d cloudcrowd.Digest) string { return m[d] }
	}
	return func(d cloudcrowd.Digest) string {
		for _, g := range grants {
			if g.Blob == d {
				return g.Token
			}
		}
		return ""
	}
}

func spanOf(s *cloudcrowd.Segment) span {
	if s.Whole {
		return span{Digest: s.Blob}
	}
	return span{Digest: s.Blob, Offset: s.Offset, Length: s.Length}
}

// layOut makes an attempt's /in below dir: a file that is one whole blob becomes a hard link of the cached one where that works, others are written.
func (at *attempt) layOut(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for i := range at.lease.Payload.Files {
		f := &at.lease.Payload.Files[i]
		name := filepath.FromSlash(f.Path)
		if !filepath.IsLocal(name) { // also what only this system cannot name, such as NUL on Windows
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "an input file cannot be named %q on this system", f.Path)
		}
		if parent := filepath.Dir(name); parent != "." {
			if err := root.MkdirAll(parent, 0o700); err != nil {
				return err
			}
		}
		if len(f.Segments) == 1 && f.Segments[0].Whole {
			if os.Link(at.pieces[spanOf(&f.Segments[0])].path, filepath.Join(dir, name)) == nil {
				continue
			}
		}
		if err := at.writeInput(root, name, f); err != nil {
			return err
		}
	}
	return nil
}

func (at *attempt) writeInput(root *os.Root, name string, f *cloudcrowd.TaskFile) (err error) {
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for j := range f.Segments {
		s := &f.Segments[j]
		if s.Blob == "" || !s.Whole && s.Length == 0 {
			if _, err := out.Write(s.Inline); err != nil {
				return err
			}
			continue
		}
		if err := at.pieces[spanOf(s)].copyTo(out); err != nil {
			return err
		}
	}
	return nil
}

func (p piece) copyTo(w io.Writer) error {
	in, err := os.Open(p.path)
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := in.Seek(p.offset, io.SeekStart); err != nil {
		return err
	}
	if p.length < 0 {
		_, err = io.Copy(w, in)
	} else {
		_, err = io.CopyN(w, in, p.length)
	}
	return err
}
