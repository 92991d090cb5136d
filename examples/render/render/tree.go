package main

import "math"

// tree finds the nearest triangle that a ray hits, by boxes within boxes.
type tree struct {
	nodes     []node
	triangles []triangle
	scratch   []triangle // while it is built
}

// node is a box, given by its centre and half its size. A leaf holds triangles first..first+count-1; an inner node (count 0) has its children at first and
// first+1.
type node struct {
	centre, half vector
	first, count int32
}

// triangle is prepared for intersection: a corner, two edges, and the normals at the three corners.
type triangle struct {
	corner, edge1, edge2 vector
	normals              [3]vector
	centre               vector
	low, high            vector
}

// leafSize is how many triangles a box may hold before it is split.
const leafSize = 4

func newTree(triangles []triangle) *tree {
	t := &tree{triangles: triangles}
	t.nodes = append(t.nodes, node{first: 0, count: int32(len(triangles))})
	t.split(0)
	t.scratch = nil
	return t
}

// split divides a node where the surface area heuristic expects the least work, at one of sixteen planes an axis.
func (t *tree) split(at int) {
	n := &t.nodes[at]
	list := t.triangles[n.first : n.first+n.count]
	low, high := list[0].centre, list[0].centre
	boxLow, boxHigh := list[0].low, list[0].high
	for i := range list {
		tri := &list[i]
		boxLow, boxHigh = lower(boxLow, tri.low), upper(boxHigh, tri.high)
		low, high = lower(low, tri.centre), upper(high, tri.centre)
	}
	// A little larger than the triangles, so that rounding loses no hit.
	n.centre = boxLow.plus(boxHigh).times(0.5)
	n.half = boxHigh.minus(boxLow).times(0.5 + 1e-9).plus(vector{1e-9, 1e-9, 1e-9})
	if len(list) <= leafSize {
		return
	}
	const planes = 16
	best, bestAxis, bestPlane := math.Inf(1), -1, 0.0
	for axis := range 3 {
		from, size := low.axis(axis), high.axis(axis)-low.axis(axis)
		if size <= 0 {
			continue
		}
		type bin struct {
			low, high vector
			count     int
		}
		var bins [planes]bin
		for i := range list {
			tri := &list[i]
			b := &bins[min(planes-1, int((tri.centre.axis(axis)-from)/size*planes))]
			if b.count == 0 {
				b.low, b.high = tri.low, tri.high
			}
			b.low, b.high, b.count = lower(b.low, tri.low), upper(b.high, tri.high), b.count+1
		}
		var right [planes]float64
		join := func(sum *bin, b bin) {
			if b.count > 0 {
				if sum.count == 0 {
					sum.low, sum.high = b.low, b.high
				}
				sum.low, sum.high, sum.count = lower(sum.low, b.low), upper(sum.high, b.high), sum.count+b.count
			}
		}
		var sum bin
		for i := planes - 1; i > 0; i-- {
			join(&sum, bins[i])
			right[i] = float64(sum.count) * area(sum.low, sum.high)
		}
		sum = bin{}
		for i := range planes - 1 {
			join(&sum, bins[i])
			cost := float64(float64(sum.count)*area(sum.low, sum.high)) + right[i+1]
			if sum.count > 0 && sum.count < len(list) && cost < best {
				best, bestAxis, bestPlane = cost, axis, float64(i+1)
			}
		}
	}
	if bestAxis < 0 {
		return // all centres in one point
	}
	from, size := low.axis(bestAxis), high.axis(bestAxis)-low.axis(bestAxis)
	// Left triangles move to the front in their order, the others behind them in theirs.
	middle := 0
	t.scratch = t.scratch[:0]
	for i := range list {
		if float64(min(planes-1, int((list[i].centre.axis(bestAxis)-from)/size*planes))) < bestPlane {
			list[middle] = list[i]
			middle++
		} else {
			t.scratch = append(t.scratch, list[i])
		}
	}
	copy(list[middle:], t.scratch)
	first, count := n.first, n.count
	children := len(t.nodes)
	n.first, n.count = int32(children), 0
	t.nodes = append(t.nodes, node{first: first, count: int32(middle)}, node{first: first + int32(middle), count: count - int32(middle)})
	t.split(children)
	t.split(children + 1)
}

