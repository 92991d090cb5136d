package main

import "math"

// vector is a point, a direction or a colour. Its operations round every product before it is added (float64(a*b)),
// because a compiler may otherwise fuse the two on some processors and change the last bit.
type vector struct{ x, y, z float64 }

func (a vector) plus(b vector) vector  { return vector{a.x + b.x, a.y + b.y, a.z + b.z} }
func (a vector) minus(b vector) vector { return vector{a.x - b.x, a.y - b.y, a.z - b.z} }

func (a vector) times(f float64) vector {
	return vector{float64(a.x * f), float64(a.y * f), float64(a.z * f)}
}

func (a vector) by(b vector) vector {
	return vector{float64(a.x * b.x), float64(a.y * b.y), float64(a.z * b.z)}
}

func (a vector) dot(b vector) float64 {
	return float64(a.x*b.x) + float64(a.y*b.y) + float64(a.z*b.z)
}

func (a vector) cross(b vector) vector {
	return vector{
		float64(a.y*b.z) - float64(a.z*b.y),
		float64(a.z*b.x) - float64(a.x*b.z),
		float64(a.x*b.y) - float64(a.y*b.x),
	}
}

// unit is the vector of length 1 in the same direction; the zero vector stays.
func (a vector) unit() vector {
	length := math.Sqrt(a.dot(a))
	if length == 0 {
		return a
	}
	return a.times(1 / length)
}

// mix goes from a to b as share goes from 0 to 1.
func (a vector) mix(b vector, share float64) vector { return a.plus(b.minus(a).times(share)) }

func (a vector) axis(i int) float64 {
	switch i {
	case 0:
		return a.x
	case 1:
		return a.y
	}
	return a.z
}

// lower is the corner of the box around two points that has the lowest coordinates. Comparisons written out are faster
// in WASM than the min of the language, which minds NaN.
func lower(a, b vector) vector {
	if b.x < a.x {
		a.x = b.x
	}
	if b.y < a.y {
		a.y = b.y
	}
	if b.z < a.z {
		a.z = b.z
	}
	return a
}

// upper is the opposite corner.
func upper(a, b vector) vector {
	if b.x > a.x {
		a.x = b.x
	}
	if b.y > a.y {
		a.y = b.y
	}
	if b.z > a.z {
		a.z = b.z
	}
	return a
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

// around turns z to the direction of a unit normal n: the columns of a rotation (Duff and others, Journal of Computer
// Graphics Techniques 6(1), 2017).
func around(n, v vector) vector {
	sign := math.Copysign(1, n.z)
	a := -1 / (sign + n.z)
	b := float64(float64(n.x*n.y) * a)
	u := vector{1 + float64(float64(sign*n.x)*float64(n.x*a)), float64(sign * b), float64(-sign * n.x)}
	w := vector{b, sign + float64(float64(n.y*n.y)*a), -n.y}
	return u.times(v.x).plus(w.times(v.y)).plus(n.times(v.z))
}
