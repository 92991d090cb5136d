package main

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"cloudcrowd.dev/cloudcrowd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var configPage = page{
	use:   "config COMMAND",
	short: "check settings, and show where each comes from",
	text: `
A server or worker takes its settings from options, environment variables and
a YAML file, in this order. "config show" says which won, "config check" what
is wrong with them before anything is started. Neither starts or changes
anything. docs/configuration.md lists all settings.
`,
	see: []string{"server", "worker", "help environment"},
}

var configCheckPage = page{
	use:   "check [FILE] [-- OPTION…]",
	short: "say what is wrong with settings",
	text: `
Reads the settings as "cloudcrowd server --config FILE OPTION…" would, without
starting it, and prints every mistake: unknown keys with the nearest known
one, values that cannot be read, settings that exclude each other. Then it
looks at this machine: whether certificate and key can be read, belong to each
other and are valid now, whether the data folder can be written, and whether
the address is free. If a server already runs on the data folder, its address
is not tried. With --store it reads from the database, and changes nothing
there: whether it answers, is of this version, and belongs to servers with the
same --shards and --blobs. With --for worker it does the same for a worker.

Prints "clean", or each thing that is wrong. Ends with status 2 if a setting
is wrong, 4 if FILE is not there, and 8 if the settings are right but do not
fit this machine or its database. With --json it prints one object either way.
`,
	examples: `
cloudcrowd config check server.yaml
cloudcrowd config check server.yaml -- --listen 0.0.0.0:8443
cloudcrowd config check --for worker /etc/cloudcrowd/worker.yaml --json
`,
	see: []string{"config show", "server", "worker", "help exit-codes"},
}

var configShowPage = page{
	use:   "show [FILE] [-- OPTION…]",
	short: "show the settings in effect and where each comes from",
	text: `
Reads the settings as "cloudcrowd server --config FILE OPTION…" would and
prints each with its value and its origin: the option, the environment
variable, the file and line, or the default. Secrets are left out. With --for
worker it shows those of a worker.
`,
	examples: `
cloudcrowd config show
cloudcrowd config show server.yaml
cloudcrowd config show --for worker worker.yaml --json
`,
	see: []string{"config check", "help environment"},
}

func (a *app) configPages() *cobra.Command {
	return configPage.group(a.configCheckCommand(), a.configShowCommand())
}

// configured is a command whose settings can be looked at without running it.
type configured struct {
	command *cobra.Command // of the right name, with all settings as options
	check   func() error   // what the settings alone tell
	machine func(context.Context, *findings)
}

// configurable lists the commands that have settings, in the order of the reference.
var configurable = []string{"server", "worker"}

func newConfigured(name string) configured {
	c := &cobra.Command{Use: name}
	if name == "worker" {
		s := &workerSettings{}
		s.flags(c)
		return configured{c, s.check, s.tryMachine}
	}
	s := &serverSettings{}
	s.flags(c)
	return configured{c, s.check, s.tryMachine}
}

// read applies options, environment and the file.
func (a *app) readSettings(which, file string, options []string) (configured, origins, error) {
	if err := oneOf("--for", which, configurable...); err != nil {
		return configured{}, nil, err
	}
	k := newConfigured(which)
	k.command.SetFlagErrorFunc(flagError)
	if err := k.command.ParseFlags(options); err != nil {
		return k, nil, flagError(k.command, err)
	}
	if rest := k.command.Flags().Args(); len(rest) > 0 {
		return k, nil, cloudcrowd.Errorf(cloudcrowd.Invalid, "%q is no option of %s", rest[0], which).WithHint("options stand behind --, as in: cloudcrowd config check server.yaml -- --listen 0.0.0.0:8443")
	}
	if file != "" {
		if k.command.Flags().Lookup("config").Changed {
			return k, nil, cloudcrowd.Fieldf("--config", "a file is given twice")
		}
		if err := k.command.Flags().Set("config", file); err != nil {
			return k, nil, err
		}
	}
	from, err := a.settleFrom(k.command)
	return k, from, err
}

// splitOptions takes apart the arguments of check and show: at most one file, and what stands behind --.
func splitOptions(c *cobra.Command, args []string) (file string, options []string, err error) {
	files := args
	if at := c.ArgsLenAtDash(); at >= 0 {
		files, options = args[:at], args[at:]
	}
	if len(files) > 1 {
		return "", nil, cloudcrowd.Errorf(cloudcrowd.Invalid, "unexpected argument %q", files[1]).WithHint("usage: %s", synopsis(c))
	}
	if len(files) == 1 {
		file = files[0]
	}
	return file, options, nil
}

