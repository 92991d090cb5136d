package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
)

// writeReference writes docs/configuration.md from the definitions that make options, variables and keys of the file.
func writeReference(w io.Writer) {
	fmt.Fprint(w, `# Configuration

Every setting of a server and a worker. `+"`make generate`"+` writes this file from the definitions in the program.

A setting has one name and three places. The option wins over the environment variable, the variable over the file, the file over the default:

| place | form |
|---|---|
| option | `+"`--listen 0.0.0.0:8443`"+` |
| environment | `+"`CLOUDCROWD_SERVER_LISTEN=0.0.0.0:8443`"+`: command and name, dashes as underscores |
| file | `+"`listen: 0.0.0.0:8443`"+` in the YAML file that `+"`--config`"+` or `+"`CLOUDCROWD_SERVER_CONFIG`"+` names |

An unknown key of the file is an error that names the nearest known one; so is a key that is there twice. A file holds settings of one command.
`+"`cloudcrowd config show`"+` prints what is in effect and from where, `+"`cloudcrowd config check`"+` what is wrong. Durations are written as 90s, 10m, 1h30m, sizes as 512MiB,
8GiB, 20GB.
`)
	for _, name := range configurable {
		c := newConfigured(name).command
		fmt.Fprintf(w, "\n## %s\n", name)
		c.Flags().SortFlags = false
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !isSetting(f) {
				return
			}
			value, usage := pflag.UnquoteUsage(f)
			fmt.Fprintf(w, "\n### %s: %s\n\n%s.\n\n", name, f.Name, strings.ToUpper(usage[:1])+usage[1:])
			fmt.Fprintf(w, "| option | variable | type | default |\n|---|---|---|---|\n| `--%s%s` | `%s` | %s | %s |\n", f.Name, valueOf(value), variable(c, f), kindOf(f), defaultOf(f))
			switch kind := f.Annotations[secretSetting]; {
			case kind == nil:
			case kind[0] == secretLink:
				fmt.Fprint(w, "\nA secret: `config show` leaves it out. Give it by the environment or a file that only its user may read.\n")
			default:
				fmt.Fprint(w, "\nAn address with a password is a secret: `config show` leaves that part out, and the option refuses it. Give it by the environment or a file that only its user may read.\n")
			}
		})
	}
}

func valueOf(value string) string {
	if value == "" {
		return ""
	}
	return " " + value
}

// kindOf is the type of a setting, in words.
func kindOf(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "bool":
		return "true or false"
	case "int", "int64":
		return "whole number"
	case "float64":
		return "number"
	case "duration":
		return "duration"
	case "string":
		return "text"
	}
	return f.Value.Type()
}

func defaultOf(f *pflag.Flag) string {
	if d := f.DefValue; d != "" && !(d == "0" && f.Value.Type() == "int") {
		return "`" + d + "`"
	}
	return "–"
}
