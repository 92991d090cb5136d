package taskmanager

import (
	"context"
	"fmt"
	"math"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/market"
	"cloudcrowd.dev/cloudcrowd/internal/verify"
)

// Plan implements api.Backend.
func (m *Manager) Plan(ctx context.Context, account cloudcrowd.AccountID, spec cloudcrowd.JobSpec) (cloudcrowd.Plan, error) {
	if err := m.admit(ctx, &spec); err != nil {
		return cloudcrowd.Plan{}, err
	}
	return m.plan(ctx, account, &spec)
}

// crowd is what planning knows of the workers here now.
type crowd struct {
	workers, slots int
	speed          float64 // of all slots
	parties        int     // independent owners; trusted machines count one each
	trusted        int     // machines of the requester or the operator
	memory         int64   // largest of one worker
}

func (m *Manager) plan(ctx context.Context, account cloudcrowd.AccountID, spec *cloudcrowd.JobSpec) (cloudcrowd.Plan, error) {
	acc, err := m.cfg.Store.Account(ctx, account)
	if err != nil {
		return cloudcrowd.Plan{}, err
	}
	var c crowd
	rates := make([]lifecycle.Rate, len(spec.Stages))
	err = m.view(ctx, func(l *loop) {
		owners := map[cloudcrowd.AccountID]bool{}
		for _, w := range l.open() {
			if verify.Exiled(l.record(w.ID), l.now()) {
				continue
			}
			c.workers++
			c.slots += w.Slots
			c.speed += w.Speed * float64(w.Slots)
			c.memory = max(c.memory, w.MemoryBytes)
			if w.Owner == account || w.Owner == m.cfg.Operator {
				c.trusted++
				c.parties++
			} else if !owners[w.Owner] {
				owners[w.Owner] = true
				c.parties++
			}
		}
		for i := range spec.Stages {
			rates[i] = l.st.Rates[lifecycle.RateKey(spec, i)]
		}
	})
	if err != nil {
		return cloudcrowd.Plan{}, err
	}
	p := cloudcrowd.Plan{Name: spec.Name, Workers: c.workers, Available: acc.Balance - acc.Held}
	guessed := false
	for i := range spec.Stages {
		s, known := planStage(spec, i, rates[i], c, p.Stages)
		guessed = guessed || !known
		st := &spec.Stages[i]
		if st.Merge.Builtin() {
			p.Stages = append(p.Stages, s)
			continue
		}
		for k := range 2 {
			p.CoreSeconds[k] += s.CoreSeconds[k]
			attempts := float64(s.Tasks[k]) * s.Replicas[k]
			// Memory is charged over wall time: the limit bounds it, half of it is typical.
			gib := float64(st.Resources.MemoryBytes) / (1 << 30) * [2]float64{0.1, 0.5}[k]
			p.Cost[k] += cloudcrowd.Credits(math.Ceil(m.cfg.Prices.CoreSecond*s.CoreSeconds[k] + m.cfg.Prices.MemoryGiBSecond*gib*s.CoreSeconds[k] + float64(m.cfg.Prices.Minimum)*attempts))
		}
		p.Minimum += cloudcrowd.Credits(math.Ceil(float64(s.Tasks[0]) * s.Replicas[0] * float64(m.cfg.Prices.Minimum)))
		p.Stages = append(p.Stages, s)
		p.Notes = append(p.Notes, stageNotes(st, c)...)
	}
	// The first attempts must be payable at all.
	for i := range spec.Stages {
		if st := &spec.Stages[i]; !st.Merge.Builtin() {
			p.Minimum = max(p.Minimum, market.Ceiling(m.cfg.Prices, math.Min(typical(st, rates[i]), 1), st.Resources))
		}
	}
	p.Cost[0] = max(p.Cost[0], p.Minimum)
	p.Cost[1] = max(p.Cost[1], p.Cost[0])
	p.Budget = spec.Budget
	if p.Budget == 0 {
		// Reserves are set aside for every slot while attempts run; the default leaves room for them.
		room := cloudcrowd.Credits(0)
		for i := range spec.Stages {
			if st := &spec.Stages[i]; !st.Merge.Builtin() {
				room = max(room, market.Ceiling(m.cfg.Prices, 4*typical(st, rates[i])+1, st.Resources))
			}
		}
		p.Budget = 2*p.Cost[1] + room*cloudcrowd.Credits(max(c.slots, 4))
		p.Notes = append(p.Notes, "No budget is given: the plan's upper estimate is held, with room for attempts under way. What is not spent goes back.")
	}
	if c.speed > 0 {
		p.Seconds = [2]float64{p.CoreSeconds[0] / c.speed, 1.5*p.CoreSeconds[1]/c.speed + 1}
	} else {
		p.Notes = append(p.Notes, "No worker is connected now: the job will wait until one is.")
	}
	if guessed {
		p.Notes = append(p.Notes, "Some programs have not run here before: their cost is a guess from the size of their input. It is measured by the first tasks.")
	}
	if p.Available < p.Budget {
		p.Notes = append(p.Notes, fmt.Sprintf("Account %s has %s credits available, less than the %s to be held.", account, p.Available, p.Budget))
	}
	return p, nil
}

