// Package market prices work: what an attempt's metered usage costs under a posted price vector, and how it is shared between worker owner and platform.
package market

import (
	"math"
	"slices"

	"cloudcrowd.dev/cloudcrowd"
)

// CoreSeconds normalises an attempt's CPU time by its worker's speed (1.0 = the reference core). A claim of more CPU time than wall time
// observed by the server allows is cut to it, so that no worker is paid for time that has not passed. observed is in seconds; 0 means unknown.
func CoreSeconds(u cloudcrowd.Usage, speed, observed float64, cores int) float64 {
	cpu := u.CPUSeconds
	if limit := observed * float64(max(cores, 1)); observed > 0 && cpu > limit {
		cpu = limit
	}
	if cpu < 0 || math.IsNaN(cpu) || math.IsInf(cpu, 0) {
		cpu = 0
	}
	return cpu * clampSpeed(speed)
}

// clampSpeed bounds a claimed speed: nobody is paid for more than 8 reference cores in one.
func clampSpeed(s float64) float64 {
	if !(s > 0.01) {
		return 0.01
	}
	return math.Min(s, 8)
}

// LowerMedian returns the lower of the middle values: with two claims the smaller one, so that overstating gains nothing unless most replicas overstate.
func LowerMedian(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Clone(v)
	slices.Sort(s)
	return s[(len(s)-1)/2]
}

// Gross is the price of one accepted attempt in micro-credits: core-seconds, memory over time and output kept, rounded up, at least p.Minimum.
func Gross(p cloudcrowd.Prices, coreSeconds, wallSeconds float64, peakMemoryBytes, outputBytes int64) cloudcrowd.Credits {
	const gib = 1 << 30
	amount := p.CoreSecond*coreSeconds +
		p.MemoryGiBSecond*math.Max(wallSeconds, 0)*float64(max(peakMemoryBytes, 0))/gib +
		p.StorageGiB*float64(max(outputBytes, 0))/gib
	if math.IsNaN(amount) || amount < 0 {
		amount = 0
	}
	if amount > math.MaxInt64/4 {
		amount = math.MaxInt64 / 4
	}
	return max(cloudcrowd.Credits(math.Ceil(amount)), p.Minimum)
}

// Fee is the platform's part of gross, rounded down.
func Fee(p cloudcrowd.Prices, gross cloudcrowd.Credits) cloudcrowd.Credits {
	if !(p.FeePercent > 0) || gross <= 0 {
		return 0
	}
	return min(cloudcrowd.Credits(math.Floor(float64(gross)*math.Min(p.FeePercent, 100)/100)), gross)
}

// Ceiling is what one attempt may cost at most within a time on the reference core, for reserving budget before it runs.
func Ceiling(p cloudcrowd.Prices, coreSeconds float64, r cloudcrowd.Resources) cloudcrowd.Credits {
	return Gross(p, coreSeconds, coreSeconds, r.MemoryBytes, r.OutputBytes)
}
