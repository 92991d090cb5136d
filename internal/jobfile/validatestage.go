package jobfile

import (
	"fmt"
	"slices"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
)

// stage checks the stage at position i.
func (c *checker) stage(i int) {
	st := &c.spec.Stages[i]
	field := join("stages", st.Name)
	switch {
	case !stageName.MatchString(st.Name):
		c.add(field, "a stage's name is a lower-case letter followed by at most 39 lower-case letters, digits, _ and -")
	case st.Name == decompose.MergeParts:
		c.add(field, "parts is where merges find their inputs; choose another name")
	case c.spec.StageIndex(st.Name) != i:
		c.add(field, "the stage is there twice")
	}
	c.after(i, st, field)
	c.names(field+".inputs", st.Inputs)
	switch {
	case st.Run == nil && st.Merge == nil:
		c.add(field, "a stage has run or merge; this one has neither")
	case st.Run != nil && st.Merge != nil:
		c.add(field, "a stage has run or merge; this one has both")
	}
	if st.Split != nil {
		if st.Merge != nil {
			c.add(field+".split", "a merge is not split")
		}
		c.split(i, st.Split, field+".split")
	}
	if st.Merge != nil {
		c.merge(i, st, field+".merge")
	}
	known := decompose.Names(c.spec, i)
	if st.Run != nil {
		c.program(st.Run, known, field+".run")
	}
	c.limits(st, field)
	c.verify(st, field+".verify")
}

func (c *checker) after(i int, st *cloudcrowd.Stage, field string) {
	for k, name := range st.After {
		at := fmt.Sprintf("%s.after[%d]", field, k)
		switch j := c.spec.StageIndex(name); {
		case j < 0:
			c.noStage(at, name)
		case j == i:
			c.add(at, "a stage cannot come after itself")
		case j > i:
			c.add(at, "stages must be in topological order: %s stands behind %s", name, st.Name)
		case slices.Index(st.After, name) < k:
			c.add(at, "%s is there twice", name)
		}
	}
}

// names checks a list of inputs that tasks get whole.
func (c *checker) names(field string, inputs []string) {
	for k, name := range inputs {
		at := fmt.Sprintf("%s[%d]", field, k)
		if _, ok := c.spec.Inputs[name]; !ok {
			c.noInput(at, name)
		} else if slices.Index(inputs, name) < k {
			c.add(at, "%s is there twice", name)
		}
	}
}

func (c *checker) program(p *cloudcrowd.Program, known []string, field string) {
	c.digest(field+".wasm", p.Module)
	total := len(p.Stdin)
	template := func(at, text string) {
		total += len(text)
		c.textual(at, text, maxText)
		if err := decompose.CheckTemplate(text, known); err != nil {
			c.add(at, "%v", err)
		}
	}
	for k, arg := range p.Args {
		template(fmt.Sprintf("%s.args[%d]", field, k), arg)
	}
	seen := map[string]bool{}
	for _, env := range p.Env {
		at := join(field+".env", env.Name)
		if !envName.MatchString(env.Name) {
			c.add(at, "a variable's name is letters, digits and _, and does not start with a digit")
		}
		if seen[env.Name] {
			c.add(at, "the variable is there twice")
		}
		seen[env.Name] = true
		template(at, env.Value)
	}
	template(field+".stdin", p.Stdin)
	if total > maxText {
		c.add(field, "arguments, environment and stdin are %d bytes; at most %d", total, maxText)
	}
	if len(p.Inputs) > 0 {
		c.add(field+".inputs", "inputs belong to the stage")
	}
}

func (c *checker) limits(st *cloudcrowd.Stage, field string) {
	r := st.Resources
	between := func(name string, v, least, most int64) {
		if v < least || v > most {
			c.add(field+".resources."+name, "%s is impossible; it must be between %s and %s", cloudcrowd.Bytes(v), cloudcrowd.Bytes(least), cloudcrowd.Bytes(most))
		}
	}
	between("memory", r.MemoryBytes, 1<<20, 4<<30)
	between("disk", r.DiskBytes, 1<<10, 1<<40)
	between("output", r.OutputBytes, 1<<10, 64<<30)
	if r.Cores != 1 {
		c.add(field+".resources.cores", "a WASM program runs on 1 core, found %d", r.Cores)
	}
	span := func(name string, v cloudcrowd.Duration, least, most time.Duration) {
		if v < cloudcrowd.Duration(least) || v > cloudcrowd.Duration(most) {
			c.add(field+"."+name, "%s is impossible; it must be between %s and %s", v, least, cloudcrowd.Duration(most))
		}
	}
	span("timeout", st.Timeout, 10*time.Millisecond, 7*24*time.Hour)
	span("target", st.Target, time.Millisecond, 24*time.Hour)
	if st.Target > st.Timeout {
		c.add(field+".target", "a task aims at %s and is stopped after %s; raise timeout or lower target", st.Target, st.Timeout)
	}
	if st.Retries < 0 || st.Retries > maxRetries {
		c.add(field+".retries", "%d is out of range; it must be between 0 and %d", st.Retries, maxRetries)
	}
}

func (c *checker) verify(st *cloudcrowd.Stage, field string) {
	v := st.Verify
	replicas := v.Replicas != 0 || v.Quorum != 0
	forms := 0
	for _, is := range []bool{v.None, replicas, v.Confidence != 0} {
		if is {
			forms++
		}
	}
	if forms != 1 {
		c.add(field, "expected exactly one of none, {replicas: N, quorum: M} and {confidence: P}")
		return
	}
	switch {
	case replicas && (v.Replicas < 1 || v.Replicas > maxReplicas):
		c.add(field+".replicas", "%d is out of range; it must be between 1 and %d", v.Replicas, maxReplicas)
	case replicas && (v.Quorum < 1 || v.Quorum > v.Replicas):
		c.add(field+".quorum", "%d results cannot agree when %d are made", v.Quorum, v.Replicas)
	case replicas && 2*v.Quorum <= v.Replicas:
		c.add(field+".quorum", "%d of %d is no majority: two different results could both win; use %d or more", v.Quorum, v.Replicas, v.Replicas/2+1)
	case !replicas && !v.None && !(v.Confidence > 0 && v.Confidence < 1):
		c.add(field+".confidence", "%v is not between 0 and 1, both excluded", v.Confidence)
	}
}
