package wire

import (
	"math"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

func checkDown(d *cloudcrowd.Down) error {
	var c checker
	if w := d.Welcome; w != nil {
		c.real("welcome.heartbeat_seconds", w.HeartbeatSeconds, anySeconds)
		c.real("welcome.lease_seconds", w.LeaseSeconds, anySeconds)
		c.amount("welcome.ahead", int64(w.Ahead), 1<<20)
		c.count("welcome.servers", len(w.Servers), MaxServers)
		for _, s := range w.Servers {
			c.line("welcome.servers", s, MaxServer)
		}
	}
	c.count("leases", len(d.Leases), MaxEntries)
	for i := range d.Leases {
		c.lease(&d.Leases[i])
	}
	c.attempts("acks", d.Acks)
	c.attempts("cancels", d.Cancels)
	c.line("refused", d.Refused, MaxReason)
	return c.err
}

func (c *checker) lease(l *cloudcrowd.Lease) {
	c.attempt("leases.attempt", l.Attempt)
	c.payload(&l.Payload)
	c.count("leases.grants", len(l.Grants), MaxStrings)
	for _, g := range l.Grants {
		c.digest("leases.grants.blob", g.Blob)
		c.token("leases.grants.token", g.Token)
	}
	c.token("leases.upload", l.Upload)
}

func (c *checker) payload(p *cloudcrowd.Payload) {
	c.digest("leases.payload.module", p.Module)
	c.amount("leases.payload.module_size", p.ModuleSize, anySize)
	c.count("leases.payload.args", len(p.Args), MaxStrings)
	for _, a := range p.Args {
		if strings.IndexByte(a, 0) >= 0 {
			c.fail("leases.payload.args", "%q holds a NUL byte", clip(a))
		}
	}
	c.count("leases.payload.env", len(p.Env), MaxStrings)
	for _, e := range p.Env {
		if strings.IndexByte(e, 0) >= 0 || strings.IndexByte(e, '=') < 1 {
			c.fail("leases.payload.env", "%q is not NAME=VALUE", clip(e))
		}
	}
	c.count("leases.payload.files", len(p.Files), MaxStrings)
	for i := range p.Files {
		f := &p.Files[i]
		c.path("leases.payload.files.path", f.Path)
		c.count("leases.payload.files.segments", len(f.Segments), MaxStrings)
		for j := range f.Segments {
			c.segment(&f.Segments[j])
		}
	}
	c.amount("leases.payload.resources.memory_bytes", p.Resources.MemoryBytes, anySize)
	c.amount("leases.payload.resources.disk_bytes", p.Resources.DiskBytes, anySize)
	c.amount("leases.payload.resources.output_bytes", p.Resources.OutputBytes, anySize)
	c.amount("leases.payload.resources.cores", int64(p.Resources.Cores), 1<<16)
	c.amount("leases.payload.timeout", int64(p.Timeout), anySize)
}

func (c *checker) segment(s *cloudcrowd.Segment) {
	if s.Blob == "" {
		if s.Offset != 0 || s.Length != 0 || s.Whole {
			c.fail("leases.payload.files.segments", "a span needs the blob it is of")
		}
		return
	}
	c.digest("leases.payload.files.segments.blob", s.Blob)
	switch {
	case len(s.Inline) > 0:
		c.fail("leases.payload.files.segments", "bytes are given inline or as a span, not both")
	case s.Offset < 0 || s.Length < 0 || s.Offset > math.MaxInt64-s.Length:
		c.fail("leases.payload.files.segments", "%d bytes from %d is not a span", s.Length, s.Offset)
	case s.Whole && s.Offset != 0:
		c.fail("leases.payload.files.segments", "a whole blob starts at 0, not %d", s.Offset)
	}
}
