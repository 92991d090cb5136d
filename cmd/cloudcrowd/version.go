package main

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

var versionPage = page{
	use:   "version",
	short: "print which build this is",
	text: `
Prints version, revision and the Go release it was built with.
`,
	examples: `cloudcrowd version --json`,
}

// buildVersion is set at release builds: -ldflags "-X main.buildVersion=v1.2.3".
var buildVersion string

// version is the released version, or the module's, or "dev".
func version() string {
	if buildVersion != "" {
		return buildVersion
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

// revision is the commit the program was built from, "" if the build does not know.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	text := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			text = s.Value + text
		case s.Key == "vcs.modified" && s.Value == "true":
			text += "+changes"
		}
	}
	return text
}

func (a *app) versionCommand() *cobra.Command {
	return versionPage.command(0, 0, func(context.Context, []string) error {
		if a.json {
			return a.object(map[string]string{"version": version(), "revision": revision(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
		}
		a.printf("cloudcrowd %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		if r := revision(); r != "" {
			a.printf("revision %s\n", r)
		}
		return nil
	})
}
