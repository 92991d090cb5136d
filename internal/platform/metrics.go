package platform

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/shirou/gopsutil/v4/disk"

	"cloudcrowd.dev/cloudcrowd"
)

// metrics are a server's figures in the form Prometheus reads. They are gathered when they are asked for. docs/operating.md lists them; a test holds
// the list.
type metrics struct {
	server   *Server
	registry *prometheus.Registry
	commits  prometheus.Histogram
}

// lookLimit is how long the loop may take to say how things stand; without its answer those figures are left out and cloudcrowd_ready is 0.
const lookLimit = 3 * time.Second

func described(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("cloudcrowd_"+name, help, labels, nil)
}

var (
	figBuild       = described("build_info", "1, with the version of the program.", "version")
	figReady       = described("ready", "1 if new work is taken, as /readyz says.")
	figReadOnly    = described("read_only", "1 if nothing can be committed, as on a full disk.")
	figDraining    = described("draining", "1 if the server is about to stop.")
	figSubmitted   = described("jobs_submitted_total", "Jobs accepted since the start.")
	figEnded       = described("jobs_ended_total", "Jobs ended since the start.", "state")
	figRunning     = described("jobs_running", "Jobs that have not ended.")
	figDone        = described("tasks_accepted_total", "Tasks that got their canonical result since the start.")
	figFailed      = described("tasks_failed_total", "Tasks that failed since the start.")
	figLeased      = described("attempts_leased_total", "Attempts handed out since the start.")
	figAttempts    = described("attempts_ended_total", "Attempts that came back or were given up since the start, by how: reported, failed, lost, returned, cancelled.", "state")
	figRefused     = described("results_refused_total", "Reported results that disagreed with the canonical one since the start.")
	figOut         = described("attempts_out", "Attempts that workers hold.")
	figWaiting     = described("waiting_seconds", "How long the oldest task that has no worker waits.")
	figCharged     = described("charged_microcredits_total", "What accepted work was charged since the start, gross.")
	figLedger      = described("ledger_sum_microcredits", "Sum over all accounts: 0, or something is wrong.")
	figOnline      = described("workers_online", "Workers that have said hello and are heard.")
	figSlots       = described("slots", "Slots of the workers online.")
	figBusy        = described("slots_busy", "Slots with an attempt.")
	figConnections = described("worker_connections", "Open WebSockets: admitted, or all.", "state")
	figSeq         = described("journal_rows", "Last row of the journal.")
	figLag         = described("projection_lag_rows", "Journal rows that the readable tables lack.")
	figQueue       = described("commands_queued", "Commands that wait for the loop.")
	figEvents      = described("events_total", "Events committed since the start.")
	figServers     = described("servers", "Servers of this store that are heard of, this one among them.")
	figShards      = described("shards_served", "Parts of the jobs that this server serves.")
	figDisk        = described("disk_free_bytes", "Free space for the data directory.")
	figDiskSize    = described("disk_size_bytes", "Size of the data directory's file system.")
)

var allFigures = []*prometheus.Desc{figBuild, figReady, figReadOnly, figDraining, figSubmitted, figEnded, figRunning, figDone, figFailed, figLeased, figAttempts, figRefused, figOut, figWaiting,
	figCharged, figLedger, figOnline, figSlots, figBusy, figConnections, figSeq, figLag, figQueue, figEvents, figServers, figShards, figDisk, figDiskSize}

func newMetrics(s *Server) *metrics {
	m := &metrics{server: s, registry: prometheus.NewRegistry()}
	m.commits = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "cloudcrowd_commit_seconds", Help: "Time a commit took until it was on the disk.",
		Buckets: prometheus.ExponentialBuckets(0.000125, 2, 16)})
	m.registry.MustRegister(m, m.commits, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// committed is told of each commit.
func (m *metrics) committed(took time.Duration, _ int) { m.commits.Observe(took.Seconds()) }

// Describe implements prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range allFigures {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	s := m.server
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	yes := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookLimit)
	defer cancel()

	f := s.node.Figures()
	count(figSubmitted, float64(f.Submitted))
	for _, state := range []cloudcrowd.JobState{cloudcrowd.JobDone, cloudcrowd.JobFailed, cloudcrowd.JobCancelled} {
		count(figEnded, float64(f.Ended[state]), string(state))
	}
	count(figDone, float64(f.Done))
	count(figFailed, float64(f.Failed))
	count(figLeased, float64(f.Leased))
	for _, state := range []cloudcrowd.AttemptState{cloudcrowd.AttemptReported, cloudcrowd.AttemptFailed, cloudcrowd.AttemptLost, cloudcrowd.AttemptReturned, cloudcrowd.AttemptCancelled} {
		count(figAttempts, float64(f.Attempts[state]), string(state))
	}
	count(figRefused, float64(f.Refused))
	count(figCharged, float64(f.Charged))
	count(figEvents, float64(f.Events))
	gauge(figSeq, float64(f.Seq))
	gauge(figLag, float64(f.Seq-f.Projected))
	gauge(figQueue, float64(f.Queued))

	gauge(figBuild, 1, s.cfg.Version)
	gauge(figDraining, yes(s.node.Draining()))
	servers, here := s.node.Members()
	gauge(figServers, float64(servers))
	gauge(figShards, float64(here))
	open, admitted := s.gateway.Connections()
	gauge(figConnections, float64(open), "all")
	gauge(figConnections, float64(admitted), "admitted")
	if u, err := disk.UsageWithContext(ctx, s.cfg.DataDir); err == nil {
		gauge(figDisk, float64(u.Free))
		gauge(figDiskSize, float64(u.Total))
	}
	if accounts, err := s.store.Accounts(ctx); err == nil {
		var sum cloudcrowd.Credits
		for _, a := range accounts {
			sum += a.Balance
		}
		gauge(figLedger, float64(sum))
	}
	v, err := s.node.Standing(ctx)
	gauge(figReady, yes(err == nil && v.ReadOnly == "" && v.Draining == ""))
	if err != nil {
		return
	}
	gauge(figReadOnly, yes(v.ReadOnly != ""))
	gauge(figRunning, float64(v.JobsRunning))
	gauge(figOut, float64(v.TasksRunning))
	gauge(figWaiting, v.WaitingSeconds)
	gauge(figOnline, float64(v.WorkersOnline))
	gauge(figSlots, float64(v.Slots))
	gauge(figBusy, float64(v.SlotsBusy))
}
