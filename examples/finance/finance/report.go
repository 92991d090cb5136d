package main

import (
	"errors"
	"math"
	"strconv"
)

// report is risk.json. Losses are shares of today's level over the horizon; option prices are in index points.
type report struct {
	Paths              uint64 `json:"paths"`
	Seed               uint64 `json:"seed"`
	HorizonMonths      int    `json:"horizon_months"`
	Since              string `json:"since"`
	Returns            int    `json:"monthly_returns"`
	Spot               number `json:"spot"`
	SpotMonth          string `json:"spot_month"`
	Drift              number `json:"drift"`      // mean log return of a month
	Volatility         number `json:"volatility"` // standard deviation of a month's log return
	DriftAnnual        number `json:"drift_annual"`
	VolatilityAnnual   number `json:"volatility_annual"`
	MedianReturn       number `json:"median_return"`
	LossProbability    number `json:"loss_probability"`
	VaR95              number `json:"var_95"`
	VaR99              number `json:"var_99"`
	Shortfall99        number `json:"expected_shortfall_99"`
	LossResolution     number `json:"loss_resolution"`
	Strike             number `json:"strike"` // index points
	Rate               number `json:"rate"`
	ConfidenceOfRanges number `json:"ci_confidence"`
	European           option `json:"european_call"`
	Asian              option `json:"asian_call"`
}

// option is an estimated price with its confidence interval; the closed form only where there is one.
type option struct {
	Price        number  `json:"price"`
	Low          number  `json:"ci_low"`
	High         number  `json:"ci_high"`
	BlackScholes *number `json:"black_scholes,omitempty"`
	Inside       *bool   `json:"inside_ci,omitempty"`
}

// number prints with eight significant digits.
type number float64

// MarshalJSON prints the number.
func (n number) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, rounded(float64(n)), 'f', -1, 64), nil
}

func rounded(v float64) float64 {
	v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 8, 64), 64)
	return v
}

// z99 is the normal quantile of a two-sided interval of 99 %.
const z99 = 2.5758293035489004

// reportOf turns the sums over all paths to figures.
func reportOf(p partial) (report, error) {
	if p.Paths == 0 {
		return report{}, errors.New("no paths: ask for at least one")
	}
	m := p.Model
	e := m.Estimate
	r := report{
		Paths: p.Paths, Seed: m.Seed, HorizonMonths: m.Horizon,
		Since: e.Since, Returns: e.Returns, Spot: number(e.Spot), SpotMonth: e.SpotMonth,
		Drift: number(e.Drift), Volatility: number(e.Volatility),
		DriftAnnual: number(12 * e.Drift), VolatilityAnnual: number(math.Sqrt(12) * e.Volatility),
		MedianReturn: number(quantile(p, 0.5)), LossProbability: number(below(p, 0)),
		VaR95: number(-quantile(p, 0.05)), VaR99: number(-quantile(p, 0.01)), Shortfall99: number(-tailMean(p, 0.01)),
		LossResolution: returnUnit,
		Strike:         number(e.Spot * m.Strike / 100), Rate: number(m.Rate), ConfidenceOfRanges: 0.99,
		European: priceOf(p.European, p.Paths, e.Spot),
		Asian:    priceOf(p.Asian, p.Paths, e.Spot),
	}
	exact := number(blackScholes(m))
	inside := exact >= r.European.Low && exact <= r.European.High
	r.European.BlackScholes, r.European.Inside = &exact, &inside
	return r, nil
}

// priceOf is the mean payoff in index points, with its interval.
func priceOf(m moments, paths uint64, spot float64) option {
	n := float64(paths)
	mean := m.Sum.float() / n * payoffUnit
	square := m.Squares.float() / n * payoffUnit * payoffUnit
	half := float64(z99 * math.Sqrt(max(0, square-float64(mean*mean))/n))
	return option{Price: number(spot * mean), Low: number(spot * (mean - half)), High: number(spot * (mean + half))}
}

// blackScholes is the exact price of the European call, in index points.
func blackScholes(m model) float64 {
	years := float64(m.Horizon) / 12
	total := float64(m.Estimate.Volatility * math.Sqrt(float64(m.Horizon)))
	strike := m.Strike / 100
	forward := float64(m.Rate * years)
	d1 := (forward-logarithm(strike))/total + total/2
	price := distribution(d1) - float64(float64(strike*exponential(-forward))*distribution(d1-total))
	return m.Estimate.Spot * price
}

// quantile is the lower edge of the bin that holds the path at share q from the worst.
func quantile(p partial, q float64) float64 {
	rank := max(1, int64(math.Ceil(q*float64(p.Paths))))
	for _, bin := range p.Returns {
		if rank -= bin[1]; rank <= 0 {
			return float64(bin[0]) * returnUnit
		}
	}
	return 0
}

// tailMean is the mean return of the worst share q of paths, each taken at the lower edge of its bin.
func tailMean(p partial, q float64) float64 {
	rank := max(1, int64(math.Ceil(q*float64(p.Paths))))
	var sum int64
	left := rank
	for _, bin := range p.Returns {
		n := min(left, bin[1])
		sum += n * bin[0]
		if left -= n; left == 0 {
			break
		}
	}
	return float64(sum) / float64(rank) * returnUnit
}

// below is the share of paths with a return under limit.
func below(p partial, limit float64) float64 {
	var n int64
	for _, bin := range p.Returns {
		if float64(bin[0])*returnUnit < limit {
			n += bin[1]
		}
	}
	return float64(n) / float64(p.Paths)
}
