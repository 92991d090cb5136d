package lifecycle

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// options are the words after a command: "key=value", or a bare word for true.
type options map[string]string

func parseOptions(words []string) options {
	o := options{}
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		o[k] = strings.ReplaceAll(v, "_", " ")
	}
	return o
}

func (o options) number(key string, otherwise int64) int64 {
	if v, ok := o[key]; ok {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			panic(err)
		}
		return n
	}
	return otherwise
}

func (o options) real(key string, otherwise float64) float64 {
	if v, ok := o[key]; ok {
		f, err := strconv.ParseFloat(v, 64)
		if err != nil {
			panic(err)
		}
		return f
	}
	return otherwise
}

// stageOf reads a stage: "NAME range=12 size=3 | lines=INPUT | each=STAGE | program=STAGE | merge=FANIN | concat, after=A,B verify=M/N | none | 0.99, retries=N".
func stageOf(line string) cloudcrowd.Stage {
	words := strings.Fields(line)
	o := parseOptions(words[1:])
	module := cloudcrowd.Digest(strings.Repeat("0", 64))
	s := cloudcrowd.Stage{Name: words[0], Resources: cloudcrowd.Resources{MemoryBytes: 1 << 20, DiskBytes: 1 << 20, OutputBytes: 1 << 20, Cores: 1},
		Timeout: cloudcrowd.Duration(time.Minute), Retries: int(o.number("retries", 3)), Target: cloudcrowd.Duration(o.number("target", 10) * 1e9), Verify: cloudcrowd.Verify{Confidence: 0.99}}
	if v := o["after"]; v != "" {
		s.After = strings.Split(v, ",")
	}
	switch verify := o["verify"]; {
	case verify == "none":
		s.Verify = cloudcrowd.Verify{None: true}
	case strings.Contains(verify, "/"):
		s.Verify = cloudcrowd.Verify{}
		if _, err := fmt.Sscanf(verify, "%d/%d", &s.Verify.Quorum, &s.Verify.Replicas); err != nil {
			panic(err)
		}
	case verify != "":
		s.Verify.Confidence = o.real("verify", 0)
	}
	follow := func(name string) {
		s.After = append(s.After, name)
	}
	program := &cloudcrowd.Program{Module: module, ModuleName: s.Name, ModuleSize: 1}
	if _, ok := o["concat"]; ok {
		s.Merge = &cloudcrowd.Merge{Kind: cloudcrowd.MergeConcat}
		return s
	}
	if n := o.number("merge", 0); n > 0 {
		s.Merge = &cloudcrowd.Merge{Kind: cloudcrowd.MergeProgram, FanIn: int(n), Program: program}
		return s
	}
	s.Run = program
	switch {
	case o["range"] != "":
		s.Split = &cloudcrowd.Split{Kind: cloudcrowd.SplitRange, To: o.number("range", 0), Size: o.number("size", 0)}
	case o["lines"] != "":
		s.Split = &cloudcrowd.Split{Kind: cloudcrowd.SplitLines, Input: o["lines"], Size: o.number("size", 0)}
	case o["each"] != "":
		s.Split = &cloudcrowd.Split{Kind: cloudcrowd.SplitEach, Stage: o["each"]}
		follow(o["each"])
	case o["program"] != "":
		s.Split = &cloudcrowd.Split{Kind: cloudcrowd.SplitProgram, Stage: o["program"]}
		follow(o["program"])
	}
	return s
}

func specOf(name string, budget cloudcrowd.Credits, deadline time.Duration, stages ...string) cloudcrowd.JobSpec {
	spec := cloudcrowd.JobSpec{Name: name, Budget: budget, Deadline: cloudcrowd.Duration(deadline)}
	for _, line := range stages {
		spec.Stages = append(spec.Stages, stageOf(line))
	}
	spec.Outputs = []string{spec.Stages[len(spec.Stages)-1].Name}
	return spec
}

// fund gives an account credits.
func (w *world) fund(account cloudcrowd.AccountID, amount cloudcrowd.Credits) []Event {
	w.t.Helper()
	return w.decide(func(d *Decider) {
		if _, err := d.Issue(account, amount, "admin", "", ""); err != nil {
			w.t.Fatalf("issue: %v", err)
		}
	})
}

// submit submits a job under an id made from its number.
func (w *world) submit(name string, account cloudcrowd.AccountID, key string, spec cloudcrowd.JobSpec) ([]Event, error) {
	w.t.Helper()
	id := cloudcrowd.NewJobID(w.now.Time(), uint32(len(w.jobs)))
	var made cloudcrowd.JobID
	var err error
	events := w.decide(func(d *Decider) { made, err = d.Submit(id, account, key, spec) })
	if err == nil {
		w.jobs[name], w.last = made, made
	}
	return events, err
}
