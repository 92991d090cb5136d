package wire

import (
	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire/pb"
)

var outcomes = [...]cloudcrowd.Outcome{
	pb.Outcome_OUTCOME_SUCCEEDED:     cloudcrowd.Succeeded,
	pb.Outcome_OUTCOME_EXITED:        cloudcrowd.Exited,
	pb.Outcome_OUTCOME_TRAPPED:       cloudcrowd.Trapped,
	pb.Outcome_OUTCOME_TIMED_OUT:     cloudcrowd.TimedOut,
	pb.Outcome_OUTCOME_OUT_OF_MEMORY: cloudcrowd.OutOfMemory,
	pb.Outcome_OUTCOME_OUTPUT_LIMIT:  cloudcrowd.OutputLimit,
	pb.Outcome_OUTCOME_BROKEN:        cloudcrowd.Broken,
	pb.Outcome_OUTCOME_STOPPED:       cloudcrowd.Stopped,
}

var outcomeNumbers = func() map[cloudcrowd.Outcome]pb.Outcome {
	m := make(map[cloudcrowd.Outcome]pb.Outcome)
	for n, o := range outcomes {
		if o != "" {
			m[o] = pb.Outcome(n)
		}
	}
	return m
}()

// EncodeUp makes a frame of a worker's message. It refuses what DecodeUp would (code Invalid, naming the field) and what does not fit one frame
// (code TooLarge; SplitUp helps).
func EncodeUp(u *cloudcrowd.Up) ([]byte, error) {
	if err := checkUp(u); err != nil {
		return nil, err
	}
	var t jobTable
	m := &pb.Up{Returned: t.flat(u.Returned), Leaving: u.Leaving}
	if h := u.Hello; h != nil {
		i := &h.Info
		m.Hello = &pb.Hello{
			Protocol: Version, Oldest: Oldest, Session: h.Session,
			Info: &pb.Info{
				Name: i.Name, Version: i.Version, Os: i.OS, Arch: i.Arch, Cpu: i.CPU, Cores: uint32(i.Cores), Slots: uint32(i.Slots),
				Speed: i.Speed, MemoryBytes: uint64(i.MemoryBytes), DiskBytes: uint64(i.DiskBytes), Sandboxes: i.Sandboxes,
			},
			Holding: t.flat(h.Holding), Spooled: t.flat(h.Spooled), Cached: rawAll(h.Cached), CachedBytes: uint64(h.CachedBytes),
		}
	}
	if b := u.Beat; b != nil {
		m.Beat = &pb.Beat{Session: b.Session, Want: uint32(b.Want), Unable: b.Unable, Cached: rawAll(b.Cached), CachedBytes: uint64(b.CachedBytes)}
		for i := range b.Holding {
			p := &b.Holding[i]
			m.Beat.Holding = append(m.Beat.Holding, &pb.Progress{
				Job: t.of(p.Attempt.Task.Job), Stage: uint32(p.Attempt.Task.Stage), Index: uint32(p.Attempt.Task.Index), Number: uint32(p.Attempt.N),
				Running: p.Running, Fraction: p.Fraction, Elapsed: p.Elapsed,
			})
		}
	}
	if len(u.Reports) > 0 {
		m.Reports = make([]*pb.Report, len(u.Reports))
		for i := range u.Reports {
			m.Reports[i] = encodeReport(&t, &u.Reports[i])
		}
	}
	m.Jobs = t.jobs
	return pack(m)
}

func encodeReport(t *jobTable, r *cloudcrowd.Report) *pb.Report {
	m := &pb.Report{
		Job: t.of(r.Attempt.Task.Job), Stage: uint32(r.Attempt.Task.Stage), Index: uint32(r.Attempt.Task.Index), Number: uint32(r.Attempt.N),
		Outcome: outcomeNumbers[r.Result.Outcome], ExitCode: int32(r.Result.ExitCode), Reason: r.Result.Reason,
		StderrTail: r.Result.StderrTail, Log: raw(r.Result.Log),
	}
	for _, o := range r.Result.Outputs {
		m.Outputs = append(m.Outputs, &pb.OutputFile{Path: o.Path, Digest: raw(o.Digest), SizeBytes: uint64(o.SizeBytes)})
	}
	if u := r.Result.Usage; u != (cloudcrowd.Usage{}) {
		m.Usage = &pb.Usage{
			CpuSeconds: u.CPUSeconds, WallSeconds: u.WallSeconds, PeakMemoryBytes: uint64(u.PeakMemoryBytes),
			InputBytes: uint64(u.InputBytes), OutputBytes: uint64(u.OutputBytes),
		}
	}
	return m
}

