package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v4"
)

// settle fills the options of a command that were not given, from environment variables CLOUDCROWD_NAME_OPTION and then from the YAML file that
// --config names. Options of every command (--server, --json, …) and hidden ones are no settings.
func (a *app) settle(c *cobra.Command) error {
	name := strings.ToUpper(c.Name())
	var failed error
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		variable := "CLOUDCROWD_" + name + "_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value := a.getenv(variable)
		if failed != nil || f.Changed || f.Hidden || f.Name == "help" || value == "" {
			return
		}
		if err := c.Flags().Set(f.Name, value); err != nil {
			failed = cloudcrowd.Errorf(cloudcrowd.Invalid, "%s: %q cannot be used: %v", variable, value, bare(err))
		}
	})
	file := c.Flags().Lookup("config")
	if failed != nil || file == nil || file.Value.String() == "" {
		return failed
	}
	return settleFile(c, file.Value.String())
}

// settleFile applies a configuration file to the options that are still unset.
func settleFile(c *cobra.Command, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "%s: %v", path, err)
	}
	if len(doc.Content) == 0 {
		return nil // an empty file sets nothing
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "%s: the file must hold lines like \"listen: 0.0.0.0:8443\"", path)
	}
	flags := c.LocalNonPersistentFlags()
	seen := map[string]bool{}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		at := fmt.Sprintf("%s:%d", path, key.Line)
		f := flags.Lookup(key.Value)
		if f == nil || f.Hidden || f.Name == "help" || f.Name == "config" {
			return unknownSetting(at, key.Value, flags)
		}
		if seen[f.Name] {
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "%s: %s is set twice", at, f.Name)
		}
		seen[f.Name] = true
		texts, err := scalars(value)
		if err != nil {
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "%s: %s: %v", at, f.Name, err)
		}
		if f.Changed {
			continue
		}
		for _, text := range texts {
			if err := c.Flags().Set(f.Name, text); err != nil {
				return cloudcrowd.Errorf(cloudcrowd.Invalid, "%s: %s: %q cannot be used: %v", at, f.Name, text, bare(err))
			}
		}
	}
	return nil
}

func unknownSetting(at, key string, flags *pflag.FlagSet) error {
	var names []string
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && f.Name != "help" && f.Name != "config" {
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
