package cloudcrowd

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Credits is an amount in micro-credits; 1,000,000 are one credit. Amounts are never rounded once made.
type Credits int64

// Credit is one whole credit.
const Credit Credits = 1_000_000

// String prints credits with up to six decimals and no trailing zeros: "2.5".
func (c Credits) String() string {
	sign, v := "", uint64(c)
	if c < 0 {
		sign, v = "-", uint64(-c)
	}
	whole, frac := v/uint64(Credit), v%uint64(Credit)
	if frac == 0 {
		return fmt.Sprintf("%s%d", sign, whole)
	}
	return strings.TrimRight(fmt.Sprintf("%s%d.%06d", sign, whole, frac), "0")
}

// ParseCredits reads a decimal number of credits with at most six decimals. It may have an exponent, as programs that
// write JSON give small and large numbers one: 2e-05.
func ParseCredits(s string) (Credits, error) {
	whole, frac, _ := strings.Cut(withoutExponent(strings.TrimSpace(s)), ".")
	neg := strings.HasPrefix(whole, "-")
	whole = strings.TrimPrefix(whole, "-")
	if len(frac) > 6 {
		return 0, Errorf(Invalid, "%q has more than six decimals; one micro-credit is the smallest amount", s)
	}
	w, err1 := strconv.ParseUint(whole, 10, 63)
	f, err2 := strconv.ParseUint((frac + "000000")[:6], 10, 63)
	if err1 != nil || err2 != nil || w > math.MaxInt64/uint64(Credit)-1 {
		return 0, Errorf(Invalid, "%q is not an amount of credits; write for example 2.5", s)
	}
	c := Credits(w)*Credit + Credits(f)
	if neg {
		c = -c
	}
	return c, nil
}

// withoutExponent moves the point of a decimal number with an exponent to where it belongs. What is no such number, or
// far beyond any amount, comes back as it is.
func withoutExponent(s string) string {
	i := strings.IndexAny(s, "eE")
	if i < 1 {
		return s
	}
	exponent, err := strconv.Atoi(s[i+1:])
	if err != nil || exponent < -30 || exponent > 30 {
		return s
	}
	sign := ""
	if s[0] == '-' {
		sign = "-"
	}
	whole, frac, _ := strings.Cut(s[len(sign):i], ".")
	if strings.Trim(whole+frac, "0123456789") != "" || whole == "" {
		return s
	}
	zeros := strings.Repeat("0", 30)
	digits, point := zeros+whole+frac+zeros, len(zeros)+len(whole)+exponent
	whole = strings.TrimLeft(digits[:point], "0")
	if whole == "" {
		whole = "0"
	}
	return sign + whole + "." + strings.TrimRight(digits[point:], "0")
}

// Duration is a time.Duration written as text ("10m", "1.5s") in job descriptions and API answers.
type Duration time.Duration

// String returns Go's form without useless zero units: "10m", "1h30m".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// MarshalJSON writes the text form.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads the text form, or a number of seconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var sec float64
	if json.Unmarshal(b, &sec) == nil {
		*d = Duration(sec * float64(time.Second))
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return Errorf(Invalid, "%s is not a duration; write for example \"10m\"", b)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return Errorf(Invalid, "%q is not a duration; write for example 90s, 10m or 1h30m", s)
	}
	*d = Duration(v)
	return nil
}

// Bytes formats a size for people in binary units: "4.4 MiB".
func Bytes(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}
