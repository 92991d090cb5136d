package main

import (
	"errors"
	"math"
)

// Critical point of the potential cut at 2.5 and shifted: B. Smit, Journal of Chemical Physics 96, 8639 (1992).
const (
	criticalTemperature = 1.085
	criticalDensity     = 0.317
)

// near is the distance within which particles count as neighbours, about the first minimum of the radial distribution.
const near = 1.5

// measure equilibrates a system at its temperature, then lets it go on by itself and averages over that time.
func measure(c conditions) (point, error) {
	s := newSystem(c)
	time := 0.004
	if c.temperature > 2 {
		time *= math.Sqrt(2 / c.temperature)
	}
	for step := range c.steps {
		s.step(time)
		if step%10 == 9 {
			s.rescale(c.temperature)
		}
	}
	clear(s.travelled)
	const every = 10
	n := float64(len(s.position))
	volume := s.box * s.box * s.box
	m := structure{system: s}
	p := point{temperature: c.temperature, density: c.density}
	halfway, samples := 0.0, 0.0
	for step := range c.steps {
		s.step(time)
		if step == c.steps/2 {
			halfway = s.meanSquare()
		}
		if step%every != every-1 {
			continue
		}
		samples++
		temperature := s.temperature()
		p.measured += temperature
		p.energy += (s.kinetic() + s.potential) / n
		p.pressure += float64(c.density*temperature) + s.virial/(3*volume)
		p.order += s.order(c.cells)
		if int(samples)%4 == 0 {
			m.sample()
		}
	}
	if m.samples == 0 {
		m.sample() // so few steps that no fourth sample came
	}
	for _, v := range []*float64{&p.measured, &p.energy, &p.pressure, &p.order} {
		*v /= samples
	}
	if math.IsNaN(p.energy) || math.IsInf(p.energy, 0) || p.measured > 10*c.temperature {
		return p, errors.New("the simulation blew up: the steps are too long for these conditions")
	}
	// The mean square distance grows by six times the diffusion coefficient; its first half is left out.
	p.diffusion = max(0, (s.meanSquare()-halfway)/(6*time*float64(c.steps-c.steps/2-1)))
	p.rdfPeak, p.coordination = m.result()
	p.phase = phaseOf(p)
	return p, nil
}

// meanSquare is the mean square distance travelled.
func (s *system) meanSquare() float64 {
	sum := 0.0
	for i := range s.travelled {
		sum += s.travelled[i].square()
	}
	return sum / float64(len(s.travelled))
}

// order is the translational order: how well the particles keep to the four densest families of planes of the lattice
// they began on, from 0 to 1.
func (s *system) order(cells int) float64 {
	wave := float64(cells) / s.box
	total := 0.0
	for _, k := range []vector{{1, 1, 1}, {1, 1, -1}, {1, -1, 1}, {-1, 1, 1}} {
		var sine, cosine float64
		for _, r := range s.position {
			a, b := circle(wave * (float64(k[0]*r[0]) + float64(k[1]*r[1]) + float64(k[2]*r[2])))
			sine, cosine = sine+a, cosine+b
		}
		total += math.Sqrt(float64(sine*sine)+float64(cosine*cosine)) / float64(len(s.position))
	}
	return total / 4
}

// circle is sine and cosine of a number of turns, to about eight digits, with the same bits everywhere.
func circle(turns float64) (sine, cosine float64) {
	turns -= math.Floor(turns + 0.5)
	// A quarter of the angle by its series, then doubled twice.
	x := float64(turns * (math.Pi / 2))
	x2 := float64(x * x)
	sine = x * (1 - float64(x2*(1./6)*(1-float64(x2*(1./20)*(1-float64(x2*(1./42)*(1-float64(x2*(1./72)))))))))
	cosine = 1 - float64(x2*(1./2)*(1-float64(x2*(1./12)*(1-float64(x2*(1./30)*(1-float64(x2*(1./56)*(1-float64(x2*(1./90))))))))))
	for range 2 {
		sine, cosine = 2*float64(sine*cosine), float64(cosine*cosine)-float64(sine*sine)
	}
	return sine, cosine
}

// structure collects how particles lie around each other.
type structure struct {
	system  *system
	samples int
	pairs   [64]int // by distance, in steps of a sixty-fourth of the reach
	close   int     // within near
}

// reach is how far distances are looked at.
func (m *structure) reach() float64 { return min(3, m.system.box/2) }

func (m *structure) sample() {
	m.samples++
	s, reach := m.system, m.reach()
	for i := range s.position {
		for j := i + 1; j < len(s.position); j++ {
			r2 := s.between(i, j).square()
			if r2 < near*near {
				m.close++
			}
			if r2 < reach*reach {
				if bin := int(math.Sqrt(r2) / reach * float64(len(m.pairs))); bin < len(m.pairs) {
					m.pairs[bin]++
				}
			}
		}
	}
}

// result is the highest value of the radial distribution function and the mean number of near neighbours.
func (m *structure) result() (peak, coordination float64) {
	n := float64(len(m.system.position))
	samples := float64(max(1, m.samples))
	width := m.reach() / float64(len(m.pairs))
	density := n / (m.system.box * m.system.box * m.system.box)
	for bin, pairs := range m.pairs {
		inner, outer := width*float64(bin), width*float64(bin+1)
		shell := 4 * math.Pi / 3 * (float64(outer*outer*outer) - float64(inner*inner*inner))
		peak = max(peak, 2*float64(pairs)/(samples*n*density*shell))
	}
	return peak, 2 * float64(m.close) / (samples * n)
}

// phaseOf guesses the phase: solid if it keeps the order of the crystal it began as. Below the critical temperature, a
// gas beside something denser ("coexistence") if particles have many more neighbours than their density would give them
// evenly spread, or if the pressure is negative, which no single phase can keep up. Otherwise by the critical point.
func phaseOf(p point) string {
	crowding := p.coordination / (p.density * 4 * math.Pi / 3 * near * near * near)
	switch {
	case p.order > 0.35:
		return "solid"
	case p.temperature > criticalTemperature:
		return "fluid"
	case p.density < 0.9 && (crowding > 1.5 || p.pressure < 0):
		return "coexistence"
	case p.density < criticalDensity:
		return "gas"
	}
	return "liquid"
}
