package main

import (
	"math"
	"math/bits"
)

// scene is a mesh on a floor under a sky with a sun.
type scene struct {
	tree   *tree
	paint  string
	turn   [2]float64 // sine and cosine
	height float64    // of the mesh
	depth  float64    // of the mesh along z before it was turned
	camera camera
}

// camera looks from a place along forward; right and up span the picture at distance 1.
type camera struct{ place, forward, right, up vector }

var (
	toSun    = vector{-0.55, 0.80, 0.52}.unit()
	sunlight = vector{4.5, 3.9, 3.0} // on a surface that faces the sun
)

// sunSize is the radius of the sun's disc seen from distance 1; the real one has 0.0047 and sharper shadows.
const sunSize = 0.085

// newScene puts the mesh on the floor, scaled to a width of 2, turned, with the camera aimed at it.
func newScene(m *mesh, v view) *scene {
	low, high := m.bounds()
	size := high.minus(low)
	scale := 2 / max(size.x, size.y, size.z, 1e-300)
	base := vector{(low.x + high.x) / 2, low.y, (low.z + high.z) / 2}
	s := &scene{paint: v.paint, height: float64(size.y * scale), depth: float64(size.z * scale)}
	// At rest the mesh looks past the camera to the left.
	s.turn[0], s.turn[1] = circle(v.turn - 0.37)
	place := func(p vector) vector { return s.turned(p.minus(base).times(scale)) }
	triangles := make([]triangle, 0, len(m.triangles))
	for _, t := range m.triangles {
		a, b, c := place(m.points[t.point[0]]), place(m.points[t.point[1]]), place(m.points[t.point[2]])
		tri := triangle{corner: a, edge1: b.minus(a), edge2: c.minus(a), low: lower(a, lower(b, c)), high: upper(a, upper(b, c))}
		tri.centre = tri.low.plus(tri.high).times(0.5)
		for i, normal := range t.normal {
			tri.normals[i] = s.turned(m.normals[normal])
		}
		triangles = append(triangles, tri)
	}
	s.tree = newTree(triangles)
	target := vector{0, 0.46 * s.height, 0}
	eye := vector{0, float64(0.55*s.height) + 0.75, 5.4}
	forward := target.minus(eye).unit()
	right := forward.cross(vector{0, 1, 0}).unit()
	// The picture is as wide as the mesh needs at the camera's distance, or as high, whichever takes more.
	half := max(0.24, 0.215*float64(v.width)/float64(v.height))
	right = right.times(half)
	up := right.cross(forward).times(float64(v.height) / float64(v.width))
	s.camera = camera{eye, forward, right, up}
	return s
}

// turned rotates around the vertical axis.
func (s *scene) turned(p vector) vector {
	return vector{
		float64(s.turn[1]*p.x) + float64(s.turn[0]*p.z), p.y,
		float64(s.turn[1]*p.z) - float64(s.turn[0]*p.x),
	}
}

// unturned undoes turned.
func (s *scene) unturned(p vector) vector {
	return vector{
		float64(s.turn[1]*p.x) - float64(s.turn[0]*p.z), p.y,
		float64(s.turn[1]*p.z) + float64(s.turn[0]*p.x),
	}
}

// sky is the light that comes from a direction, apart from the sun's.
func sky(direction vector) vector {
	share := max(0, direction.y)
	return vector{0.66, 0.77, 0.92}.mix(vector{0.13, 0.28, 0.66}, 1-float64((1-share)*(1-share)))
}

// surface is the colour of the mesh at a point.
func (s *scene) surface(point vector) vector {
	if s.paint == "clay" {
		return vector{0.72, 0.45, 0.33}
	}
	p := s.unturned(point)
	if p.y < 0.075*s.height {
		return vector{0.09, 0.075, 0.065} // hooves
	}
	if p.y > 0.925*s.height {
		return vector{0.70, 0.60, 0.42} // horns
	}
	// The eyes, on both sides of the head: a glint, the eye, a rim.
	front := (p.z + s.depth/2) / s.depth
	eye := vector{0, p.y/s.height - 0.74, (front - 0.165) * s.depth / s.height}
	glint := eye.minus(vector{0, 0.012, -0.010})
	switch {
	case front > 0.3 || eye.dot(eye) > 0.0022:
	case glint.dot(glint) < 0.00009:
		return vector{0.9, 0.9, 0.9}
	case eye.dot(eye) < 0.0014:
		return vector{0.015, 0.013, 0.015}
	default:
		return vector{0.86, 0.83, 0.78}
	}
	white, dark := vector{0.86, 0.83, 0.78}, vector{0.085, 0.06, 0.05}
	// Patches: two octaves of noise, with a soft edge.
	n := noise(p.times(2.1).plus(vector{7.3, 1.9, 4.4})) + float64(0.35*noise(p.times(5.2)))
	colour := white.mix(dark, smooth(0.03, 0.06, n-0.72))
	// The muzzle, at the front end of the mesh.
	return colour.mix(vector{0.80, 0.47, 0.44}, 1-smooth(0.06, 0.085, front))
}

// floor is the colour of the ground at a point: broad tiles that fade with the distance.
func floor(p vector) vector {
	light := vector{0.36, 0.45, 0.19}
	if (int(math.Floor(p.x/0.8))+int(math.Floor(p.z/0.8)))&1 == 0 {
		light = vector{0.29, 0.38, 0.14}
	}
	return light
}

// smooth goes from 0 to 1 between two edges.
func smooth(from, to, v float64) float64 {
	v = max(0, min(1, (v-from)/(to-from)))
	return float64(float64(v*v) * (3 - 2*v))
}

// noise is a smooth random number between 0 and 1 at every point of space.
func noise(p vector) float64 {
	x, y, z := math.Floor(p.x), math.Floor(p.y), math.Floor(p.z)
	u, v, w := smooth(0, 1, p.x-x), smooth(0, 1, p.y-y), smooth(0, 1, p.z-z)
	corner := func(dx, dy, dz float64) float64 {
		h := scramble(uint64(int64(x+dx))*0x9e3779b97f4a7c15 ^ bits.RotateLeft64(uint64(int64(y+dy))*0xc2b2ae3d27d4eb4f, 21) ^
			bits.RotateLeft64(uint64(int64(z+dz))*0x165667b19e3779f9, 42))
		return float64(h>>11) / (1 << 53)
	}
	line := func(a, b, share float64) float64 { return a + float64((b-a)*share) }
	return line(
		line(line(corner(0, 0, 0), corner(1, 0, 0), u), line(corner(0, 1, 0), corner(1, 1, 0), u), v),
		line(line(corner(0, 0, 1), corner(1, 0, 1), u), line(corner(0, 1, 1), corner(1, 1, 1), u), v), w)
}

// scramble is the mixing function of SplitMix64 (Steele, Lea and Flood, 2014).
func scramble(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
