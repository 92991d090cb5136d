package main

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"cloudcrowd.dev/cloudcrowd"
	"github.com/spf13/cobra"
)

var workerPage = page{
	use:   "worker --join LINK [options]",
	short: "lend this machine to a server",
	text: `
Joins a server with a join link and works for it until Ctrl-C. At the first
start it makes the device's key, which never leaves the machine, and measures
the machine once; both are kept in the data folder, so that later starts need
no link: the same device comes back.

Programs of strangers run in a sandbox: a child process of its own for every
slot, without network, seeing only the inputs of its task, ended at its time,
memory and output limits.

The worker keeps fetched blobs up to --cache, runs --slots attempts at once,
and delivers results later if the server is away when they are ready. If the
crowd has several servers, it learns of them from the first one and goes on
with another when its own is gone, also at later starts.

The first Ctrl-C hands back what has not started, gives what runs 30 seconds
to end, hands back the rest and leaves; a second one leaves at once. Work that
is accepted earns credits for the owner of the join link.

Every option can also be set by an environment variable and in a configuration
file; see "cloudcrowd help environment".
`,
	examples: `
cloudcrowd worker --join 'https://pool.example.org/join#s=…'
cloudcrowd worker --slots 4 --memory 8GiB --cache 20GiB
cloudcrowd worker --config worker.yaml
`,
	see: []string{"workers", "server", "help environment"},
}

// workerSettings are all settings of a worker. The zero value of a field means its default.
type workerSettings struct {
	Join        string // join link; not needed once the device has joined
	DataDir     string // key, measurement, cache, spooled results
	Name        string // shown to people; default: the host's name
	Slots       int    // attempts at once; 0: one for every core it may use
	MemoryBytes int64  // for all slots together; 0: three quarters of what machine and container give
	CacheBytes  int64  // blobs kept; 0: the worker's default
	LogLevel    string
	Misbehave   string // "lie": return wrong results; others in internal/worker; for demonstrations and tests
}

func (s *workerSettings) flags(c *cobra.Command) {
	f := c.Flags()
	f.String("config", "", "read settings from this YAML `FILE`")
	f.StringVar(&s.Join, "join", "", "join `LINK` of the server; needed at the first start only")
	markSecret(f, "join", secretLink)
	f.StringVar(&s.DataDir, "data", "", "keep key, cache and unsent results in this `FOLDER` (default: cloudcrowd/worker in the user's cache folder)")
	f.StringVar(&s.Name, "name", "", "`NAME` shown to people (default: the host's name)")
	f.IntVar(&s.Slots, "slots", 0, "run `N` attempts at once (default: one a core, or as many as its container may use)")
	f.Var((*byteSize)(&s.MemoryBytes), "memory", "`SIZE` of memory for all slots together, as 8GiB (default: three quarters of the machine's or its container's)")
	f.Var((*byteSize)(&s.CacheBytes), "cache", "`SIZE` of fetched blobs to keep, as 20GiB")
	f.StringVar(&s.LogLevel, "log", "warn", "how much to log on stderr, `LEVEL`: debug, info, warn or error")
	f.StringVar(&s.Misbehave, "misbehave", "", "return wrong results: lie; for demonstrations")
	f.MarkHidden("misbehave")
}

// check refuses settings that cannot work, naming the option; its error holds all of them.
func (s *workerSettings) check() error {
	var list []error
	if s.Slots < 0 {
		list = append(list, cloudcrowd.Fieldf("--slots", "%d must be at least 1", s.Slots))
	}
	if s.MemoryBytes > 0 && s.MemoryBytes < 64<<20 {
		list = append(list, cloudcrowd.Fieldf("--memory", "%s is too little to run anything", cloudcrowd.Bytes(s.MemoryBytes)).WithHint("give at least 64MiB"))
	}
	if err := oneOf("--log", s.LogLevel, "debug", "info", "warn", "error"); err != nil {
		list = append(list, err)
	}
	return joined(list)
}

// folder is the data folder.
func (s *workerSettings) folder() (string, error) {
	if s.DataDir != "" {
		return s.DataDir, nil
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", cloudcrowd.Fieldf("--data", "must name a folder: this user has no cache folder")
	}
	return filepath.Join(base, "cloudcrowd", "worker"), nil
}

func (a *app) workerCommand() *cobra.Command {
	var s workerSettings
	var withParent bool
	var c *cobra.Command
	c = workerPage.command(0, 0, func(ctx context.Context, _ []string) error {
		if err := a.settle(c); err != nil {
			return err
		}
		if err := s.check(); err != nil {
			return err
		}
		dir, err := s.folder()
		if err != nil {
			return err
		}
		s.DataDir = dir
		if withParent {
			var stop context.CancelFunc
			ctx, stop = context.WithCancel(ctx)
			defer stop()
			go func() { // ends with the process
				io.Copy(io.Discard, a.stdin)
				stop()
			}()
		}
		return a.runAgent(ctx, s, a.logger(s.LogLevel))
	})
	s.flags(c)
	c.Flags().BoolVar(&withParent, "with-parent", false, "stop when standard input ends, as it does when the starting process is gone")
	c.Flags().MarkHidden("with-parent")
	return c
}
