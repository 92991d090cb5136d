package platform

import (
	"encoding/hex"
	"fmt"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
)

// needBlobs looks for the blobs of a job: of an open one all it still reads, of every one its results. A missing log is no fault.
func (c *checker) needBlobs(j *lifecycle.Job) {
	if c.blobs == nil {
		return
	}
	if !j.State.Ended() {
		for name, in := range j.Spec.Inputs {
			for _, f := range in.Files {
				c.need(f.Digest, f.SizeBytes, func() string { return fmt.Sprintf("job %s reads it as %s of input %s", j.ID, f.Name, name) })
			}
		}
	}
	for si, stage := range j.Stages {
		spec := &j.Spec.Stages[si]
		if !j.State.Ended() {
			c.needPrograms(j, spec)
			if stage.Index != nil && stage.Index.Data != "" {
				c.need(stage.Index.Data, -1, func() string { return fmt.Sprintf("stage %s of job %s is cut from it", spec.Name, j.ID) })
			}
		}
		for _, f := range stage.Outputs {
			c.need(f.Digest, f.SizeBytes, func() string { return fmt.Sprintf("stage %s of job %s merged it as %s", spec.Name, j.ID, f.Path) })
		}
		for ti, t := range stage.Tasks {
			id := cloudcrowd.TaskID{Job: j.ID, Stage: int32(si), Index: int32(ti)}
			for _, f := range t.Outputs {
				c.need(f.Digest, f.SizeBytes, func() string { return fmt.Sprintf("it is %s of task %s", f.Path, id) })
			}
			for _, a := range t.Attempts {
				c.needResult(cloudcrowd.AttemptID{Task: id, N: a.N}, a)
			}
		}
	}
}

func (c *checker) needPrograms(j *lifecycle.Job, spec *cloudcrowd.Stage) {
	programs := []*cloudcrowd.Program{spec.Run}
	if spec.Merge != nil {
		programs = append(programs, spec.Merge.Program)
	}
	for _, p := range programs {
		if p != nil {
			c.need(p.Module, -1, func() string { return fmt.Sprintf("it is the program of stage %s of job %s", spec.Name, j.ID) })
		}
	}
}

// needResult looks for what an attempt returned: its files while they await their verdict, and its log.
func (c *checker) needResult(id cloudcrowd.AttemptID, a *lifecycle.Attempt) {
	if a.Result == nil {
		return
	}
	if a.State == cloudcrowd.AttemptReported {
		for _, f := range a.Result.Outputs {
			c.need(f.Digest, f.SizeBytes, func() string { return fmt.Sprintf("it is %s of attempt %s", f.Path, id) })
		}
	}
	if d := a.Result.Log; d != "" {
		if _, err := c.blobs.Stat(c.ctx, d); err != nil {
			c.note("log of attempt "+id.String(), "%v", err)
		}
	}
}

// need looks for one blob; size is its number of bytes, negative if that is not known. why says who needs it.
func (c *checker) need(d cloudcrowd.Digest, size int64, why func() string) {
	var key [32]byte
	if !d.Valid() {
		c.fault("blob "+string(d), "this is no digest; %s", why())
		return
	}
	_, _ = hex.Decode(key[:], []byte(d)) // valid
	if _, ok := c.needed[key]; ok {
		return
	}
	c.needed[key] = struct{}{}
	switch have, err := c.blobs.Stat(c.ctx, d); {
	case cloudcrowd.CodeOf(err) == cloudcrowd.NotFound:
		c.fault("blob "+string(d), "it is missing; %s", why())
	case err != nil:
		c.fault("blob "+string(d), "it cannot be read: %v; %s", err, why())
	case size >= 0 && have != size:
		c.fault("blob "+string(d), "it has %d bytes instead of %d; %s", have, size, why())
	}
}

// checkBlobs counts the blobs and, unless the check is quick, reads each again and compares it with its digest.
func (c *checker) checkBlobs() error {
	if c.blobs == nil {
		return nil
	}
	return c.blobs.List(c.ctx, func(i blob.Info) error {
		c.report.Blobs++
		if c.o.Quick {
			return nil
		}
		err := c.damage(c.blobs.Verify(c.ctx, i.Digest))
		if cloudcrowd.CodeOf(err) == cloudcrowd.NotFound {
			return nil // deleted meanwhile
		}
		return err
	})
}
