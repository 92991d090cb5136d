package platform

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// A server that cannot start says why, whatever it is that fails, and lets go of its folder: put right, it starts.
func TestCannotStart(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	used := quickDir(t)
	running, err := StartServer(t.Context(), ServerConfig{DataDir: used, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer running.Stop(t.Context())
	damaged := quickDir(t)
	if err := os.WriteFile(filepath.Join(damaged, secretsFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	nodatabase := quickDir(t)
	if err := os.Mkdir(filepath.Join(nodatabase, databaseFile), 0o700); err != nil {
		t.Fatal(err)
	}
	noblobs := quickDir(t)
	if err := os.WriteFile(filepath.Join(noblobs, blobFolder), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	nofolder := filepath.Join(quickDir(t), "file")
	if err := os.WriteFile(nofolder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config ServerConfig
		says   string
		again  bool // starts on the same folder once the rest is right
	}{
		"port in use":       {ServerConfig{DataDir: quickDir(t), Listen: taken.Addr().String()}, taken.Addr().String(), true},
		"no address":        {ServerConfig{DataDir: quickDir(t), Listen: "nonsense"}, "nonsense", true},
		"no port":           {ServerConfig{DataDir: quickDir(t), Listen: "127.0.0.1:99999"}, "99999", true},
		"no certificate":    {ServerConfig{DataDir: quickDir(t), Listen: "0.0.0.0:0", CertFile: "nowhere.pem", KeyFile: "nowhere.pem"}, "nowhere.pem", true},
		"folder in use":     {ServerConfig{DataDir: used}, "", false},
		"damaged secrets":   {ServerConfig{DataDir: damaged}, secretsFile, false},
		"no database":       {ServerConfig{DataDir: nodatabase}, "", false},
		"no folder of blob": {ServerConfig{DataDir: noblobs}, "", false},
		"no folder":         {ServerConfig{DataDir: nofolder}, "directory", false},
	} {
		t.Run(name, func(t *testing.T) {
			if c.config.Listen == "" {
				c.config.Listen = "127.0.0.1:0"
			}
			s, err := StartServer(t.Context(), c.config)
			if err == nil {
				_ = s.Stop(t.Context())
				t.Fatal("it started")
			}
			t.Logf("%s: %v", cloudcrowd.CodeOf(err), err)
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("it does not say %q: %v", c.says, err)
			}
			if !c.again {
				return
			}
			if s, err = StartServer(t.Context(), ServerConfig{DataDir: c.config.DataDir, Listen: "127.0.0.1:0"}); err != nil {
				t.Fatalf("afterwards: %v", err)
			}
			if err := s.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