// DecodeUp reads a frame from a worker. Whatever the bytes are, it takes bounded time and memory and returns a message that keeps every limit of this
// package, or a *cloudcrowd.Error that names the field. The result shares no memory with the frame.
func DecodeUp(frame []byte) (*cloudcrowd.Up, error) {
	var m pb.Up
	if err := unpack(frame, &m); err != nil {
		return nil, err
	}
	u := &cloudcrowd.Up{Leaving: m.Leaving}
	var err error
	if u.Returned, err = attempts("returned", m.Jobs, m.Returned); err != nil {
		return nil, err
	}
	if m.Hello != nil {
		if u.Hello, err = decodeHello(m.Jobs, m.Hello); err != nil {
			return nil, err
		}
	}
	if m.Beat != nil {
		if u.Beat, err = decodeBeat(m.Jobs, m.Beat); err != nil {
			return nil, err
		}
	}
	if n := len(m.Reports); n > MaxEntries {
		return nil, tooMany("reports", n, MaxEntries)
	} else if n > 0 {
		u.Reports = make([]cloudcrowd.Report, n)
	}
	for i, r := range m.Reports {
		if err := decodeReport(m.Jobs, r, &u.Reports[i]); err != nil {
			return nil, err
		}
	}
	if err := checkUp(u); err != nil {
		return nil, err
	}
	return u, nil
}

func decodeHello(jobs []string, m *pb.Hello) (*cloudcrowd.Hello, error) {
	if m.Oldest > Version || m.Protocol < Oldest {
		return nil, cloudcrowd.Fieldf("hello.protocol", "the worker speaks versions %d to %d of the worker protocol, this server %d to %d",
			m.Oldest, m.Protocol, Oldest, Version).WithHint("run the same release of CloudCrowd at both ends")
	}
	i := m.Info
	if i == nil {
		return nil, cloudcrowd.Fieldf("hello.info", "missing")
	}
	h := &cloudcrowd.Hello{
		Session: m.Session,
		Info: cloudcrowd.WorkerInfo{
			Name: i.Name, Version: i.Version, OS: i.Os, Arch: i.Arch, CPU: i.Cpu, Cores: int(i.Cores), Slots: int(i.Slots), Speed: i.Speed,
			MemoryBytes: int64(i.MemoryBytes), DiskBytes: int64(i.DiskBytes), Sandboxes: i.Sandboxes,
		},
		CachedBytes: int64(m.CachedBytes),
	}
	var err error
	if h.Holding, err = attempts("hello.holding", jobs, m.Holding); err != nil {
		return nil, err
	}
	if h.Spooled, err = attempts("hello.spooled", jobs, m.Spooled); err != nil {
		return nil, err
	}
	if h.Cached, err = digests("hello.cached", m.Cached); err != nil {
		return nil, err
	}
	return h, nil
}

func decodeBeat(jobs []string, m *pb.Beat) (*cloudcrowd.Beat, error) {
	b := &cloudcrowd.Beat{Session: m.Session, Want: int(m.Want), Unable: m.Unable, CachedBytes: int64(m.CachedBytes)}
	var err error
	if b.Cached, err = digests("beat.cached", m.Cached); err != nil {
		return nil, err
	}
	if n := len(m.Holding); n > MaxEntries {
		return nil, tooMany("beat.holding", n, MaxEntries)
	} else if n > 0 {
		b.Holding = make([]cloudcrowd.Progress, n)
	}
	for i, p := range m.Holding {
		id, err := attempt(jobs, p.Job, p.Stage, p.Index, p.Number)
		if err != nil {
			return nil, err
		}
		b.Holding[i] = cloudcrowd.Progress{Attempt: id, Running: p.Running, Fraction: p.Fraction, Elapsed: p.Elapsed}
	}
	return b, nil
}

func decodeReport(jobs []string, m *pb.Report, r *cloudcrowd.Report) error {
	id, err := attempt(jobs, m.Job, m.Stage, m.Index, m.Number)
	if err != nil {
		return err
	}
	if m.Outcome <= 0 || int(m.Outcome) >= len(outcomes) {
		return cloudcrowd.Fieldf("reports.outcome", "%d is not an outcome", m.Outcome)
	}
	log, err := digest("reports.log", m.Log)
	if err != nil {
		return err
	}
	*r = cloudcrowd.Report{Attempt: id, Result: cloudcrowd.Result{
		Outcome: outcomes[m.Outcome], ExitCode: int(m.ExitCode), Reason: m.Reason, StderrTail: m.StderrTail, Log: log,
	}}
	if u := m.Usage; u != nil {
		r.Result.Usage = cloudcrowd.Usage{
			CPUSeconds: u.CpuSeconds, WallSeconds: u.WallSeconds, PeakMemoryBytes: int64(u.PeakMemoryBytes),
			InputBytes: int64(u.InputBytes), OutputBytes: int64(u.OutputBytes),
		}
	}
	if n := len(m.Outputs); n > MaxOutputs {
		return tooMany("reports.outputs", n, MaxOutputs)
	} else if n > 0 {
		r.Result.Outputs = make([]cloudcrowd.OutputFile, n)
	}
	for i, o := range m.Outputs {
		d, err := digest("reports.outputs.digest", o.Digest)
		if err != nil {
			return err
		}
		r.Result.Outputs[i] = cloudcrowd.OutputFile{Path: o.Path, Digest: d, SizeBytes: int64(o.SizeBytes)}
	}
	return nil
}
