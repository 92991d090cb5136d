package api

import (
	"fmt"
	"iter"

	"cloudcrowd.dev/cloudcrowd"
)

// digestsOf goes through every blob a job names, with the field that names it.
func digestsOf(s *cloudcrowd.JobSpec) iter.Seq2[string, cloudcrowd.Digest] {
	return func(yield func(string, cloudcrowd.Digest) bool) {
		for name, input := range s.Inputs {
			for i, f := range input.Files {
				if !yield(fmt.Sprintf("inputs.%s.files[%d].digest", name, i), f.Digest) {
					return
				}
			}
		}
		for i := range s.Stages {
			stage := &s.Stages[i]
			programs := []struct {
				field string
				p     *cloudcrowd.Program
			}{{"run", stage.Run}, {"", nil}, {"", nil}}
			if stage.Split != nil {
				programs[1].field, programs[1].p = "split.program", stage.Split.Program
			}
			if stage.Merge != nil {
				programs[2].field, programs[2].p = "merge.program", stage.Merge.Program
			}
			for _, x := range programs {
				if x.p != nil && !yield(fmt.Sprintf("stages[%d].%s.module", i, x.field), x.p.Module) {
					return
				}
			}
		}
	}
}
