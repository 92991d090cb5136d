package console

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// credits converts an amount for drawing; amounts that are shown or exported stay integers.
func credits(c cloudcrowd.Credits) float64 { return float64(c) / float64(cloudcrowd.Credit) }

// amount prints credits exactly, thousands grouped: "12,345.5".
func amount(c cloudcrowd.Credits) string {
	s := c.String()
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "−", s[1:]
	}
	whole, frac, has := strings.Cut(s, ".")
	s = sign + group(whole)
	if has {
		s += "." + frac
	}
	return s
}

// alignedAmount prints credits with six decimals, the needless zeros dimmed, so that columns line up.
func alignedAmount(c cloudcrowd.Credits) template.HTML {
	s := amount(c)
	_, frac, has := strings.Cut(s, ".")
	pad := strings.Repeat("0", 6-len(frac))
	if !has {
		pad = "." + pad
	}
	if pad == "" {
		return template.HTML(s)
	}
	return template.HTML(s + `<span class="pad">` + pad + `</span>`)
}

// group puts commas between thousands of a string of digits.
func group(digits string) string {
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// count prints a whole number, thousands grouped.
func count[N int | int32 | int64](n N) string {
	if n < 0 {
		return "−" + group(strconv.FormatInt(-int64(n), 10))
	}
	return group(strconv.FormatInt(int64(n), 10))
}

// plural prints a number with its noun.
func plural[N int | int32 | int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// span prints a number of seconds in the two units that matter.
func span(s float64) string {
	switch {
	case s < 0 || math.IsNaN(s) || math.IsInf(s, 0):
		return "–"
	case s == 0:
		return "0 s"
	case s < 0.001:
		return "<1 ms"
	case s < 1:
		return fmt.Sprintf("%.0f ms", s*1000)
	case s < 10:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", s), ".0") + " s"
	case s < 60:
		return fmt.Sprintf("%.0f s", s)
	}
	n := int64(s + 0.5)
	switch {
	case n < 3600:
		return two(n/60, "min", n%60, "s")
	case n < 48*3600:
		return two(n/3600, "h", n%3600/60, "min")
	}
	return two(n/86400, "d", n%86400/3600, "h")
}

func two(a int64, ua string, b int64, ub string) string {
	if b == 0 {
		return fmt.Sprintf("%d %s", a, ua)
	}
	return fmt.Sprintf("%d %s %d %s", a, ua, b, ub)
}

// rangeSpan prints a low and a high estimate: "3 min – 5 min"; "" when there is none.
func rangeSpan(r [2]float64) string {
	if r[1] <= 0 {
		return ""
	}
	lo, hi := span(math.Round(r[0])), span(math.Round(r[1]))
	if lo == hi {
		return "about " + hi
	}
	return lo + " – " + hi
}

// ago prints how long before now t was; times ahead are "in …".
func ago(t, now time.Time) string {
	d := now.Sub(t).Seconds()
	if d < 0 {
		if d > -1 {
			return "now"
		}
		return "in " + coarse(-d)
	}
	if d < 1 {
		return "now"
	}
	return coarse(d) + " ago"
}

// coarse prints a span in one unit.
func coarse(s float64) string {
	n := int64(s)
	switch {
	case n < 60:
		return fmt.Sprintf("%d s", n)
	case n < 3600:
		return fmt.Sprintf("%d min", n/60)
	case n < 48*3600:
		return fmt.Sprintf("%d h", n/3600)
	}
	return fmt.Sprintf("%d d", n/86400)
}

// exact prints a time in full, for the title of a relative one and for exports.
func exact(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000 UTC") }

func decimal(f float64, digits int) string {
	s := strconv.FormatFloat(f, 'f', digits, 64)
	whole, frac, has := strings.Cut(s, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "−", whole[1:]
	}
	s = sign + group(whole)
	if has {
		s += "." + frac
	}
	return s
}

// percent prints a share of 0..1; it says 100 % only when that is exact.
func percent(f float64) string {
	switch {
	case f <= 0:
		return "0 %"
	case f >= 1:
		return "100 %"
	case f < 0.001:
		return "<0.1 %"
	case f < 0.1:
		return fmt.Sprintf("%.1f %%", f*100)
	}
	return fmt.Sprintf("%.0f %%", math.Min(math.Floor(f*100), 99))
}
