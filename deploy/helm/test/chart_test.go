// Package chart_test renders the Helm chart as helm does and reads the result as Kubernetes does: strictly. It loads the compose files as docker compose does. It is a
// module of its own, so that the program does not depend on any of them.
package chart_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

// object is what every manifest has.
type object struct {
	Kind     string
	Metadata struct{ Name string }
}

// rendered are the objects of a release, by kind and name.
type rendered map[string][]byte

func render(t *testing.T, values string) (rendered, error) {
	t.Helper()
	chart, err := loader.LoadDir("../cloudcrowd")
	if err != nil {
		t.Fatal(err)
	}
	v, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	all, err := chartutil.ToRenderValues(chart, v, chartutil.ReleaseOptions{Name: "pool", Namespace: "crowd", IsInstall: true}, chartutil.DefaultCapabilities)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return nil, err
	}
	out := rendered{}
	for name, text := range files {
		if strings.HasSuffix(name, "NOTES.txt") {
			continue
		}
		for _, doc := range strings.Split(text, "\n---\n") {
			if strings.TrimSpace(doc) == "" {
				continue
			}
			var o object
			if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, doc)
			}
			key := o.Kind + "/" + o.Metadata.Name
			if out[key] != nil {
				t.Errorf("%s is there twice", key)
			}
			out[key] = []byte(doc)
		}
	}
	return out, nil
}

// as reads an object strictly: a field that Kubernetes does not know is an error.
func as[T any](t *testing.T, r rendered, key string) T {
	t.Helper()
	var v T
	if r[key] == nil {
		t.Fatalf("there is no %s", key)
	}
	if err := yaml.UnmarshalStrict(r[key], &v); err != nil {
		t.Fatalf("%s: %v\n%s", key, err, r[key])
	}
	return v
}

func selects(t *testing.T, what string, selector, labels map[string]string) {
	t.Helper()
	for name, value := range selector {
		if labels[name] != value {
			t.Errorf("%s wants %s=%s, the pod has %q", what, name, value, labels[name])
		}
	}
	if len(selector) == 0 {
		t.Errorf("%s selects everything", what)
	}
}

// hardened checks what every pod of the chart has.
func hardened(t *testing.T, what string, pod core.PodSpec) {
	t.Helper()
	c := pod.Containers[0].SecurityContext
	if s := pod.SecurityContext; s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.SeccompProfile == nil || c == nil || !*c.ReadOnlyRootFilesystem || *c.AllowPrivilegeEscalation ||
		len(c.Capabilities.Drop) != 1 || *pod.AutomountServiceAccountToken {
		t.Errorf("%s is not walled in: %+v %+v", what, pod.SecurityContext, c)
	}
	mounted := map[string]bool{}
	for _, m := range pod.Containers[0].VolumeMounts {
		mounted[m.Name] = true
	}
	for _, v := range pod.Volumes {
		if !mounted[v.Name] {
			t.Errorf("%s has the volume %s and does not mount it", what, v.Name)
		}
	}
}

// The server: one pod with a volume of its own, probes at the right places, a service, a budget and a policy that mean this pod, and its settings.
func TestServer(t *testing.T) {
	t.Parallel()
	r, err := render(t, "server: {settings: {lease: 45s, log: debug}, storage: {className: fast}}\n")
	if err != nil {
		t.Fatal(err)
	}
	s := as[apps.StatefulSet](t, r, "StatefulSet/pool-cloudcrowd-server")
	labels := s.Spec.Template.Labels
	selects(t, "the stateful set", s.Spec.Selector.MatchLabels, labels)
	hardened(t, "the server", s.Spec.Template.Spec)
	c := s.Spec.Template.Spec.Containers[0]
	if *s.Spec.Replicas != 1 || len(s.Spec.VolumeClaimTemplates) != 1 || *s.Spec.VolumeClaimTemplates[0].Spec.StorageClassName != "fast" {
		t.Errorf("%d replicas, claims %+v", *s.Spec.Replicas, s.Spec.VolumeClaimTemplates)
	}
	for what, p := range map[string]*core.Probe{"/healthz": c.LivenessProbe, "/readyz": c.ReadinessProbe, "/healthz ": c.StartupProbe} {
		if p == nil || p.HTTPGet.Path != strings.TrimSpace(what) || p.HTTPGet.Scheme != core.URISchemeHTTPS || p.HTTPGet.Port.String() != c.Ports[0].Name {
			t.Errorf("the probe of %s: %+v", what, p)
		}
	}
	service := as[core.Service](t, r, "Service/pool-cloudcrowd")
	selects(t, "the service", service.Spec.Selector, labels)
	if service.Spec.Ports[0].TargetPort.String() != c.Ports[0].Name {
		t.Errorf("the service leads to %s", service.Spec.Ports[0].TargetPort.String())
	}
	if len(c.Env) > 0 || c.Lifecycle != nil || r["Secret/pool-cloudcrowd-store"] != nil {
		t.Errorf("one server is set up as one of several: %+v", c)
	}
	selects(t, "the budget", as[policy.PodDisruptionBudget](t, r, "PodDisruptionBudget/pool-cloudcrowd-server").Spec.Selector.MatchLabels, labels)
	selects(t, "the policy", as[networking.NetworkPolicy](t, r, "NetworkPolicy/pool-cloudcrowd-server").Spec.PodSelector.MatchLabels, labels)
	var settings map[string]string
	if err := yaml.UnmarshalStrict([]byte(as[core.ConfigMap](t, r, "ConfigMap/pool-cloudcrowd-server").Data["server.yaml"]), &settings); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"data": "/data/server", "listen": "0.0.0.0:8443", "public-url": "https://pool-cloudcrowd.crowd.svc:8443", "lease": "45s", "log": "debug"}
	if !maps.Equal(settings, want) {
		t.Errorf("settings %v, want %v", settings, want)
	}
	for key := range r {
		if strings.Contains(key, "-worker") && !strings.HasPrefix(key, "NetworkPolicy/") {
			t.Errorf("there is %s without workers", key)
		}
	}
}

