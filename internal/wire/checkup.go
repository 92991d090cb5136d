package wire

import "cloudcrowd.dev/cloudcrowd"

func checkUp(u *cloudcrowd.Up) error {
	var c checker
	if u.Hello != nil {
		c.hello(u.Hello)
	}
	if u.Beat != nil {
		c.beat(u.Beat)
	}
	c.count("reports", len(u.Reports), MaxEntries)
	for i := range u.Reports {
		c.attempt("reports.attempt", u.Reports[i].Attempt)
		c.result(&u.Reports[i].Result)
	}
	c.attempts("returned", u.Returned)
	return c.err
}

func (c *checker) hello(h *cloudcrowd.Hello) {
	c.session("hello.session", h.Session)
	i := &h.Info
	c.line("hello.info.name", i.Name, MaxName)
	c.line("hello.info.version", i.Version, MaxName)
	c.line("hello.info.os", i.OS, MaxName)
	c.line("hello.info.arch", i.Arch, MaxName)
	c.line("hello.info.cpu", i.CPU, MaxName)
	c.amount("hello.info.cores", int64(i.Cores), 1<<16)
	c.amount("hello.info.slots", int64(i.Slots), 1<<16)
	c.real("hello.info.speed", i.Speed, 1e6)
	c.amount("hello.info.memory_bytes", i.MemoryBytes, anySize)
	c.amount("hello.info.disk_bytes", i.DiskBytes, anySize)
	c.count("hello.info.sandboxes", len(i.Sandboxes), 32)
	for _, s := range i.Sandboxes {
		c.line("hello.info.sandboxes", s, MaxName)
	}
	c.attempts("hello.holding", h.Holding)
	c.attempts("hello.spooled", h.Spooled)
	c.digests("hello.cached", h.Cached)
	c.amount("hello.cached_bytes", h.CachedBytes, anySize)
}

func (c *checker) beat(b *cloudcrowd.Beat) {
	c.session("beat.session", b.Session)
	c.count("beat.holding", len(b.Holding), MaxEntries)
	for i := range b.Holding {
		p := &b.Holding[i]
		c.attempt("beat.holding", p.Attempt)
		c.real("beat.holding.fraction", p.Fraction, 1)
		c.real("beat.holding.elapsed", p.Elapsed, anySeconds)
	}
	c.amount("beat.want", int64(b.Want), 1<<20)
	c.line("beat.unable", b.Unable, MaxReason)
	c.digests("beat.cached", b.Cached)
	c.amount("beat.cached_bytes", b.CachedBytes, anySize)
}

// result checks what an attempt returned. Success has no reason, exit status or end of stderr to tell of; a failure has no outputs.
func (c *checker) result(r *cloudcrowd.Result) {
	if outcomeNumbers[r.Outcome] == 0 {
		c.fail("reports.result.outcome", "%q is not an outcome", clip(string(r.Outcome)))
	}
	c.amount("reports.result.exit_code", int64(r.ExitCode)+1<<31, 1<<32-1)
	c.text("reports.result.reason", r.Reason, MaxReason)
	c.text("reports.result.stderr_tail", r.StderrTail, MaxStderr)
	c.count("reports.result.outputs", len(r.Outputs), MaxOutputs)
	for i := range r.Outputs {
		o := &r.Outputs[i]
		c.path("reports.result.outputs.path", o.Path)
		c.digest("reports.result.outputs.digest", o.Digest)
		c.amount("reports.result.outputs.size_bytes", o.SizeBytes, anySize)
		if i > 0 && r.Outputs[i-1].Path >= o.Path {
			c.fail("reports.result.outputs", "%q does not come after %q; paths are sorted and each appears once", clip(o.Path), clip(r.Outputs[i-1].Path))
		}
	}
	if r.Log != "" {
		c.digest("reports.result.log", r.Log)
	}
	u := &r.Usage
	c.real("reports.result.usage.cpu_seconds", u.CPUSeconds, anySeconds)
	c.real("reports.result.usage.wall_seconds", u.WallSeconds, anySeconds)
	c.amount("reports.result.usage.peak_memory_bytes", u.PeakMemoryBytes, anySize)
	c.amount("reports.result.usage.input_bytes", u.InputBytes, anySize)
	c.amount("reports.result.usage.output_bytes", u.OutputBytes, anySize)
}