// typical is the normalised core-seconds one task of a stage is expected to take.
func typical(st *cloudcrowd.Stage, r lifecycle.Rate) float64 {
	target := float64(st.Target) / 1e9
	if r.PerUnit > 0 && !decompose.Divisible(st.Split) {
		return r.PerUnit * float64(decompose.Step(st.Split))
	}
	return target
}

// planStage estimates one stage. known is false where the cost per unit is a guess.
func planStage(spec *cloudcrowd.JobSpec, i int, r lifecycle.Rate, c crowd, before []cloudcrowd.StagePlan) (cloudcrowd.StagePlan, bool) {
	st := &spec.Stages[i]
	s := cloudcrowd.StagePlan{Name: st.Name, Kind: kindOf(st), UnitName: decompose.UnitName(st.Split), MemoryBytes: st.Resources.MemoryBytes}
	if st.Merge.Builtin() {
		s.Verify = "performed by the server, free"
		return s, true
	}
	s.Replicas, s.Verify = replicas(st.Verify, c)
	target := math.Max(float64(st.Target)/1e9, 0.001)
	known := r.PerUnit > 0
	var work [2]float64 // normalised core-seconds without replicas
	input := inputBytes(spec, st)
	switch units, ok := decompose.Total(st.Split, nil, fileCount(spec, st), 0, false); {
	case st.Merge != nil:
		s.UnitName = "parts"
		parts := [2]int64{1, 1}
		if up := spec.StageIndex(st.After[0]); up < len(before) {
			parts = before[up].Tasks
		}
		for k := range 2 {
			for n := max(parts[k], 1); ; {
				n = (n + int64(st.Merge.FanIn) - 1) / int64(st.Merge.FanIn)
				s.Tasks[k] += n
				if n <= 1 {
					break
				}
			}
			work[k] = float64(s.Tasks[k]) * guess(r, float64(parts[k])/float64(max(s.Tasks[k], 1)), k, 1, 10)
		}
	case st.Split != nil && st.Split.Kind == cloudcrowd.SplitEach:
		s.Tasks = [2]int64{1, 1}
		if up := spec.StageIndex(st.Split.Stage); up < len(before) {
			s.Tasks = before[up].Tasks
		}
		for k := range 2 {
			work[k] = float64(s.Tasks[k]) * guess(r, 1, k, 0.1*target, 3*target)
		}
	case ok && decompose.Divisible(st.Split):
		s.Units = units
		for k := range 2 {
			work[k] = guess(r, float64(units), k, 0.5, 60)
			s.Tasks[k] = divided(k, work[k], target, units, c.slots)
		}
	case ok:
		s.Units = units
		n := (units + decompose.Step(st.Split) - 1) / decompose.Step(st.Split)
		s.Tasks = [2]int64{n, n}
		for k := range 2 {
			work[k] = guess(r, float64(units), k, 0.02*float64(n), math.Max(target, 1)*float64(n))
		}
	default: // an input that was not read yet: its size tells something
		for k := range 2 {
			if known && st.Split.Kind == cloudcrowd.SplitFASTA && st.Split.Overlap > 0 { // a unit is a base, nearly a byte
				work[k] = guess(r, float64(input), k, 0, 0)
			} else {
				work[k] = math.Max(float64(input)/[2]float64{50e6, 200e3}[k], [2]float64{0.1, 20}[k])
			}
			s.Tasks[k] = divided(k, work[k], target, max(input, 1), c.slots)
			if st.Split.Size > 0 {
				s.Tasks[k] = max(input/[2]int64{1000, 8}[k]/st.Split.Size, 1)
			}
		}
	}
	for k := range 2 {
		s.CoreSeconds[k] = work[k] * s.Replicas[k]
		if st.Split != nil && st.Split.Max > 0 && decompose.Divisible(st.Split) {
			units := s.Units
			if units == 0 && st.Split.Overlap > 0 { // bases, nearly bytes
				units = int64(float64(input) * [2]float64{0.6, 1.1}[k])
			}
			s.Tasks[k] = max(s.Tasks[k], (units+st.Split.Max-1)/st.Split.Max)
		}
	}
	return s, known
}