// Several servers: each with a name that the others know, one database and one bucket for all, the port between them closed to everybody else, and time to hand over.
func TestServers(t *testing.T) {
	t.Parallel()
	for _, values := range []string{"server: {replicas: 3}\n", "server: {replicas: 3, blobs: 's3://pool'}\n", "server: {replicas: 2, store: {existingSecret: mine}}\n"} {
		if _, err := render(t, values); err == nil || !strings.Contains(err.Error(), "share a database and a bucket") {
			t.Errorf("%s: %v", values, err)
		}
	}
	const address = "postgres://crowd:geheim@db/crowd"
	for secret, values := range map[string]string{
		"pool-cloudcrowd-store": "server: {replicas: 3, store: {address: '" + address + "'}, blobs: 's3://pool', secretEnvironment: bucket}\nnetworkPolicy: {databasePort: 5433, egressPorts: [9000]}\n",
		"mine":                  "server: {replicas: 3, store: {existingSecret: mine}, blobs: 's3://pool', secretEnvironment: bucket}\nnetworkPolicy: {databasePort: 5433, egressPorts: [9000]}\n",
	} {
		r, err := render(t, values)
		if err != nil {
			t.Fatal(err)
		}
		s := as[apps.StatefulSet](t, r, "StatefulSet/pool-cloudcrowd-server")
		labels, pod := s.Spec.Template.Labels, s.Spec.Template.Spec
		hardened(t, "a server", pod)
		c := pod.Containers[0]
		if *s.Spec.Replicas != 3 || s.Spec.PodManagementPolicy != apps.ParallelPodManagement {
			t.Errorf("%d replicas, %s", *s.Spec.Replicas, s.Spec.PodManagementPolicy)
		}
		names := as[core.Service](t, r, "Service/"+s.Spec.ServiceName)
		selects(t, "the service between servers", names.Spec.Selector, labels)
		if names.Spec.ClusterIP != core.ClusterIPNone || !names.Spec.PublishNotReadyAddresses || names.Spec.Ports[0].Port != 8701 || c.Ports[1].Name != names.Spec.Ports[0].TargetPort.String() {
			t.Errorf("%+v", names.Spec)
		}
		env := map[string]core.EnvVar{}
		for _, e := range c.Env {
			env[e.Name] = e
		}
		if from := env["CLOUDCROWD_SERVER_STORE"].ValueFrom; from == nil || from.SecretKeyRef.Name != secret || from.SecretKeyRef.Key != "store" {
			t.Errorf("the database: %+v", from)
		}
		if got := env["CLOUDCROWD_SERVER_CLUSTER_ADVERTISE"].Value; got != "$(POD)."+names.Name+".crowd.svc:8701" {
			t.Errorf("the name for others: %s", got)
		}
		if secret == "mine" {
			if r["Secret/pool-cloudcrowd-store"] != nil {
				t.Error("a secret is made beside one's own")
			}
		} else if got := as[core.Secret](t, r, "Secret/"+secret).StringData["store"]; got != address {
			t.Errorf("the secret holds %q", got)
		}
		for key, text := range r {
			if strings.Contains(string(text), "geheim") && !strings.HasPrefix(key, "Secret/") {
				t.Errorf("%s holds the password", key)
			}
		}
		if len(c.EnvFrom) != 1 || c.EnvFrom[0].SecretRef.Name != "bucket" {
			t.Errorf("%+v", c.EnvFrom)
		}
		if c.Lifecycle == nil || c.Lifecycle.PreStop.Sleep.Seconds+10+20 > *pod.TerminationGracePeriodSeconds {
			t.Errorf("no time to hand over: %+v of %d s", c.Lifecycle, *pod.TerminationGracePeriodSeconds)
		}
		selects(t, "spreading", pod.TopologySpreadConstraints[0].LabelSelector.MatchLabels, labels)
		var settings map[string]string
		if err := yaml.UnmarshalStrict([]byte(as[core.ConfigMap](t, r, "ConfigMap/pool-cloudcrowd-server").Data["server.yaml"]), &settings); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"data": "/data/server", "listen": "0.0.0.0:8443", "public-url": "https://pool-cloudcrowd.crowd.svc:8443", "blobs": "s3://pool", "cluster-listen": "0.0.0.0:8701"}
		if !maps.Equal(settings, want) {
			t.Errorf("settings %v, want %v", settings, want)
		}
		p := as[networking.NetworkPolicy](t, r, "NetworkPolicy/pool-cloudcrowd-server").Spec
		open := map[string]bool{}
		for _, in := range p.Ingress {
			for _, port := range in.Ports {
				if port.Port.IntValue() == 8701 {
					if len(in.From) != 1 || in.From[0].PodSelector == nil {
						t.Fatalf("the port between servers is open to %+v", in.From)
					}
					selects(t, "the port between servers", in.From[0].PodSelector.MatchLabels, labels)
				}
				open["in "+port.Port.String()] = true
			}
		}
		for _, out := range p.Egress {
			for _, port := range out.Ports {
				open["out "+port.Port.String()] = true
			}
		}
		for _, port := range []string{"in 8443", "in 8701", "out 53", "out 443", "out 5433", "out 9000", "out 8701"} {
			if !open[port] {
				t.Errorf("%s is closed", port)
			}
		}
	}
}

