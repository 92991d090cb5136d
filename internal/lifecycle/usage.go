package lifecycle

import (
	"math"

	"cloudcrowd.dev/cloudcrowd"
)

// Usage is what a requester's attempts have used, older use counting less.
type Usage struct {
	CoreSeconds float64         `cbor:"1,keyasint,omitempty"` // normalised, as of At
	At          cloudcrowd.Time `cbor:"2,keyasint,omitempty"`
}

const (
	fadeEvery  = cloudcrowd.Time(1e6) // usage is added up for so long before it fades
	mostUsages = 10_000               // accounts remembered; beyond it those that used next to nothing lately are forgotten
	faded      = 1.0                  // core-seconds
)

// UsedBy is what a requester has used by the time at, in core-seconds.
func (s *State) UsedBy(account cloudcrowd.AccountID, at cloudcrowd.Time) float64 {
	u := s.Usage[account]
	if u == nil {
		return 0
	}
	return u.CoreSeconds * s.fading(at-u.At)
}

// fading is the share that is left of a usage after some time.
func (s *State) fading(passed cloudcrowd.Time) float64 {
	if passed <= 0 {
		return 1
	}
	half := s.HalfLife
	if half <= 0 {
		half = cloudcrowd.DefaultHalfLife
	}
	return math.Exp2(-float64(passed) / (float64(half) / 1e3))
}

// use adds to a requester's usage.
func (s *State) use(account cloudcrowd.AccountID, coreSeconds float64, at cloudcrowd.Time) {
	u := s.Usage[account]
	if u == nil {
		if len(s.Usage) >= mostUsages {
			for other, u := range s.Usage {
				if u.CoreSeconds*s.fading(at-u.At) < faded {
					delete(s.Usage, other)
				}
			}
		}
		u = &Usage{At: at}
		s.Usage[account] = u
	}
	if at-u.At >= fadeEvery {
		u.CoreSeconds *= s.fading(at - u.At)
		u.At = at
	}
	u.CoreSeconds += coreSeconds
}

// setHalfLife changes how fast usage fades from now on.
func (s *State) setHalfLife(half cloudcrowd.Duration, at cloudcrowd.Time) {
	for _, u := range s.Usage {
		u.CoreSeconds *= s.fading(at - u.At)
		u.At = max(u.At, at)
	}
	s.HalfLife = half
}

// Share takes the operator's settings: a half-life other than the one in effect is noted in the journal, for what follows from it must follow again in a replay.
func (d *Decider) Share(s cloudcrowd.Sharing) {
	d.Sharing = s
	effective := func(h cloudcrowd.Duration) cloudcrowd.Duration {
		if h <= 0 {
			return cloudcrowd.DefaultHalfLife
		}
		return h
	}
	if effective(s.HalfLife) != effective(d.State.HalfLife) {
		d.emit(Event{HalfLifeSet: &HalfLifeSet{HalfLife: effective(s.HalfLife)}})
	}
}

// note takes account of a lease.
func (c *Course) note(e *AttemptLeased, at cloudcrowd.Time) {
	c.LeasedAt = at
	if core := e.Why.RunSeconds * e.Speed; e.Copy {
		c.Copied += core
	} else {
		c.Work += core
	}
}

// DropFigures forgets what the scheduler keeps of a job; see Course.
func (j *Job) DropFigures() {
	j.Course = Course{}
	for _, st := range j.Stages {
		st.Lateness = 0
	}
}

// lateness follows the quantile that one attempt in twenty exceeds: a large step up for each that does, small steps down for the others (Robbins, Monro: A
// stochastic approximation method, 1951; in logarithms). took and expected are seconds.
func lateness(before, took, expected float64) float64 {
	const up, down = 1.6, 0.9756 // ln 1.6 / 20 = -ln 0.9756 · 19/20
	if expected <= 0 || took < 0 {
		return before
	}
	switch ratio := took / expected; {
	case before == 0:
		return math.Max(ratio, 1e-3)
	case ratio > before:
		return before * up
	default:
		return math.Max(before*down, 1e-3)
	}
}
