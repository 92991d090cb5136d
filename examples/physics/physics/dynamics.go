package main

import "math"

// Every product is rounded before it is added (float64(a*b)), because a compiler may otherwise fuse the two on some
// processors, and trajectories are chaotic: one bit would change all digits.

// vector is a point or a velocity in space.
type vector [3]float64

func (v vector) square() float64 {
	return float64(v[0]*v[0]) + float64(v[1]*v[1]) + float64(v[2]*v[2])
}

// skin is how much farther than the cutoff the neighbour list reaches, so that it need not be made anew at each step.
const skin = 0.3

// system is a cubic periodic box of particles that attract and repel by the Lennard-Jones potential, cut at the cutoff
// and shifted to be zero there.
type system struct {
	box, cutoff float64
	position    []vector
	travelled   []vector // since the measurement began, across borders
	velocity    []vector
	force       []vector
	neighbours  []int32 // of particle i: those after it that may come within reach, from starts[i] to starts[i+1]
	starts      []int32
	listed      []vector // positions when the list was made

	potential float64
	virial    float64 // sum of distance times force over all pairs
}

// newSystem puts particles on a face-centred cubic lattice and gives them random velocities of the wanted temperature
// and no total momentum.
func newSystem(c conditions) *system {
	n := 4 * c.cells * c.cells * c.cells
	s := &system{box: cubeRoot(float64(n) / c.density)}
	s.cutoff = min(2.5, s.box/2)
	edge := s.box / float64(c.cells)
	for x := range c.cells {
		for y := range c.cells {
			for z := range c.cells {
				for _, corner := range []vector{{0.25, 0.25, 0.25}, {0.75, 0.75, 0.25}, {0.75, 0.25, 0.75}, {0.25, 0.75, 0.75}} {
					s.position = append(s.position, vector{
						(float64(x) + corner[0]) * edge, (float64(y) + corner[1]) * edge, (float64(z) + corner[2]) * edge})
				}
			}
		}
	}
	s.travelled, s.velocity, s.force = make([]vector, n), make([]vector, n), make([]vector, n)
	random := source(c.seed ^ math.Float64bits(c.temperature)*3 ^ math.Float64bits(c.density)*5)
	var mean vector
	for i := range s.velocity {
		for d := range 3 {
			// The sum of twelve uniform numbers is close enough to normal: collisions do the rest.
			v := -6.0
			for range 12 {
				v += random.uniform()
			}
			s.velocity[i][d] = v
			mean[d] += v
		}
	}
	for i := range s.velocity {
		for d := range 3 {
			s.velocity[i][d] -= mean[d] / float64(n)
		}
	}
	s.rescale(c.temperature)
	s.list()
	s.forces()
	return s
}

// list collects the pairs that may come within the cutoff before any particle has moved by half the skin, and wraps
// positions to the box.
func (s *system) list() {
	for i := range s.position {
		for d := range 3 {
			if s.position[i][d] < 0 {
				s.position[i][d] += s.box
			} else if s.position[i][d] >= s.box {
				s.position[i][d] -= s.box
			}
		}
	}
	s.neighbours, s.starts = s.neighbours[:0], append(s.starts[:0], 0)
	reach := float64((s.cutoff + skin) * (s.cutoff + skin))
	for i := range s.position {
		for j := i + 1; j < len(s.position); j++ {
			if s.between(i, j).square() < reach {
				s.neighbours = append(s.neighbours, int32(j))
			}
		}
		s.starts = append(s.starts, int32(len(s.neighbours)))
	}
	s.listed = append(s.listed[:0], s.position...)
}

// between is the shortest way from j to i through the periodic box.
func (s *system) between(i, j int) vector {
	a, b, half := &s.position[i], &s.position[j], s.box/2
	var v vector
	for d := range 3 {
		x := a[d] - b[d]
		if x > half {
			x -= s.box
		} else if x < -half {
			x += s.box
		}
		v[d] = x
	}
	return v
}