// area is half the surface of a box.
func area(low, high vector) float64 {
	d := high.minus(low)
	return float64(d.x*d.y) + float64(d.y*d.z) + float64(d.z*d.x)
}

// ray is a half line. The direction has length 1.
type ray struct{ origin, direction vector }

// at is the point at a distance along the ray.
func (r ray) at(distance float64) vector { return r.origin.plus(r.direction.times(distance)) }

// hit is where a ray meets a triangle: u and v are the shares of the second and third corner.
type hit struct {
	distance, u, v float64
	triangle       int32 // -1: none
}

// nearest finds the first triangle nearer than limit. With anyHit it returns the first one it comes upon.
func (t *tree) nearest(r ray, limit float64, anyHit bool) hit {
	best := hit{distance: limit, triangle: -1}
	inverse := vector{1 / r.direction.x, 1 / r.direction.y, 1 / r.direction.z}
	size := vector{math.Abs(inverse.x), math.Abs(inverse.y), math.Abs(inverse.z)}
	var stack [64]int32
	depth := 0
	current := int32(0)
	if enters(&t.nodes[0], r.origin, inverse, size, best.distance) > best.distance {
		return best
	}
	for {
		n := &t.nodes[current]
		if n.count > 0 {
			for i := n.first; i < n.first+n.count; i++ {
				t.triangles[i].meet(r, i, &best)
			}
			if anyHit && best.triangle >= 0 {
				return best
			}
		} else {
			a, b := n.first, n.first+1
			near, far := enters(&t.nodes[a], r.origin, inverse, size, best.distance), enters(&t.nodes[b], r.origin, inverse, size, best.distance)
			if far < near {
				a, b, near, far = b, a, far, near
			}
			if near <= best.distance {
				if far <= best.distance && depth < len(stack) {
					stack[depth] = b
					depth++
				}
				current = a
				continue
			}
		}
		// The next box on the stack that is still nearer than what was found.
		for {
			if depth == 0 {
				return best
			}
			depth--
			current = stack[depth]
			if enters(&t.nodes[current], r.origin, inverse, size, best.distance) <= best.distance {
				break
			}
		}
	}
}

// enters is the distance at which a ray enters a box, or more than limit if it misses it. It is given the inverse of
// the ray's direction and that without signs.
func enters(n *node, origin, inverse, size vector, limit float64) float64 {
	mx, hx := float64((n.centre.x-origin.x)*inverse.x), float64(n.half.x*size.x)
	my, hy := float64((n.centre.y-origin.y)*inverse.y), float64(n.half.y*size.y)
	mz, hz := float64((n.centre.z-origin.z)*inverse.z), float64(n.half.z*size.z)
	// Comparisons in this form pass over the NaN of a ray that runs within a side of the box.
	in, out := 0.0, limit
	if mx-hx > in {
		in = mx - hx
	}
	if my-hy > in {
		in = my - hy
	}
	if mz-hz > in {
		in = mz - hz
	}
	if mx+hx < out {
		out = mx + hx
	}
	if my+hy < out {
		out = my + hy
	}
	if mz+hz < out {
		out = mz + hz
	}
	if in > out {
		return math.MaxFloat64
	}
	return in
}

// meet records the hit of a ray if it is nearer than the best one (Möller and Trumbore, 1997).
func (tri *triangle) meet(r ray, number int32, best *hit) {
	p := r.direction.cross(tri.edge2)
	determinant := tri.edge1.dot(p)
	if determinant == 0 {
		return
	}
	inverse := 1 / determinant
	s := r.origin.minus(tri.corner)
	u := float64(s.dot(p) * inverse)
	if !(u >= 0 && u <= 1) {
		return
	}
	q := s.cross(tri.edge1)
	v := float64(r.direction.dot(q) * inverse)
	if !(v >= 0 && u+v <= 1) {
		return
	}
	if distance := float64(tri.edge2.dot(q) * inverse); distance > 1e-6 && distance < best.distance {
		*best = hit{distance, u, v, number}
	}
}
