package main

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
)

// model is everything a path depends on, besides its number.
type model struct {
	Estimate estimate `json:"estimate"`
	Seed     uint64   `json:"seed"`
	Horizon  int      `json:"horizon"` // months
	Strike   float64  `json:"strike"`  // per cent of the last level
	Rate     float64  `json:"rate"`    // a year, continuously compounded
}

func (m model) validate() error {
	switch {
	case m.Horizon < 1 || m.Horizon > 1200:
		return fmt.Errorf("-horizon %d: must be from 1 to 1200 months", m.Horizon)
	case !(m.Strike > 0 && m.Strike <= 1e6):
		return fmt.Errorf("-strike %v: must be above 0, in per cent of the last level", m.Strike)
	case !(m.Rate >= -0.5 && m.Rate <= 1):
		return fmt.Errorf("-rate %v: must be from -0.5 to 1 a year", m.Rate)
	}
	return nil
}

const (
	// payoffUnit is the resolution of a payoff, as a share of the last level. Payoffs are added as whole numbers of it.
	payoffUnit = 1.0 / (1 << 32)
	// maxPayoff bounds a single payoff so that it, and sums of its square over 2^32 paths, cannot overflow.
	maxPayoff = 1 << 15
	// returnUnit is the resolution of returns: one basis point. Losses are rounded up to it.
	returnUnit = 1e-4
	// maxReturnBin is the bin of every return above it: +10,000 %.
	maxReturnBin = 1_000_000
)

// partial is what a set of paths adds up to. All of it are whole numbers, so adding is exact and in any order.
type partial struct {
	Model    model      `json:"model"`
	Paths    uint64     `json:"paths"`
	European moments    `json:"european"`
	Asian    moments    `json:"asian"`
	Returns  [][2]int64 `json:"returns"` // bin b, ascending, and the number of paths with a return in [b, b+1) basis points
}

// moments are the sums of payoffs and of their squares, in payoffUnit and its square.
type moments struct {
	Sum     wide `json:"sum"`
	Squares wide `json:"squares"`
}

func (m *moments) count(payoff float64) {
	units := uint64(min(payoff, maxPayoff)/payoffUnit + 0.5)
	m.Sum = m.Sum.plus(wide{0, units})
	high, low := bits.Mul64(units, units)
	m.Squares = m.Squares.plus(wide{high, low})
}

func (m moments) plus(other moments) moments {
	return moments{m.Sum.plus(other.Sum), m.Squares.plus(other.Squares)}
}

// wide is an unsigned number of 128 bits; in JSON 32 hexadecimal digits.
type wide struct{ high, low uint64 }

func (w wide) plus(other wide) wide {
	low, carry := bits.Add64(w.low, other.low, 0)
	high, _ := bits.Add64(w.high, other.high, carry)
	return wide{high, low}
}

func (w wide) float() float64 { return float64(float64(w.high)*(1<<64)) + float64(w.low) }

// MarshalText prints 32 hexadecimal digits.
func (w wide) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%016x%016x", w.high, w.low), nil
}

// UnmarshalText reads what MarshalText printed.
func (w *wide) UnmarshalText(text []byte) error {
	if len(text) != 32 {
		return fmt.Errorf("%q: must have 32 hexadecimal digits", text)
	}
	var err error
	if w.high, err = strconv.ParseUint(string(text[:16]), 16, 64); err != nil {
		return err
	}
	w.low, err = strconv.ParseUint(string(text[16:]), 16, 64)
	return err
}

// simulate runs the paths from..to-1. Every path draws one normal number a month. With the estimated drift it is a
// possible future of the index; with the riskless rate as drift it prices options.
func simulate(m model, from, to uint64) partial {
	p := partial{Model: m, Paths: to - from}
	histogram := map[int64]int64{}
	key := [2]uint32{uint32(m.Seed), uint32(m.Seed >> 32)}
	s := m.Estimate.Volatility
	riskless := m.Rate/12 - float64(0.5*float64(s*s))
	strike := m.Strike / 100
	discount := exponential(-float64(m.Rate*float64(m.Horizon)) / 12)
	for path := from; path < to; path++ {
		var z [2]float64
		var walk, average, level float64
		for month := range m.Horizon {
			if month%2 == 0 {
				words := philox([4]uint32{uint32(path), uint32(path >> 32), uint32(month / 2), 0}, key)
				z[0] = normal(uniform(words[0], words[1]))
				z[1] = normal(uniform(words[2], words[3]))
			}
			walk += z[month%2]
			level = exponential(float64(riskless*float64(month+1)) + float64(s*walk))
			average += level
		}
		average /= float64(m.Horizon)
		p.European.count(float64(discount * max(0, level-strike)))
		p.Asian.count(float64(discount * max(0, average-strike)))
		growth := exponential(float64(m.Estimate.Drift*float64(m.Horizon)) + float64(s*walk))
		bin := math.Floor((growth - 1) / returnUnit)
		histogram[int64(min(bin, maxReturnBin))]++
	}
	p.Returns = make([][2]int64, 0, len(histogram))
	for bin, n := range histogram {
		p.Returns = append(p.Returns, [2]int64{bin, n})
	}
	slices.SortFunc(p.Returns, func(a, b [2]int64) int { return int(a[0] - b[0]) })
	return p
}

// uniform makes a number in (0, 1) of 53 random bits; never 0 or 1.
func uniform(high, low uint32) float64 {
	word := uint64(high)<<32 | uint64(low)
	return (float64(word>>12) + 0.5) / (1 << 52)
}

// add joins two partial results of the same model.
func add(a, b partial) partial {
	sum := partial{Model: a.Model, Paths: a.Paths + b.Paths, European: a.European.plus(b.European), Asian: a.Asian.plus(b.Asian)}
	for len(a.Returns) > 0 || len(b.Returns) > 0 {
		switch {
		case len(b.Returns) == 0 || len(a.Returns) > 0 && a.Returns[0][0] < b.Returns[0][0]:
			sum.Returns = append(sum.Returns, a.Returns[0])
			a.Returns = a.Returns[1:]
		case len(a.Returns) == 0 || b.Returns[0][0] < a.Returns[0][0]:
			sum.Returns = append(sum.Returns, b.Returns[0])
			b.Returns = b.Returns[1:]
		default:
			sum.Returns = append(sum.Returns, [2]int64{a.Returns[0][0], a.Returns[0][1] + b.Returns[0][1]})
			a.Returns, b.Returns = a.Returns[1:], b.Returns[1:]
		}
	}
	return sum
}
