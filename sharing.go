package cloudcrowd

import "time"

// Sharing is how an operator lets requesters share the workers. The zero value treats all alike. docs/scheduling.md has the rule.
type Sharing struct {
	HalfLife Duration              // after which what a requester has used counts half; 0: DefaultHalfLife
	Weights  map[AccountID]float64 // of the shares; 1 where nothing is said, above 0
	Quota    int                   // most attempts that a requester may have running at once; 0: no bound
	Quotas   map[AccountID]int     // the same for some accounts; 0: no bound
}

// DefaultHalfLife is Sharing's.
const DefaultHalfLife = Duration(time.Hour)

// Weight is an account's.
func (s *Sharing) Weight(a AccountID) float64 {
	if w := s.Weights[a]; w > 0 {
		return w
	}
	return 1
}

// QuotaOf is an account's; 0: no bound.
func (s *Sharing) QuotaOf(a AccountID) int {
	if n, ok := s.Quotas[a]; ok {
		return n
	}
	return s.Quota
}