// Workers: as many as wanted, with the join link from a secret, of the chart or of one's own; without any the chart refuses.
func TestWorkers(t *testing.T) {
	t.Parallel()
	if _, err := render(t, "worker: {replicas: 2}\n"); err == nil || !strings.Contains(err.Error(), "workers need the join link") {
		t.Errorf("without a link: %v", err)
	}
	for secret, values := range map[string]string{
		"pool-cloudcrowd-join": "worker: {replicas: 2, joinLink: 'https://x/join#s=S&pin=P', settings: {slots: 3}}\n",
		"mine":                 "worker: {replicas: 2, existingSecret: mine}\n",
	} {
		r, err := render(t, values)
		if err != nil {
			t.Fatal(err)
		}
		d := as[apps.Deployment](t, r, "Deployment/pool-cloudcrowd-worker")
		labels := d.Spec.Template.Labels
		selects(t, "the deployment", d.Spec.Selector.MatchLabels, labels)
		hardened(t, "a worker", d.Spec.Template.Spec)
		e := d.Spec.Template.Spec.Containers[0].Env[0]
		if *d.Spec.Replicas != 2 || e.Name != "CLOUDCROWD_WORKER_JOIN" || e.ValueFrom.SecretKeyRef.Name != secret || e.ValueFrom.SecretKeyRef.Key != "join" {
			t.Errorf("%d replicas, %+v", *d.Spec.Replicas, e)
		}
		if secret == "mine" {
			if r["Secret/pool-cloudcrowd-join"] != nil {
				t.Error("a secret is made beside one's own")
			}
		} else if s := as[core.Secret](t, r, "Secret/"+secret); s.StringData["join"] != "https://x/join#s=S&pin=P" {
			t.Errorf("%+v", s.StringData)
		}
		selects(t, "the budget", as[policy.PodDisruptionBudget](t, r, "PodDisruptionBudget/pool-cloudcrowd-worker").Spec.Selector.MatchLabels, labels)
		p := as[networking.NetworkPolicy](t, r, "NetworkPolicy/pool-cloudcrowd-worker")
		selects(t, "the policy", p.Spec.PodSelector.MatchLabels, labels)
		if len(p.Spec.Ingress) != 0 || fmt.Sprint(p.Spec.PolicyTypes) != "[Ingress Egress]" {
			t.Errorf("workers can be connected to: %+v", p.Spec)
		}
	}
	r, err := render(t, "networkPolicy: {enabled: false}\n")
	if err != nil {
		t.Fatal(err)
	}
	for key := range r {
		if strings.HasPrefix(key, "NetworkPolicy/") {
			t.Errorf("%s is there though switched off", key)
		}
	}
}
