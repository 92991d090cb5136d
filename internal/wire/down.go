package wire

import (
	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire/pb"
)

// EncodeDown makes a frame of a message to a worker. It refuses what DecodeDown would (code Invalid, naming the field) and what does not fit one
// frame (code TooLarge; SplitDown helps).
func EncodeDown(d *cloudcrowd.Down) ([]byte, error) {
	if err := checkDown(d); err != nil {
		return nil, err
	}
	var t jobTable
	m := &pb.Down{Refresh: d.Refresh, Acks: t.flat(d.Acks), Cancels: t.flat(d.Cancels), Refused: d.Refused}
	if w := d.Welcome; w != nil {
		m.Welcome = &pb.Welcome{Protocol: Version, HeartbeatSeconds: w.HeartbeatSeconds, LeaseSeconds: w.LeaseSeconds, Ahead: uint32(w.Ahead), Servers: w.Servers}
	}
	if len(d.Leases) > 0 {
		m.Leases = make([]*pb.Lease, len(d.Leases))
	}
	for i := range d.Leases {
		l := &d.Leases[i]
		id := l.Attempt
		p := &pb.Lease{
			Job: t.of(id.Task.Job), Stage: uint32(id.Task.Stage), Index: uint32(id.Task.Index), Number: uint32(id.N),
			Payload: encodePayload(&l.Payload), Upload: l.Upload,
		}
		for _, g := range l.Grants {
			p.Grants = append(p.Grants, &pb.Grant{Blob: raw(g.Blob), Token: g.Token})
		}
		m.Leases[i] = p
	}
	m.Jobs = t.jobs
	return pack(m)
}

func encodePayload(p *cloudcrowd.Payload) *pb.Payload {
	m := &pb.Payload{
		Module: raw(p.Module), ModuleSize: uint64(p.ModuleSize), Stdin: p.Stdin, Seed: p.Seed,
		MemoryBytes: uint64(p.Resources.MemoryBytes), DiskBytes: uint64(p.Resources.DiskBytes), OutputBytes: uint64(p.Resources.OutputBytes),
		Cores: uint32(p.Resources.Cores), TimeoutNanoseconds: uint64(p.Timeout),
	}
	for _, a := range p.Args {
		m.Args = append(m.Args, []byte(a))
	}
	for _, e := range p.Env {
		m.Env = append(m.Env, []byte(e))
	}
	for i := range p.Files {
		f := &pb.TaskFile{Path: p.Files[i].Path}
		for _, s := range p.Files[i].Segments {
			f.Segments = append(f.Segments, &pb.Segment{
				Inline: s.Inline, Blob: raw(s.Blob), Offset: uint64(s.Offset), Length: uint64(s.Length), Whole: s.Whole,
			})
		}
		m.Files = append(m.Files, f)
	}
	return m
}

// DecodeDown reads a frame from the server, as strictly as DecodeUp: a server may be hostile to a worker too. The result shares no memory with the frame.
func DecodeDown(frame []byte) (*cloudcrowd.Down, error) {
	var m pb.Down
	if err := unpack(frame, &m); err != nil {
		return nil, err
	}
	d := &cloudcrowd.Down{Refresh: m.Refresh, Refused: m.Refused}
	if w := m.Welcome; w != nil {
		if w.Protocol < Oldest || w.Protocol > Version {
			return nil, cloudcrowd.Fieldf("welcome.protocol", "the server speaks version %d of the worker protocol, this worker %d to %d",
				w.Protocol, Oldest, Version).WithHint("run the same release of CloudCrowd at both ends")
		}
		d.Welcome = &cloudcrowd.Welcome{HeartbeatSeconds: w.HeartbeatSeconds, LeaseSeconds: w.LeaseSeconds, Ahead: int(w.Ahead), Servers: w.Servers}
	}
	var err error
	if d.Acks, err = attempts("acks", m.Jobs, m.Acks); err != nil {
		return nil, err
	}
	if d.Cancels, err = attempts("cancels", m.Jobs, m.Cancels); err != nil {
		return nil, err
	}
	if n := len(m.Leases); n > MaxEntries {
		return nil, tooMany("leases", n, MaxEntries)
	} else if n > 0 {
		d.Leases = make([]cloudcrowd.Lease, n)
	}
	for i, l := range m.Leases {
		if err := decodeLease(m.Jobs, l, &d.Leases[i]); err != nil {
			return nil, err
		}
	}
	if err := checkDown(d); err != nil {
		return nil, err
	}
	return d, nil
}

func decodeLease(jobs []string, m *pb.Lease, l *cloudcrowd.Lease) error {
	id, err := attempt(jobs, m.Job, m.Stage, m.Index, m.Number)
	if err != nil {
		return err
	}
	if m.Payload == nil {
		return cloudcrowd.Fieldf("leases.payload", "missing")
	}
	*l = cloudcrowd.Lease{Attempt: id, Upload: m.Upload}
	for _, g := range m.Grants {
		d, err := digest("leases.grants.blob", g.Blob)
		if err != nil {
			return err
		}
		l.Grants = append(l.Grants, cloudcrowd.Grant{Blob: d, Token: g.Token})
	}
	return decodePayload(m.Payload, &l.Payload)
}

func decodePayload(m *pb.Payload, p *cloudcrowd.Payload) error {
	module, err := digest("leases.payload.module", m.Module)
	if err != nil {
		return err
	}
	*p = cloudcrowd.Payload{
		Module: module, ModuleSize: int64(m.ModuleSize), Stdin: m.Stdin, Seed: m.Seed,
		Resources: cloudcrowd.Resources{
			MemoryBytes: int64(m.MemoryBytes), DiskBytes: int64(m.DiskBytes), OutputBytes: int64(m.OutputBytes), Cores: int(m.Cores),
		},
		Timeout: cloudcrowd.Duration(m.TimeoutNanoseconds),
	}
	for _, a := range m.Args {
		p.Args = append(p.Args, string(a))
	}
	for _, e := range m.Env {
		p.Env = append(p.Env, string(e))
	}
	for _, f := range m.Files {
		file := cloudcrowd.TaskFile{Path: f.Path}
		for _, s := range f.Segments {
			blob, err := digest("leases.payload.files.segments.blob", s.Blob)
			if err != nil {
				return err
			}
			file.Segments = append(file.Segments, cloudcrowd.Segment{
				Inline: s.Inline, Blob: blob, Offset: int64(s.Offset), Length: int64(s.Length), Whole: s.Whole,
			})
		}
		p.Files = append(p.Files, file)
	}
	return nil
}
