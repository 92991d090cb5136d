package main

import "math"

// The functions below use only operations whose result IEEE 754 fixes to the bit, and spell out every rounding
// (float64(a*b)), because a compiler may otherwise fuse a multiplication with an addition on some processors. The
// standard library's Exp and Log differ in the last bit between processors.

// polynomial evaluates coefficients[0] + coefficients[1]·x + … by Horner's rule.
func polynomial(x float64, coefficients *[8]float64) float64 {
	c := coefficients
	p := float64(c[7]*x) + c[6]
	p = float64(p*x) + c[5]
	p = float64(p*x) + c[4]
	p = float64(p*x) + c[3]
	p = float64(p*x) + c[2]
	p = float64(p*x) + c[1]
	return float64(p*x) + c[0]
}

// exponential is e to the x, within 2 units in the last place; x is held to -700..700.
func exponential(x float64) float64 {
	const ln2High, ln2Low = 6.93147180369123816490e-01, 1.90821492927058770002e-10
	x = max(-700, min(700, x))
	n := math.Floor(float64(x*math.Log2E) + 0.5)
	r := (x - float64(n*ln2High)) - float64(n*ln2Low)
	p := 1.0
	for i := 13; i >= 1; i-- {
		p = float64(float64(p*r)*inverse[i]) + 1
	}
	return p * math.Float64frombits(uint64(int64(n)+1023)<<52)
}

// inverse holds 1/i.
var inverse = func() (table [24]float64) {
	for i := 1; i < len(table); i++ {
		table[i] = 1 / float64(i)
	}
	return table
}()

// logarithm is the natural logarithm of a positive, finite, normal number.
func logarithm(x float64) float64 {
	bits := math.Float64bits(x)
	e := int(bits>>52) - 1023
	m := math.Float64frombits(bits&(1<<52-1) | 1023<<52)
	if m > math.Sqrt2 {
		m, e = m/2, e+1
	}
	s := (m - 1) / (m + 1)
	square := float64(s * s)
	p := 0.0
	for i := 23; i >= 1; i -= 2 {
		p = float64(p*square) + inverse[i]
	}
	return float64(float64(e)*math.Ln2) + float64(float64(2*s)*p)
}

// normal turns a uniform number in (0, 1) to a standard normal one: the inverse of the distribution function by
// M. J. Wichura, algorithm AS 241 (PPND16), Applied Statistics 37 (1988), relative error about 1e-16.
func normal(u float64) float64 {
	q := u - 0.5
	if math.Abs(q) <= 0.425 {
		r := 0.180625 - float64(q*q)
		return float64(q*polynomial(r, &centreTop)) / polynomial(r, &centreBottom)
	}
	r := u
	if q > 0 {
		r = 1 - u
	}
	r = math.Sqrt(-logarithm(r))
	var z float64
	if r <= 5 {
		z = polynomial(r-1.6, &middleTop) / polynomial(r-1.6, &middleBottom)
	} else {
		z = polynomial(r-5, &farTop) / polynomial(r-5, &farBottom)
	}
	if q < 0 {
		return -z
	}
	return z
}

var (
	centreTop = [8]float64{3.3871328727963666080e0, 1.3314166789178437745e+2, 1.9715909503065514427e+3, 1.3731693765509461125e+4,
		4.5921953931549871457e+4, 6.7265770927008700853e+4, 3.3430575583588128105e+4, 2.5090809287301226727e+3}
	centreBottom = [8]float64{1, 4.2313330701600911252e+1, 6.8718700749205790830e+2, 5.3941960214247511077e+3,
		2.1213794301586595867e+4, 3.9307895800092710610e+4, 2.8729085735721942674e+4, 5.2264952788528545610e+3}
	middleTop = [8]float64{1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
		1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4}
	middleBottom = [8]float64{1, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
		1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9}
	farTop = [8]float64{6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
		2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7}
	farBottom = [8]float64{1, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
		7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15}
)

// distribution is the chance that a standard normal number is below x: G. Marsaglia's series, Journal of Statistical
// Software 11(5), 2004; absolute error below 1e-15.
func distribution(x float64) float64 {
	if x < -8 {
		return 0
	}
	if x > 8 {
		return 1
	}
	sum, term := x, x
	for i := 3.0; ; i += 2 {
		term = term * float64(x*x) / i
		if sum+term == sum {
			break
		}
		sum += term
	}
	return 0.5 + float64(sum*exponential(float64(-0.5*float64(x*x))-0.91893853320467274178))
}

// philox is the counter-based generator Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as
// easy as 1, 2, 3" (2011): four random words from a counter and a key, without any state in between.
func philox(counter [4]uint32, key [2]uint32) [4]uint32 {
	for range 10 {
		p0 := 0xD2511F53 * uint64(counter[0])
		p1 := 0xCD9E8D57 * uint64(counter[2])
		counter = [4]uint32{uint32(p1>>32) ^ counter[1] ^ key[0], uint32(p1), uint32(p0>>32) ^ counter[3] ^ key[1], uint32(p0)}
		key[0] += 0x9E3779B9
		key[1] += 0xBB67AE85
	}
	return counter
}