// forces computes force, potential and virial from the positions.
func (s *system) forces() {
	clear(s.force)
	limit := float64(s.cutoff * s.cutoff)
	_, shift := pair(limit)
	var potential, virial float64
	box, boxes := s.box, 1/s.box
	position, force := s.position, s.force[:len(s.position)]
	for i := range position {
		a := position[i]
		var fx, fy, fz float64
		for _, j := range s.neighbours[s.starts[i]:s.starts[i+1]] {
			b := &position[j]
			x, y, z := a[0]-b[0], a[1]-b[1], a[2]-b[2]
			// The nearest image, without a branch: jumps are dear in WASM, rounding down is one instruction.
			x -= float64(box * math.Floor(float64(x*boxes)+0.5))
			y -= float64(box * math.Floor(float64(y*boxes)+0.5))
			z -= float64(box * math.Floor(float64(z*boxes)+0.5))
			r2 := float64(x*x) + float64(y*y) + float64(z*z)
			if r2 >= limit {
				continue
			}
			// As in pair, written out because calls are dear in WASM.
			inverse2 := 1 / r2
			inverse6 := float64(inverse2 * inverse2 * inverse2)
			strength := float64(float64(48*inverse6)*(inverse6-0.5)) * inverse2
			potential += float64(float64(4*inverse6)*(inverse6-1)) - shift
			virial += float64(strength * r2)
			x, y, z = float64(strength*x), float64(strength*y), float64(strength*z)
			fx, fy, fz = fx+x, fy+y, fz+z
			f := &force[j]
			f[0], f[1], f[2] = f[0]-x, f[1]-y, f[2]-z
		}
		f := &force[i]
		f[0], f[1], f[2] = f[0]+fx, f[1]+fy, f[2]+fz
	}
	s.potential, s.virial = potential, virial
}

// pair is the Lennard-Jones force divided by the distance, and the energy, at a squared distance.
func pair(r2 float64) (strength, energy float64) {
	inverse2 := 1 / r2
	inverse6 := float64(inverse2 * inverse2 * inverse2)
	strength = float64(float64(48*inverse6)*(inverse6-0.5)) * inverse2
	return strength, float64(float64(4*inverse6) * (inverse6 - 1))
}

// step moves the system on by a time, by the velocity form of Verlet's rule.
func (s *system) step(time float64) {
	half := time / 2
	farthest := 0.0
	for i := range s.position {
		v, f := &s.velocity[i], &s.force[i]
		var moved vector
		for d := range 3 {
			v[d] += float64(half * f[d])
			way := float64(time * v[d])
			s.position[i][d] += way
			s.travelled[i][d] += way
			moved[d] = s.position[i][d] - s.listed[i][d]
		}
		farthest = max(farthest, moved.square())
	}
	if farthest > skin*skin/4 {
		s.list()
	}
	s.forces()
	for i := range s.velocity {
		v, f := &s.velocity[i], &s.force[i]
		for d := range 3 {
			v[d] += float64(half * f[d])
		}
	}
}

// kinetic is the kinetic energy of all particles.
func (s *system) kinetic() float64 {
	sum := 0.0
	for i := range s.velocity {
		sum += s.velocity[i].square()
	}
	return sum / 2
}

// temperature is the kinetic temperature; the total momentum, which is zero, takes three degrees of freedom.
func (s *system) temperature() float64 { return 2 * s.kinetic() / float64(3*len(s.velocity)-3) }

// rescale sets the kinetic temperature.
func (s *system) rescale(temperature float64) {
	scale := math.Sqrt(temperature / s.temperature())
	for i := range s.velocity {
		for d := range 3 {
			s.velocity[i][d] *= scale
		}
	}
}

// cubeRoot is the cube root of a positive number by Newton's rule, with the same bits everywhere.
func cubeRoot(v float64) float64 {
	x := max(1, v)
	for range 200 {
		next := (float64(2*x) + v/float64(x*x)) / 3
		if math.Abs(next-x) <= 1e-15*x {
			return next
		}
		x = next
	}
	return x
}

// source is the generator SplitMix64 of Steele, Lea and Flood (2014).
type source uint64

func (s *source) uniform() float64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64((z^z>>31)>>11) / (1 << 53)
}
