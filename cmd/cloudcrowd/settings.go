package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v4"
)

// origins say where the value of each setting came from, in words: "option", "CLOUDCROWD_SERVER_LISTEN", "server.yaml:3"; "" for the default.
type origins map[string]string

// secretSetting marks an option whose value, or a part of it, is not to be shown. Its value says which.
const secretSetting = "secret"

// Values of secretSetting.
const (
	secretLink     = "link"     // what stands behind the # of a link
	secretPassword = "password" // the password of an address, if it has one
	secretUser     = "user"     // user and password of an address: a user alone is a secret, too
)

func markSecret(f *pflag.FlagSet, name, kind string) {
	f.SetAnnotation(name, secretSetting, []string{kind})
}

// withoutUser takes user and password out of an address, or of several with commas, and a parameter "password"; hidden says that there was something to hide.
func withoutUser(address, kind string) (_ string, hidden bool) {
	from, to := strings.Index(address, "://"), strings.LastIndexByte(address, '@')
	if from >= 0 && from+3 <= to && (kind == secretUser || strings.Contains(address[from+3:to], ":")) {
		address, hidden = address[:from+3]+"…"+address[to:], true
	}
	address, query, _ := strings.Cut(address, "?")
	switch {
	case strings.Contains(query, "password="):
		hidden = true
	case query != "":
		address += "?" + query
	}
	return address, hidden
}

// isSetting reports whether an option can be set by environment and file: those of every command (--server, --json, …) and hidden ones cannot.
func isSetting(f *pflag.Flag) bool { return !f.Hidden && f.Name != "help" && f.Name != "config" }

// variable is the environment variable of an option.
func variable(c *cobra.Command, f *pflag.Flag) string {
	return "CLOUDCROWD_" + strings.ToUpper(c.Name()+"_"+strings.ReplaceAll(f.Name, "-", "_"))
}

// settle fills the options of a command that were not given, from environment variables CLOUDCROWD_NAME_OPTION and then from the YAML file that
// --config names.
func (a *app) settle(c *cobra.Command) error {
	_, err := a.settleFrom(c)
	return err
}

// settleFrom is settle, and says where each value came from. Its error holds every mistake.
func (a *app) settleFrom(c *cobra.Command) (origins, error) {
	from := origins{}
	var mistakes []error
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			from[f.Name] = "option"
			return
		}
		name := variable(c, f)
		value := a.getenv(name)
		if f.Hidden || f.Name == "help" || value == "" {
			return
		}
		if err := c.Flags().Set(f.Name, value); err != nil {
			mistakes = append(mistakes, cloudcrowd.Errorf(cloudcrowd.Invalid, "%s: %q cannot be used: %v", name, shown(f, value), bare(err)))
			return
		}
		from[f.Name] = name
	})
	if file := c.Flags().Lookup("config"); file != nil && file.Value.String() != "" {
		mistakes = append(mistakes, settleFile(c, file.Value.String(), from)...)
	}
	return from, joined(mistakes)
}

// settleFile applies a configuration file to the options that are still unset and returns every mistake in it.
func settleFile(c *cobra.Command, path string, from origins) (mistakes []error) {
	wrong := func(format string, args ...any) {
		mistakes = append(mistakes, cloudcrowd.Errorf(cloudcrowd.Invalid, format, args...))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return []error{err}
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		wrong("%s: %v", path, err)
		return mistakes
	}
	if len(doc.Content) == 0 {
		return nil // an empty file sets nothing
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		wrong("%s: the file must hold lines like \"listen: 0.0.0.0:8443\"", path)
		return mistakes
	}
	flags := c.LocalNonPersistentFlags()
	seen := map[string]bool{}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		at := fmt.Sprintf("%s:%d", path, key.Line)
		f := flags.Lookup(key.Value)
		if f == nil || !isSetting(f) {
			mistakes = append(mistakes, unknownSetting(at, key.Value, flags))
			continue
		}
		if seen[f.Name] {
			wrong("%s: %s is set twice", at, f.Name)
			continue
		}
		seen[f.Name] = true
		texts, err := scalars(value)
		if err != nil {
			wrong("%s: %s: %v", at, f.Name, err)
			continue
		}
		if from[f.Name] != "" {
			continue
		}
		for _, text := range texts {
			if err := c.Flags().Set(f.Name, text); err != nil {
				wrong("%s: %s: %q cannot be used: %v", at, f.Name, shown(f, text), bare(err))
			}
		}
		from[f.Name] = at
	}
	return mistakes
}

// shown is a setting's value as it may be printed: the secret of a link and the password of an address are left out.
func shown(f *pflag.Flag, value string) string {
	kind := f.Annotations[secretSetting]
	if kind == nil || value == "" {
		return value
	}
	if kind[0] != secretLink {
		rest, hidden := withoutUser(value, kind[0])
		if hidden {
			rest += " (secret left out)"
		}
		return rest
	}
	u, err := url.Parse(value)
	if err != nil || u.Host == "" {
		return "…" // nothing of it is known to be harmless
	}
	u.Fragment, u.RawQuery = "", ""
	if _, ok := u.User.Password(); ok {
		u.User = url.User(u.User.Username())
	}
	return u.String() + " (secret left out)"
}

func unknownSetting(at, key string, flags *pflag.FlagSet) error {
	var names []string
	flags.VisitAll(func(f *pflag.Flag) {
		if isSetting(f) {
			names = append(names, f.Name)
		}
	})
	err := cloudcrowd.Errorf(cloudcrowd.Invalid, "%s: unknown setting %q", at, key)
	if near := nearest(key, names); near != "" {
		return err.WithHint("did you mean %q?", near)
	}
	return err.WithHint("known settings: %s", strings.Join(names, ", "))
}

// scalars are the texts of a value that is a scalar or a list of scalars.
func scalars(n *yaml.Node) ([]string, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		return []string{n.Value}, nil
	case yaml.SequenceNode:
		var list []string
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("line %d: must be a plain value", item.Line)
			}
			list = append(list, item.Value)
		}
		return list, nil
	}
	return nil, fmt.Errorf("must be a plain value")
}

// bare is the cause inside pflag's sentence about an option, which names option and value once more.
func bare(err error) string {
	if number, ok := errors.AsType[*strconv.NumError](err); ok {
		if errors.Is(number, strconv.ErrRange) {
			return "the number is too large"
		}
		return "not a number"
	}
	if wrong, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return wrong.Unwrap().Error()
	}
	return err.Error()
}
