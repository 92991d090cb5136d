package chart_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

func load(t *testing.T, file string, environment ...string) (*types.Project, error) {
	t.Helper()
	o, err := cli.NewProjectOptions([]string{"../../" + file}, cli.WithEnv(environment), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	return o.LoadProject(t.Context())
}

// One server with workers, and three servers that share database and bucket: both files are what docker compose understands, every folder belongs to one service, and
// passwords are asked for.
func TestComposeFiles(t *testing.T) {
	t.Parallel()
	if _, err := load(t, "compose.yaml"); err != nil {
		t.Error(err)
	}
	const cluster = "compose.cluster.yaml"
	if _, err := load(t, cluster, "DATABASE_PASSWORD=x"); err == nil || !strings.Contains(err.Error(), "head of this file") {
		t.Errorf("without a password for the storage: %v", err)
	}
	p, err := load(t, cluster, "DATABASE_PASSWORD=dbsecret", "STORAGE_PASSWORD=s3secret")
	if err != nil {
		t.Fatal(err)
	}
	value := func(s types.ServiceConfig, name string) string {
		if v := s.Environment[name]; v != nil {
			return *v
		}
		return ""
	}
	folders := map[string]string{}
	servers := 0
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			if other := folders[v.Source]; other != "" {
				t.Errorf("%s and %s share the folder %s", name, other, v.Source)
			}
			folders[v.Source] = name
			if _, ok := p.Volumes[v.Source]; !ok {
				t.Errorf("%s uses the folder %s, which is not declared", name, v.Source)
			}
		}
		ours := strings.HasPrefix(name, "server-") || strings.HasPrefix(name, "worker-")
		if ours && (!s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.Volumes) != 1) {
			t.Errorf("%s is not walled in: %+v", name, s)
		}
		for wanted := range s.DependsOn {
			if _, ok := p.Services[wanted]; !ok {
				t.Errorf("%s waits for %s, which is not there", name, wanted)
			}
		}
		if !strings.HasPrefix(name, "server-") {
			continue
		}
		servers++
		if got := value(s, "CLOUDCROWD_SERVER_CLUSTER_ADVERTISE"); got != name+":8701" || value(s, "CLOUDCROWD_SERVER_PUBLIC_URL") != "https://"+name+":8443" {
			t.Errorf("%s says that it is at %s", name, got)
		}
		if value(s, "PGPASSWORD") != value(p.Services["postgres"], "POSTGRES_PASSWORD") || value(s, "PGPASSWORD") != "dbsecret" ||
			value(s, "AWS_SECRET_ACCESS_KEY") != value(p.Services["storage"], "MINIO_ROOT_PASSWORD") || value(s, "AWS_ACCESS_KEY_ID") != value(p.Services["storage"], "MINIO_ROOT_USER") {
			t.Errorf("%s has other passwords than database and storage", name)
		}
		for _, same := range []string{"CLOUDCROWD_SERVER_STORE", "CLOUDCROWD_SERVER_BLOBS", "CLOUDCROWD_SERVER_CLUSTER_LISTEN"} {
			if v := value(s, same); v == "" || v != value(p.Services["server-1"], same) {
				t.Errorf("%s: %s is %q", name, same, v)
			}
		}
	}
	if servers != 3 {
		t.Errorf("%d servers", servers)
	}
}
