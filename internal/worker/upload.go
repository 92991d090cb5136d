package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

// askFirst is the size from which the server is asked whether it has a blob before it is sent.
const askFirst = 64 << 10

// uploader stores outputs and logs at the server, one attempt after the other, trying again until it succeeds or is refused for good.
func (a *Agent) uploader(ctx context.Context) {
	for {
		a.mu.Lock()
		for len(a.toUpload) == 0 && !a.ended {
			a.freight.Wait()
		}
		if a.ended {
			a.mu.Unlock()
			return
		}
		f := a.toUpload[0]
		a.toUpload = a.toUpload[1:]
		a.mu.Unlock()
		if !a.deliver(ctx, f) {
			return
		}
		a.mu.Lock()
		f.ready = true
		if a.done[f.Report.Attempt] == f {
			a.toReport = append(a.toReport, f)
		}
		a.mu.Unlock()
		poke(a.wake)
	}
}

// deliver uploads one attempt's files. It reports false when the agent ends first. A refusal becomes the attempt's result.
func (a *Agent) deliver(ctx context.Context, f *finished) bool {
	synced := false
	for wait := firstBackoff; ; wait = min(2*wait, lastBackoff) {
		err := a.uploadAll(ctx, f)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		a.mu.Lock()
		gone := a.done[f.Report.Attempt] != f
		a.mu.Unlock()
		if gone {
			return true
		}
		if !passing(err) {
			if a.cfg.Misbehave == "" {
				a.mu.Lock()
				f.Report.Result = cloudcrowd.Result{
					Outcome: cloudcrowd.Broken, Reason: clipText("its output could not be stored: "+err.Error(), wire.MaxReason), Usage: f.Report.Result.Usage,
				}
				a.mu.Unlock()
			}
			return true
		}
		if !synced { // it may take long: now the files must survive a power failure too
			synced = true
			a.syncFolder(f)
		}
		if !pause(ctx, wait) {
			return false
		}
	}
}

// syncFolder puts the files of a result on disk for good. Failing costs safety, not the result.
func (a *Agent) syncFolder(f *finished) {
	_ = filepath.WalkDir(a.spool.folder(f.Report.Attempt), func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			if file, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
				_ = file.Sync()
				_ = file.Close()
			}
		}
		return nil
	})
}

func (a *Agent) uploadAll(ctx context.Context, f *finished) error {
	folder := a.spool.folder(f.Report.Attempt)
	a.mu.Lock()
	r := f.Report.Result
	a.mu.Unlock()
	sent := make(map[cloudcrowd.Digest]bool)
	for _, o := range r.Outputs {
		if sent[o.Digest] {
			continue
		}
		sent[o.Digest] = true
		if err := a.upload(ctx, filepath.Join(folder, "out", filepath.FromSlash(o.Path)), o.Digest, o.SizeBytes, f.Upload); err != nil {
			return err
		}
	}
	if r.Log == "" || sent[r.Log] {
		return nil
	}
	path := filepath.Join(folder, "log")
	info, err := os.Stat(path)
	if err != nil {
		return lost(err)
	}
	return a.upload(ctx, path, r.Log, info.Size(), f.Upload)
}

// lost says that the spool does not have what it should: a power failure took it.
func lost(err error) error {
	return &cloudcrowd.Error{Code: cloudcrowd.NotFound, Msg: "the worker lost it before it was stored", Err: err}
}

// upload stores one file, unless the server has it.
func (a *Agent) upload(ctx context.Context, path string, d cloudcrowd.Digest, size int64, token string) error {
	if size >= askFirst {
		resp, err := a.blobRequest(ctx, http.MethodHead, d, token, "", 0)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
	resp, err := a.blobRequest(ctx, http.MethodPut, d, token, path, size)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
		return nil
	}
	err = problem(resp)
	if cloudcrowd.CodeOf(err) == cloudcrowd.DigestMismatch && a.cfg.Misbehave == "" && !matches(path, d) {
		return lost(errors.New("its bytes have changed"))
	}
	return err
}

func matches(path string, d cloudcrowd.Digest) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, file)
	return err == nil && hex.EncodeToString(sum.Sum(nil)) == string(d)
}

// blobRequest asks about a blob, or stores the file at path ("": none) as it.
func (a *Agent) blobRequest(ctx context.Context, method string, d cloudcrowd.Digest, token, path string, size int64) (*http.Response, error) {
	ctx, cancel := context.WithCancel(ctx)
	stalled := time.AfterFunc(2*stallTime, cancel)
	end := func() { stalled.Stop(); cancel() }
	resp, err := a.ask(func(server string) (*http.Request, error) {
		var body io.Reader
		if path != "" { // opened for every try: one that failed may still be reading
			file, err := os.Open(path)
			if err != nil {
				return nil, lost(err)
			}
			stalled.Reset(2 * stallTime)
			body = &sending{file, func() { stalled.Reset(2 * stallTime) }}
		}
		req, err := http.NewRequestWithContext(ctx, method, server+"/v1/blobs/"+string(d), body)
		if err != nil {
			return nil, err
		}
		if req.ContentLength = size; size == 0 && path != "" {
			_ = req.Body.Close() // was not read
			req.Body = http.NoBody
		}
		req.Header.Set("Authorization", "Grant "+token)
		return req, nil
	})
	if err != nil {
		end()
		return nil, err
	}
	resp.Body = &ending{resp.Body, end}
	return resp, nil
}

// sending is a file that is read as fast as the network takes it, and says each time that it goes on.
type sending struct {
	file  *os.File
	going func()
}

// Read implements io.Reader.
func (s *sending) Read(p []byte) (int, error) {
	s.going()
	return s.file.Read(p)
}

// Close implements io.Closer.
func (s *sending) Close() error { return s.file.Close() }

// ending frees what a request holds with its body.
type ending struct {
	io.ReadCloser
	end func()
}

func (e *ending) Close() error {
	defer e.end()
	return e.ReadCloser.Close()
}
