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
	}
	c.count("leases", len(d.Leases), MaxEntries)
	for i := range d.Leases {
		c.lease("leases", &d.Leases[i])
	}
	c.attempts("acks", d.Acks)
	c.attempts("cancels", d.Cancels)
	c.line("refused", d.Refused, MaxReason)
	return c.err
}

func (c *checker) lease(field string, l *cloudcrowd.Lease) {
	c.attempt(field+".attempt", l.Attempt)
	c.payload(field+".payload", &l.Payload)
	c.count(field+".grants", len(l.Grants), MaxStrings)
	for _, g := range l.Grants {
		c.digest(field+".grants.blob", g.Blob)
		c.token(field+".grants.token", g.Token)
	}
	c.token(field+".upload", l.Upload)
}

func (c *checker) payload(field string, p *cloudcrowd.Payload) {
	c.digest(field+".module", p.Module)
	c.amount(field+".module_size", p.ModuleSize, anySize)
	c.count(field+".args", len(p.Args), MaxStrings)
	for _, a := range p.Args {
		if strings.IndexByte(a, 0) >= 0 {
			c.fail(field+".args", "%q holds a NUL byte", clip(a))
		}
	}
	c.count(field+".env", len(p.Env), MaxStrings)
	for _, e := range p.Env {
		if strings.IndexByte(e, 0) >= 0 || strings.IndexByte(e, '=') < 1 {
			c.fail(field+".env", "%q is not NAME=VALUE", clip(e))
		}
	}
	c.count(field+".files", len(p.Files), MaxStrings)
	for i := range p.Files {
		f := &p.Files[i]
		c.path(field+".files.path", f.Path)
		c.count(field+".files.segments", len(f.Segments), MaxStrings)
		for j := range f.Segments {
			c.segment(field+".files.segments", &f.Segments[j])
		}
	}
	c.amount(field+".resources.memory_bytes", p.Resources.MemoryBytes, anySize)
	c.amount(field+".resources.disk_bytes", p.Resources.DiskBytes, anySize)
	c.amount(field+".resources.output_bytes", p.Resources.OutputBytes, anySize)
	c.amount(field+".resources.cores", int64(p.Resources.Cores), 1<<16)
	c.amount(field+".timeout", int64(p.Timeout), anySize)
}

func (c *checker) segment(field string, s *cloudcrowd.Segment) {
	if s.Blob == "" {
		if s.Offset != 0 || s.Length != 0 || s.Whole {
			c.fail(field, "a span needs the blob it is of")
		}
		return
	}
	c.digest(field+".blob", s.Blob)
	switch {
	case len(s.Inline) > 0:
		c.fail(field, "bytes are given inline or as a span, not both")
	case s.Offset < 0 || s.Length < 0 || s.Offset > math.MaxInt64-s.Length:
		c.fail(field, "%d bytes from %d is not a span", s.Length, s.Offset)
	case s.Whole && s.Offset != 0:
		c.fail(field, "a whole blob starts at 0, not %d", s.Offset)
	}
}
