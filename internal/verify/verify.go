// Package verify decides how much checking a result needs and whether enough results agree. It knows nothing of leases or money.
//
// The policy for a wanted confidence P is a first, simple one. ErrorRate gives an upper estimate e of the chance that a worker's next result
// is wrong. Results of independent parties are all wrong with at most the product of their e; a task is accepted when that is at most 1-P. A worker
// in good standing whose own e is small enough is therefore accepted alone, except for random audits; its pay waits until the job ends so that a later
// catch can still refuse it.
package verify

import (
	"fmt"
	"math"

	"cloudcrowd.dev/cloudcrowd"
)

// Constants of the policy.
const (
	PriorWrong   = 0.1  // wrong results assumed of a worker before any is known
	PriorSeen    = 3.3  // results assumed seen: a newcomer's error rate is about 3 %
	MinStreak    = 10   // valid results in a row before a worker may be accepted alone
	AuditShare   = 0.05 // share of results of trusted workers that are checked all the same
	MaxReplicas  = 16   // votes on one task after which a quorum is impossible
	ExileAfter   = 2    // refused results after which a worker gets no work for a while
	exileSeconds = 600
)

// ErrorRate is an upper estimate of the chance that the worker's next result is wrong: its record with a small prior, in (0, 1).
func ErrorRate(r cloudcrowd.Record) float64 {
	return (float64(r.Invalid) + PriorWrong) / (float64(r.Valid+r.Invalid) + PriorSeen)
}

// Standing names what the record means for people.
func Standing(r cloudcrowd.Record, now cloudcrowd.Time) string {
	switch {
	case Exiled(r, now):
		return "distrusted"
	case r.Invalid > 0 && r.Streak < 5*MinStreak:
		return "probation"
	case r.Streak >= MinStreak:
		return "trusted"
	}
	return "new"
}

// Exiled reports whether the worker gets no work at present: after the second refused result it is left out for ten minutes, four times as long after
// each doubling of refusals.
func Exiled(r cloudcrowd.Record, now cloudcrowd.Time) bool {
	if r.Invalid < ExileAfter {
		return false
	}
	seconds := float64(exileSeconds) * math.Pow(float64(r.Invalid)/ExileAfter, 2)
	return float64(now-r.LastInvalid)/1e6 < seconds
}

// Need says how many agreeing results a task requires.
type Need struct {
	Quorum int    // agreeing parties
	Start  int    // attempts to start at once
	Alone  bool   // Quorum 1 because of the worker's record: pay waits, audits happen
	Why    string // for explanations
}

// ForTask decides a task's need when its first attempt goes to a worker. trusted says that the worker's owner is the requester or the operator, and that
// nobody else is here to check it. lottery is uniform in [0,1) and secret: below AuditShare a trusted worker's result is checked all the same.
func ForTask(v cloudcrowd.Verify, r cloudcrowd.Record, trusted bool, lottery float64) Need {
	switch {
	case v.None:
		return Need{Quorum: 1, Start: 1, Why: "not verified, as the job asks"}
	case v.Replicas > 0:
		return Need{Quorum: v.Quorum, Start: v.Replicas, Why: fmt.Sprintf("%d of %d replicas must agree", v.Quorum, v.Replicas)}
	case trusted:
		return Need{Quorum: 1, Start: 1, Why: "the worker belongs to the requester or the operator, and no other is here that could check it"}
	}
	allowed := 1 - v.Confidence
	e := ErrorRate(r)
	if e <= allowed && r.Streak >= MinStreak && !(r.Invalid > 0 && r.Streak < 5*MinStreak) && lottery >= AuditShare {
		return Need{Quorum: 1, Start: 1, Alone: true, Why: fmt.Sprintf("the worker's record allows it (error rate at most %.4f)", e)}
	}
	n := Replicas(v.Confidence, e)
	return Need{Quorum: n, Start: n, Why: fmt.Sprintf("%d independent results must agree for confidence %g", n, v.Confidence)}
}

// Replicas is the number of agreeing results that brings the chance of all being wrong to at most 1-confidence, if the first comes from a worker of
// error rate e and the others from newcomers; at least 2, at most MaxReplicas.
func Replicas(confidence, e float64) int {
	newcomer := ErrorRate(cloudcrowd.Record{})
	p, n := e, 1
	for p > (1-confidence)*(1+1e-9) && n < MaxReplicas {
		p *= newcomer
		n++
	}
	return max(n, 2)
}

// Vote is one reported result. Party is who answers for it: votes of one party count once.
type Vote struct {
	N      int32
	Party  string
	Digest cloudcrowd.Digest
}

// State of a quorum.
type State int

const (
	Pending    State = iota // more votes may decide
	Reached                 // Verdict.Digest is canonical
	Impossible              // MaxReplicas votes and no agreement
)

// Verdict is the answer on a set of votes.
type Verdict struct {
	State    State
	Digest   cloudcrowd.Digest
	Best     int // size of the largest agreeing group of parties
	Missing  int // further votes needed if all agree with the largest group
	Disagree bool
}

// Quorum counts the votes. Of two digests that both have enough parties the one with more wins; a tie stays pending, so that a further vote decides.
func Quorum(votes []Vote, need int) Verdict {
	type group struct {
		digest  cloudcrowd.Digest
		parties int
	}
	var few [4]group
	groups := few[:0]
	for i, v := range votes {
		counted := false
		for _, w := range votes[:i] {
			if w.Party == v.Party && w.Digest == v.Digest {
				counted = true
				break
			}
		}
		if counted {
			continue
		}
		found := false
		for j := range groups {
			if groups[j].digest == v.Digest {
				groups[j].parties++
				found = true
			}
		}
		if !found {
			groups = append(groups, group{v.Digest, 1})
		}
	}
	var best, second group
	for _, g := range groups {
		if g.parties > best.parties {
			best, second = g, best
		} else if g.parties > second.parties {
			second = g
		}
	}
	v := Verdict{Best: best.parties, Disagree: len(groups) > 1}
	if best.parties >= need && best.parties > second.parties {
		v.State, v.Digest = Reached, best.digest
		return v
	}
	v.Missing = max(need-best.parties, 1)
	if len(votes) >= MaxReplicas {
		v.State = Impossible
	}
	return v
}
