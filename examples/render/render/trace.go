package main

import (
	"image"
	"image/color"
	"math"
)

// maxBounces is how often a path is followed from surface to surface.
const maxBounces = 4

// render traces the pixels of one tile of the picture. The result's bounds begin at 0, 0.
func render(s *scene, v view, tile image.Rectangle) *image.RGBA {
	picture := image.NewRGBA(image.Rect(0, 0, tile.Dx(), tile.Dy()))
	for y := tile.Min.Y; y < tile.Max.Y; y++ {
		for x := tile.Min.X; x < tile.Max.X; x++ {
			picture.SetRGBA(x-tile.Min.X, y-tile.Min.Y, s.pixel(v, x, y))
		}
	}
	return picture
}

// pixel is the mean of the light along all paths through a pixel.
func (s *scene) pixel(v view, x, y int) color.RGBA {
	var sum vector
	for number := range v.samples {
		random := newSource(v.seed, x, y, number)
		dx, dy := random.pair()
		right := float64(2*(float64(x)+dx)/float64(v.width)) - 1
		up := 1 - float64(2*(float64(y)+dy)/float64(v.height))
		c := &s.camera
		direction := c.forward.plus(c.right.times(right)).plus(c.up.times(up)).unit()
		light := s.light(ray{c.place, direction}, &random)
		// A single very bright path would stay as a speck.
		sum = sum.plus(lower(light, vector{6, 6, 6}))
	}
	mean := sum.times(1 / float64(v.samples))
	return color.RGBA{tone(mean.x), tone(mean.y), tone(mean.z), 255}
}

// light follows a path backwards and adds up what reaches it: from the sun at every surface, from the sky at its end.
func (s *scene) light(r ray, random *source) vector {
	var sum vector
	weight := vector{1, 1, 1}
	for bounce := 0; ; bounce++ {
		point, normal, colour, haze, ok := s.meet(r)
		if !ok {
			return sum.plus(weight.by(sky(r.direction)))
		}
		if haze > 0 {
			horizon := sky(vector{r.direction.x, 0, r.direction.z})
			sum = sum.plus(weight.by(horizon).times(haze))
			weight = weight.times(1 - haze)
		}
		if bounce == maxBounces {
			return sum
		}
		weight = weight.by(colour)
		// The sun, at a random point of its disc.
		a, b := random.pair()
		sine, cosine := circle(a)
		radius := float64(sunSize * math.Sqrt(b))
		sun := around(toSun, vector{float64(radius * cosine), float64(radius * sine), 1}).unit()
		if facing := normal.dot(sun); facing > 0 && s.tree.nearest(ray{point, sun}, 1e300, true).triangle < 0 {
			sum = sum.plus(weight.by(sunlight).times(facing / math.Pi))
		}
		// On, in a random direction, most often near the normal.
		a, b = random.pair()
		sine, cosine = circle(a)
		radius = math.Sqrt(b)
		r = ray{point, around(normal, vector{float64(radius * cosine), float64(radius * sine), math.Sqrt(max(0, 1-b))}).unit()}
		// Dark paths end by chance; the others stand for them.
		if bounce >= 2 {
			survive := min(1, max(weight.x, weight.y, weight.z))
			a, _ = random.pair()
			if a >= survive {
				return sum
			}
			weight = weight.times(1 / survive)
		}
	}
}

// meet finds the first surface on a ray: a point just above it, its normal towards the ray, its colour, and how much of
// it the haze hides.
func (s *scene) meet(r ray) (point, normal, colour vector, haze float64, ok bool) {
	ground := math.Inf(1)
	if r.direction.y < 0 {
		ground = -r.origin.y / r.direction.y
	}
	h := s.tree.nearest(r, min(ground, 1e300), false)
	switch {
	case h.triangle >= 0:
		tri := &s.tree.triangles[h.triangle]
		normal = tri.normals[0].times(1 - h.u - h.v).plus(tri.normals[1].times(h.u)).plus(tri.normals[2].times(h.v)).unit()
		flat := tri.edge1.cross(tri.edge2).unit()
		if flat.dot(r.direction) > 0 {
			flat = flat.times(-1)
		}
		if normal.dot(flat) < 0 {
			normal = normal.times(-1)
		}
		if normal.dot(r.direction) > 0 || normal == (vector{}) {
			normal = flat
		}
		point = r.at(h.distance)
		return point.plus(flat.times(1e-4)), normal, s.surface(point), 0, true
	case !math.IsInf(ground, 1):
		point = r.at(ground)
		far := float64(point.x*point.x) + float64(point.z*point.z)
		return vector{point.x, 1e-4, point.z}, vector{0, 1, 0}, floor(point), smooth(16, 700, far), true
	}
	return point, normal, colour, 0, false
}

// tone turns an amount of light to a byte: brighter tones are compressed, then encoded as sRGB by the fit of
// C. Lottes and others in square roots.
func tone(v float64) uint8 {
	v = float64(v*(1+float64(0.12*v))) / (1 + float64(0.42*v))
	a := math.Sqrt(max(0, v))
	b := math.Sqrt(a)
	c := math.Sqrt(b)
	v = float64(0.662002687*a) + float64(0.684122060*b) - float64(0.323583601*c) - float64(0.0225411470*v)
	return uint8(max(0, min(255, float64(v*255)+0.5)))
}

// source gives pairs of random numbers to one path. The paths through a pixel spread evenly in every pair: they walk in
// steps of the plastic number (M. Roberts' R2 sequence) from a random start.
type source struct {
	state, number uint64
}

func newSource(seed uint64, x, y, number int) source {
	return source{scramble(scramble(seed*0x9e3779b97f4a7c15^uint64(x)<<32) ^ uint64(y)), uint64(number)}
}

// pair returns two numbers from 0 to 1, without 1.
func (s *source) pair() (float64, float64) {
	s.state += 0x9e3779b97f4a7c15
	h := scramble(s.state)
	g := scramble(h ^ 0xd1b54a32d192ed03)
	// The steps are 1/p and 1/p² of the plastic number p = 1.3247…, in units of 2^-64.
	a := h + s.number*0xc13fa9a902a6328f
	b := g + s.number*0x91e10da5c79e7b1d
	return float64(a>>11) / (1 << 53), float64(b>>11) / (1 << 53)
}
