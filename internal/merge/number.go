package merge

import (
	"cmp"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// exactBits are enough to hold any sum of float64 values without rounding: from 2⁻¹⁰⁷⁴ to 2¹⁰²⁴ and 64 bits for the number of addends.
const exactBits = 2200

// maxDigits bounds the whole numbers that are computed with.
const maxDigits = 400

// value is a number of an output: whole (integer set) or not.
type value struct {
	integer *big.Int
	float   float64
}

// parseNumber reads a decimal number as programs print them. Infinities and NaN are no numbers here.
func parseNumber(s string) (value, bool) {
	s = strings.TrimSpace(s)
	if s == "" || len(s) > maxDigits || strings.ContainsAny(s, "xXpP_nN") {
		return value{}, false
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return value{integer: big.NewInt(i)}, true
	}
	if !strings.ContainsAny(s, ".eE") {
		i, ok := new(big.Int).SetString(strings.TrimPrefix(s, "+"), 10)
		return value{integer: i}, ok
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) {
		return value{}, false
	}
	return value{float: f}, true
}

// compare orders two numbers exactly.
func (v value) compare(w value) int {
	if v.integer != nil && w.integer != nil {
		return v.integer.Cmp(w.integer)
	}
	if v.integer == nil && w.integer == nil {
		return cmp.Compare(v.float, w.float)
	}
	return v.exact().Cmp(w.exact())
}

func (v value) exact() *big.Float {
	f := new(big.Float).SetPrec(exactBits)
	if v.integer != nil {
		return f.SetInt(v.integer)
	}
	return f.SetFloat64(v.float)
}

// String prints whole numbers in decimal and others in the shortest form that reads back the same.
func (v value) String() string {
	if v.integer != nil {
		return v.integer.String()
	}
	return formatFloat(v.float)
}

func formatFloat(f float64) string {
	switch {
	case f == 0:
		return "0"
	case f == math.Trunc(f) && math.Abs(f) < 1e21:
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// compareValues orders two fields: numbers by value, before text.
func compareValues(a, b string) int {
	v, isNumber1 := parseNumber(a)
	w, isNumber2 := parseNumber(b)
	switch {
	case isNumber1 && isNumber2:
		return v.compare(w)
	case isNumber1:
		return -1
	case isNumber2:
		return 1
	}
	return strings.Compare(a, b)
}

// accumulator reduces numbers by one operation. Sums are exact, so the result does not depend on the order: whole numbers as big integers,
// others in a float wide enough for every bit, rounded once at the end.
type accumulator struct {
	count    int64
	integers *big.Int   // sum of the whole numbers
	floats   *big.Float // sum of the others; nil: there were none
	best     value      // min, max
}

// add takes one more number.
func (a *accumulator) add(op string, v value) {
	a.count++
	switch op {
	case "count":
	case "min", "max":
		c := 0
		if a.count > 1 {
			c = v.compare(a.best)
		}
		if a.count == 1 || op == "min" && c < 0 || op == "max" && c > 0 {
			a.best = v
		}
	default:
		switch {
		case v.integer == nil && a.floats == nil:
			a.floats = v.exact()
		case v.integer == nil:
			a.floats.Add(a.floats, v.exact())
		case a.integers == nil:
			a.integers = new(big.Int).Set(v.integer)
		default:
			a.integers.Add(a.integers, v.integer)
		}
	}
}

// result prints the reduced number; "" when there were none (count: "0").
func (a *accumulator) result(op string) string {
	switch {
	case op == "count":
		return strconv.FormatInt(a.count, 10)
	case a.count == 0:
		return ""
	case op == "min" || op == "max":
		return a.best.String()
	case op == "sum" && a.floats == nil:
		return a.integers.String()
	}
	total := new(big.Float).SetPrec(exactBits)
	if a.integers != nil {
		total.SetInt(a.integers)
	}
	if a.floats != nil {
		total.Add(total, a.floats)
	}
	if op == "mean" {
		total.Quo(total, new(big.Float).SetInt64(a.count))
	}
	f, _ := total.Float64()
	if math.IsInf(f, 0) { // more than a float64 holds: print it in full
		return total.Text('g', 17)
	}
	return formatFloat(f)
}