// guess is the core-seconds of some units: by what they cost before, within a factor of two, else the bound given.
func guess(r lifecycle.Rate, units float64, k int, low, high float64) float64 {
	if r.PerUnit > 0 {
		return r.PerUnit * units * [2]float64{0.7, 1.5}[k]
	}
	return [2]float64{low, high}[k]
}

// divided bounds how many tasks a divisible stage becomes (k 0: at least, 1: at most): by target time, at most with a probe and smaller pieces at the end for
// every slot, and with slots half as fast as the reference.
func divided(k int, work, target float64, units int64, slots int) int64 {
	n := int64(work / target)
	if k == 1 {
		n = int64(2*work/target) + int64(6*max(slots, 1)) + 4
	}
	return max(min(n, units), 1)
}

// replicas is the range of attempts per task, and the demand in words.
func replicas(v cloudcrowd.Verify, c crowd) ([2]float64, string) {
	switch {
	case v.None:
		return [2]float64{1, 1}, "not verified: every result is believed"
	case v.Replicas > 0:
		return [2]float64{float64(v.Replicas), float64(v.Replicas) + 1}, fmt.Sprintf("%d of %d replicas of different owners must agree", v.Quorum, v.Replicas)
	}
	n := float64(verify.Replicas(v.Confidence, verify.ErrorRate(cloudcrowd.Record{})))
	if c.trusted > 0 && c.parties < 2 {
		return [2]float64{1, 1}, fmt.Sprintf("confidence %g, but one machine is connected and it is yours or the operator's: its results are believed", v.Confidence)
	}
	return [2]float64{1 + verify.AuditShare, n + 0.5}, fmt.Sprintf("confidence %g: %.0f agreeing results of different owners, one from workers with a good record", v.Confidence, n)
}

func inputBytes(spec *cloudcrowd.JobSpec, st *cloudcrowd.Stage) int64 {
	if st.Split == nil {
		return 0
	}
	var n int64
	for _, f := range spec.Inputs[st.Split.Input].Files {
		n += f.SizeBytes
		if len(f.Name) > 3 && (f.Name[len(f.Name)-3:] == ".gz" || f.Name[len(f.Name)-3:] == "zst") {
			n += 3 * f.SizeBytes // compressed: about a quarter of what it holds
		}
	}
	return n
}

func fileCount(spec *cloudcrowd.JobSpec, st *cloudcrowd.Stage) int {
	if st.Split == nil {
		return 0
	}
	return len(spec.Inputs[st.Split.Input].Files)
}

// stageNotes are warnings about a stage that the crowd here cannot serve, or that should be said plainly.
func stageNotes(st *cloudcrowd.Stage, c crowd) []string {
	var list []string
	if st.Verify.None {
		list = append(list, fmt.Sprintf("Stage %s is not verified: a worker that lies is believed. Right for one's own machines only.", st.Name))
	}
	need := st.Verify.Quorum
	if st.Verify.Confidence > 0 && (c.trusted == 0 || c.parties > 1) {
		need = verify.Replicas(st.Verify.Confidence, verify.ErrorRate(cloudcrowd.Record{}))
	}
	if c.workers > 0 && need > c.parties {
		list = append(list, fmt.Sprintf("Stage %s needs results of %d independent parties; %d are connected now, so it will wait for more.", st.Name, need, c.parties))
	}
	if c.workers > 0 && c.memory > 0 && st.Resources.MemoryBytes > c.memory {
		list = append(list, fmt.Sprintf("Stage %s asks for %s of memory an attempt; no connected worker offers more than %s.", st.Name, cloudcrowd.Bytes(st.Resources.MemoryBytes), cloudcrowd.Bytes(c.memory)))
	}
	return list
}
