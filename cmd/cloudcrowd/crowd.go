package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/internal/platform"
)

// requester is the account that pays on a server of this process.
const requester cloudcrowd.AccountID = "requester"

// issued is how many credits the requester of such a server gets.
const issued = 100 * cloudcrowd.Credit

// joinLimit is how long workers of this machine may take to join.
const joinLimit = 30 * time.Second

// member is one worker of a crowd on this machine.
type member struct {
	owner     string
	misbehave string // as the worker's option; empty: honest
}

// crowd is a real server in this process with real worker processes that have joined it.
type crowd struct {
	server   *platform.Server
	operator *client.Client
	client   *client.Client // of the requester
	console  string         // admin link
	workers  []*exec.Cmd
	lifeline []io.Closer // a worker stops when its end of this pipe closes
	once     sync.Once
	stopErr  error
}

// startCrowd starts the server, an account with credits, and the workers, and waits until they have all joined.
func (a *app) startCrowd(ctx context.Context, s serverSettings, members []member) (*crowd, error) {
	if err := os.MkdirAll(s.DataDir, 0o700); err != nil {
		return nil, err
	}
	logFile, err := os.OpenFile(filepath.Join(s.DataDir, "server.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	server, err := startServer(context.WithoutCancel(ctx), s, newLogger(logFile, "info", false))
	if err != nil {
		return nil, errors.Join(err, logFile.Close())
	}
	c := &crowd{server: server, console: server.AdminLink(), lifeline: []io.Closer{logFile}}
	if err := c.furnish(ctx, a, s.DataDir, members); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

func (c *crowd) furnish(ctx context.Context, a *app, dir string, members []member) error {
	admin, err := targetOf(c.server.AdminLink())
	if err != nil {
		return err
	}
	if c.operator, err = admin.connect(); err != nil {
		return err
	}
	if _, err := c.operator.Issue(ctx, requester, issued, "to spend on this machine", "first-credits"); err != nil {
		return err
	}
	token, err := c.operator.CreateToken(ctx, client.TokenRequest{Account: requester, Role: cloudcrowd.RoleRequester, Note: "this machine"})
	if err != nil {
		return err
	}
	asRequester := admin
	asRequester.Token = token.Secret
	if c.client, err = asRequester.connect(); err != nil {
		return err
	}
	for _, m := range members {
		invite, err := c.operator.CreateInvite(ctx, client.InviteRequest{Owner: cloudcrowd.AccountID(m.owner), MaxUses: 1})
		if err != nil {
			return err
		}
		if err := c.startWorker(m, invite.Link, filepath.Join(dir, "workers", m.owner)); err != nil {
			return err
		}
	}
	return c.joined(ctx, len(members))
}

// startWorker starts this program again as a worker. Its link travels in the environment, out of sight of other users' process lists.
func (c *crowd) startWorker(m member, link, dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	logFile, err := os.OpenFile(filepath.Join(dir, "worker.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close() // the child has its own
	args := []string{"worker", "--data", dir, "--name", m.owner, "--slots", "1", "--with-parent"}
	if m.misbehave != "" {
		args = append(args, "--misbehave", m.misbehave)
	}
	cmd := exec.Command(self, args...)
	cmd.Args[0] = "cloudcrowd"
	cmd.Env = append(os.Environ(), "CLOUDCROWD_WORKER_JOIN="+link)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	separate(cmd)
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	c.workers, c.lifeline = append(c.workers, cmd), append(c.lifeline, lifeline)
	return nil
}

// joined waits until so many workers are online.
func (c *crowd) joined(ctx context.Context, want int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, joinLimit, fmt.Errorf("the workers did not join within %s; their logs are below the data folder", joinLimit))
	defer cancel()
	for {
		status, err := c.operator.Status(ctx)
		if err == nil && status.WorkersOnline >= want {
			return nil
		}
		if err != nil && ctx.Err() == nil && !temporary(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop lets the workers leave, then stops the server. Safe to call twice.
func (c *crowd) stop() error {
	c.once.Do(func() {
		for _, l := range c.lifeline {
			l.Close()
		}
		for _, cmd := range c.workers {
			late := time.AfterFunc(stopLimit/2, func() { cmd.Process.Kill() })
			cmd.Wait() // a worker's status says nothing about the job
			late.Stop()
		}
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		c.stopErr = c.server.Stop(ctx)
	})
	return c.stopErr
}

// temporaryFolder makes a folder and the function that removes it with all that is below.
func temporaryFolder() (string, func(), error) {
	dir, err := os.MkdirTemp("", "cloudcrowd-")
	return dir, func() { os.RemoveAll(dir) }, err
}

// runHere runs a job on a server and two workers that live as long as the job.
func (a *app) runHere(ctx context.Context, job *jobFile, r runOptions, dry bool) error {
	dir, remove, err := temporaryFolder()
	if err != nil {
		return err
	}
	defer remove()
	c, err := a.startCrowd(ctx, serverSettings{DataDir: dir, Listen: "127.0.0.1:0", Prices: cloudcrowd.DefaultPrices}, []member{{owner: "ada"}, {owner: "grace"}})
	if err != nil {
		return err
	}
	defer c.stop()
	if dry {
		return a.plan(ctx, c.client, job)
	}
	r.cancel, r.gone = true, true // nobody could come back to it
	out, err := a.runJob(ctx, c.client, job, r)
	if out.Job != "" && ctx.Err() == nil {
		if auditErr := a.audit(ctx, c.operator, dir, &out); err == nil {
			err = auditErr
		}
		if err == nil && (*out.Sum != 0 || out.Fsck != platform.Clean) {
			err = cloudcrowd.Errorf(cloudcrowd.Unsuccessful, "the job is done, but its books do not agree: all accounts make %s, fsck says %s", *out.Sum, out.Fsck)
		}
	}
	return a.finish(out, err)
}
