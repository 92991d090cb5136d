package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/internal/jobfile"
	"github.com/spf13/cobra"
)

// jobFile is a job description that was read and checked.
type jobFile = jobfile.File

// jobOptions are the options of all commands that read a job file.
type jobOptions struct {
	inputs, params []string
	budget         string
}

func (o *jobOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&o.inputs, "input", nil, "replace an input, `NAME=PATH`; may be given again")
	f.StringArrayVar(&o.params, "param", nil, "replace a parameter, `NAME=VALUE`; may be given again")
	f.StringVar(&o.budget, "budget", "", "hold this many `CREDITS`, instead of the job file's budget")
}

// pairs reads options of the form NAME=VALUE.
func pairs(option string, texts []string) (map[string]string, error) {
	values := map[string]string{}
	for _, text := range texts {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, cloudcrowd.Fieldf(option, "%q must be NAME=VALUE", text)
		}
		if _, twice := values[name]; twice {
			return nil, cloudcrowd.Fieldf(option, "%s is given twice", name)
		}
		values[name] = value
	}
	return values, nil
}

// load reads and checks a job file; nothing is compiled or uploaded yet. The name "-" reads standard input.
func (a *app) load(path string, o jobOptions) (*jobFile, error) {
	inputs, err := pairs("--input", o.inputs)
	if err != nil {
		return nil, err
	}
	params, err := pairs("--param", o.params)
	if err != nil {
		return nil, err
	}
	job, err := a.read(path, jobfile.Options{Inputs: inputs, Params: params})
	if err != nil {
		return nil, err
	}
	if o.budget != "" {
		if job.Spec.Budget, err = cloudcrowd.ParseCredits(o.budget); err != nil {
			return nil, cloudcrowd.Fieldf("--budget", "%v", err)
		}
		if job.Spec.Budget <= 0 {
			return nil, cloudcrowd.Fieldf("--budget", "%s must be above zero", o.budget)
		}
	}
	for _, note := range job.Notes {
		a.notef("· %s\n", note)
	}
	return job, nil
}

func (a *app) read(path string, o jobfile.Options) (*jobFile, error) {
	if path != "-" {
		return jobfile.Load(path, o)
	}
	data, err := io.ReadAll(io.LimitReader(a.stdin, jobfile.MaxBytes+1))
	if err != nil {
		return nil, err
	}
	o.Name = "standard input"
	return jobfile.Parse(data, ".", o)
}

// resolve compiles programs, uploads what the server lacks, showing how far it is, and returns the finished spec.
func (a *app) resolve(ctx context.Context, api *client.Client, job *jobFile) (cloudcrowd.JobSpec, error) {
	for _, u := range job.Uploads {
		if u.Kind == jobfile.UploadGoDir {
			a.notef("%s\n", a.errInk.dim("compiling "+u.Name))
		}
	}
	return job.Resolve(func(u jobfile.Upload) (cloudcrowd.Digest, int64, error) {
		if err := ctx.Err(); err != nil {
			return "", 0, err
		}
		if u.Kind == jobfile.UploadDigest {
			size, err := blobSize(ctx, api, u.Digest)
			return u.Digest, size, err
		}
		if err := checkProgram(u); err != nil {
			return "", 0, err
		}
		moving, done := a.transfer("uploading", u.Name)
		file, err := api.PutFile(ctx, u.Path, moving)
		done()
		return file.Digest, file.SizeBytes, err
	})
}

// resolveHere is resolve without a server: programs are compiled and checked, files hashed, and nothing is sent.
func (a *app) resolveHere(job *jobFile) (cloudcrowd.JobSpec, error) {
	return job.Resolve(func(u jobfile.Upload) (cloudcrowd.Digest, int64, error) {
		if u.Kind == jobfile.UploadDigest {
			return u.Digest, 1, nil // its size is the server's to tell
		}
		if err := checkProgram(u); err != nil {
			return "", 0, err
		}
		f, err := os.Open(u.Path)
		if err != nil {
			return "", 0, err
		}
		defer f.Close()
		h := sha256.New()
		n, err := io.Copy(h, f)
		return cloudcrowd.Digest(hex.EncodeToString(h.Sum(nil))), n, err
	})
}

// blobSize asks for the size of a stored blob.
func blobSize(ctx context.Context, api *client.Client, d cloudcrowd.Digest) (int64, error) {
	has, err := api.HasBlob(ctx, d)
	if err != nil {
		return 0, err
	}
	if !has {
		return 0, cloudcrowd.Errorf(cloudcrowd.NotFound, "the server has no blob %s that you uploaded", d.Short()).
			WithHint("upload it with `cloudcrowd blobs put FILE`")
	}
	return api.FetchBlob(ctx, d, "", io.Discard)
}

// transfer returns a progress function for bytes that move, and what to call when they have arrived. Small transfers show nothing.
func (a *app) transfer(verb, name string) (client.Progress, func()) {
	screen := &live{w: a.stderr, on: !a.json && isTerminal(a.stderr)}
	if !screen.on {
		return nil, func() {}
	}
	last, width := time.Now(), terminalWidth(a.stderr)
	moving := func(done, total int64) {
		if now := time.Now(); now.Sub(last) > 100*time.Millisecond {
			last = now
			screen.draw([]string{transferLine(a.errInk, verb, filepath.Base(name), done, total, width)})
		}
	}
	return moving, screen.clear
}