// setting is one line of config show.
type setting struct {
	Name     string `json:"name"`
	Value    string `json:"value"`
	Origin   string `json:"origin"` // "default", "option", the variable, or file and line
	Variable string `json:"variable"`
}

func (a *app) configShowCommand() *cobra.Command {
	var which string
	var c *cobra.Command
	c = configShowPage.command(0, -1, func(_ context.Context, args []string) error {
		file, options, err := splitOptions(c, args)
		if err != nil {
			return err
		}
		k, from, err := a.readSettings(which, file, options)
		if err != nil {
			return err
		}
		var all []setting
		k.command.Flags().VisitAll(func(f *pflag.Flag) {
			if isSetting(f) {
				all = append(all, setting{f.Name, shown(f, f.Value.String()), cmp.Or(from[f.Name], "default"), variable(k.command, f)})
			}
		})
		return list(a, all, []string{"setting", "value", "from"}, func(s setting) []string { return []string{s.Name, s.Value, s.Origin} }, "")
	})
	c.Flags().StringVar(&which, "for", "server", "`COMMAND` whose settings are meant: server or worker")
	return c
}

// finding is one thing that is wrong, or worth knowing.
type finding struct {
	Setting string          `json:"setting,omitempty"` // "--listen", or empty if the text says where
	Code    cloudcrowd.Code `json:"code"`
	Text    string          `json:"text"`
	Hint    string          `json:"hint,omitempty"`
}

// findings are the result of config check.
type findings struct {
	Verdict  string    `json:"verdict"` // "clean" or "faulty"
	Problems []finding `json:"problems,omitempty"`
	Notes    []finding `json:"notes,omitempty"`
}

// fault adds a problem of this machine, or of several.
func (f *findings) fault(setting string, err error, hint string) {
	for _, one := range separateFaults(classify(err)) {
		p := finding{Setting: setting, Code: cloudcrowd.CodeOf(one), Text: one.Error(), Hint: hint}
		if e, ok := errors.AsType[*cloudcrowd.Error](one); ok {
			p.Setting, p.Text, p.Hint = cmp.Or(e.Field, setting), e.Msg, cmp.Or(e.Hint, hint)
		}
		f.Problems = append(f.Problems, p)
	}
}

// note adds what is worth knowing and not wrong.
func (f *findings) note(setting, text string) {
	f.Notes = append(f.Notes, finding{Setting: setting, Text: text})
}

func (a *app) configCheckCommand() *cobra.Command {
	var which string
	var c *cobra.Command
	c = configCheckPage.command(0, -1, func(ctx context.Context, args []string) error {
		file, options, err := splitOptions(c, args)
		if err != nil {
			return err
		}
		if err := oneOf("--for", which, configurable...); err != nil {
			return err
		}
		f := &findings{Verdict: "faulty"}
		k, _, err := a.readSettings(which, file, options)
		if cloudcrowd.CodeOf(classify(err)) == cloudcrowd.NotFound {
			return err
		}
		status := cloudcrowd.Invalid
		if err != nil {
			f.fault("", err, "")
		}
		if err := k.check(); err != nil {
			f.fault("", err, "")
		}
		if len(f.Problems) == 0 {
			k.machine(ctx, f)
			status = cloudcrowd.Unsuccessful
		}
		if len(f.Problems) == 0 {
			f.Verdict = "clean"
		}
		if err := a.printFindings(f); err != nil || f.Verdict == "clean" {
			return err
		}
		return errReported{status}
	})
	c.Flags().StringVar(&which, "for", "server", "`COMMAND` whose settings are meant: server or worker")
	return c
}

func (a *app) printFindings(f *findings) error {
	if a.json {
		return a.object(f)
	}
	words := func(p finding) string {
		if p.Setting == "" {
			return p.Text
		}
		return p.Setting + ": " + p.Text
	}
	var hints []string
	for _, p := range f.Problems {
		a.printf("%s\n", words(p))
		if p.Hint != "" && !slices.Contains(hints, p.Hint) {
			hints = append(hints, p.Hint)
			a.printf("  %s %s\n", a.ink.yellow("hint:"), p.Hint)
		}
	}
	for _, n := range f.Notes {
		a.notef("note: %s\n", words(n))
	}
	a.printf("%s\n", a.ink.state(f.Verdict))
	return nil
}
