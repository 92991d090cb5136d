package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v4"
)

const deployFolder = "../../deploy"

func readDeployed(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(deployFolder, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Every environment variable in deploy/ is that of a setting that exists.
func TestDeployedVariables(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, name := range configurable {
		c := newConfigured(name).command
		c.Flags().VisitAll(func(f *pflag.Flag) { known[variable(c, f)] = true })
	}
	seen := 0
	pattern := regexp.MustCompile(`CLOUDCROWD_(SERVER|WORKER)_[A-Z_]+`)
	err := filepath.WalkDir(deployFolder, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, name := range pattern.FindAllString(string(b), -1) {
			if seen++; !known[name] {
				t.Errorf("%s uses %s, which is no setting", path, name)
			}
		}
		return err
	})
	if err != nil || seen == 0 {
		t.Error(err, seen)
	}
}

// The configuration files in deploy/ are right, also with every line that is commented out.
func TestDeployedFiles(t *testing.T) {
	t.Parallel()
	for file, name := range map[string]string{"server.yaml": "server", "server-cluster.yaml": "server", "worker.yaml": "worker"} {
		text := readDeployed(t, file)
		variants := []string{text}
		switch whole := regexp.MustCompile(`(?m)^# ([a-z-]+: \S+)$`).ReplaceAllString(text, "$1"); {
		case file == "server-cluster.yaml": // what is commented out replaces a part
			variants = append(variants, regexp.MustCompile(`(?m)^cluster-.*$`).ReplaceAllString(whole, ""))
		case whole != text:
			variants = append(variants, whole)
		}
		for _, variant := range variants {
			path := filepath.Join(t.TempDir(), file)
			if err := os.WriteFile(path, []byte(variant), 0o600); err != nil {
				t.Fatal(err)
			}
			a, _, _ := quietApp()
			k, _, err := a.readSettings(name, path, nil)
			if err = errors.Join(err, k.check()); err != nil {
				t.Errorf("%s: %v\n%s", file, err, variant)
			}
		}
	}
}

// What the chart writes into configuration files are settings that exist.
func TestChartSettings(t *testing.T) {
	t.Parallel()
	for _, name := range configurable {
		text := readDeployed(t, "helm/cloudcrowd/templates/"+name+".yaml")
		_, block, found := strings.Cut(text, "  "+name+".yaml: |\n")
		block, _, _ = strings.Cut(block, "\n---\n")
		keys := regexp.MustCompile(`(?m)^    ([a-z-]+): `).FindAllStringSubmatch(block, -1)
		if !found || len(keys) == 0 {
			t.Fatalf("%s: no settings", name)
		}
		for _, key := range keys {
			if newConfigured(name).command.Flags().Lookup(key[1]) == nil {
				t.Errorf("the chart sets %s of a %s, which is no setting", key[1], name)
			}
		}
	}
}

// The commands that the units start exist and take their options; systemd finds nothing wrong with the units and calls their exposure low.
func TestUnits(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{"cloudcrowd-server.service", "cloudcrowd-worker.service"} {
		text := readDeployed(t, "systemd/"+unit)
		for _, m := range regexp.MustCompile(`(?m)^ExecStart(?:Pre)?=/usr/local/bin/cloudcrowd (.*)$`).FindAllStringSubmatch(text, -1) {
			c, args, err := tree().Find(strings.Fields(m[1]))
			if err == nil {
				err = c.ParseFlags(args)
			}
			if err != nil || !c.Runnable() {
				t.Errorf("%s starts %q: %v", unit, m[1], err)
			}
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("CLOUDCROWD_REQUIRE_ALL") == "1" {
			t.Fatal(err)
		}
		t.Skip("NOT TESTED: systemd-analyze is not here")
	}
	for _, unit := range []string{"cloudcrowd-server.service", "cloudcrowd-worker.service"} {
		out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold=20", filepath.Join(deployFolder, "systemd", unit)).CombinedOutput()
		if err != nil || strings.Contains(string(out), "Unknown") || strings.Contains(string(out), "Failed") {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
	}
}

// The compose file has one server that owns its volume, and workers with a volume each: two on one folder would refuse to start.
func TestCompose(t *testing.T) {
	t.Parallel()
	var file struct {
		Services map[string]struct {
			Command  []string
			Volumes  []string
			ReadOnly bool     `yaml:"read_only"`
			CapDrop  []string `yaml:"cap_drop"`
		}
		Volumes map[string]any
	}
	if err := yaml.Unmarshal([]byte(readDeployed(t, "compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Services) != 3 || len(file.Volumes) != 3 {
		t.Fatalf("%d services, %d volumes", len(file.Services), len(file.Volumes))
	}
	used := map[string]bool{}
	for name, s := range file.Services {
		if !s.ReadOnly || len(s.CapDrop) != 1 || len(s.Volumes) != 1 {
			t.Errorf("%s: %+v", name, s)
			continue
		}
		volume, at, _ := strings.Cut(s.Volumes[0], ":")
		if _, ok := file.Volumes[volume]; !ok || used[volume] || at != "/data" {
			t.Errorf("%s uses %s", name, s.Volumes[0])
		}
		used[volume] = true
		if len(s.Command) > 0 {
			if _, _, err := tree().Find(s.Command); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
