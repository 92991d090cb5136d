package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd/examples/internal/exampletest"
)

func simulateTask(t *testing.T, prices []byte, from, to int, args ...string) exampletest.Files {
	t.Helper()
	return exampletest.Task(t, exampletest.Files{"prices": prices}, func(in, out string) error {
		return run(append([]string{"simulate", "-in", in, "-out", out, "-from", fmt.Sprint(from), "-to", fmt.Sprint(to)}, args...))
	})
}

func mergeRun(in, out string, final bool) error {
	return run([]string{"merge", "-in", in, "-out", out, fmt.Sprintf("-final=%t", final)})
}

// The same seed gives the same bytes wherever the paths are cut and however the parts are merged; another seed does not.
func TestAnyCut(t *testing.T) {
	t.Parallel()
	prices := exampletest.Load(t, "../sp500-monthly.csv")
	const paths = 6000
	whole := exampletest.Tree(t, []exampletest.Files{simulateTask(t, prices, 0, paths, "-seed", "7")}, 2, mergeRun)
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 2))
		cuts := exampletest.Cuts(random, paths, 1+random.IntN(30))
		var parts []exampletest.Files
		for i := range len(cuts) - 1 {
			parts = append(parts, simulateTask(t, prices, cuts[i], cuts[i+1], "-seed", "7"))
		}
		exampletest.Same(t, exampletest.Tree(t, parts, 2+random.IntN(15), mergeRun), whole)
	}
	other := exampletest.Tree(t, []exampletest.Files{simulateTask(t, prices, 0, paths, "-seed", "8")}, 2, mergeRun)
	if bytes.Equal(other["risk.json"], whole["risk.json"]) {
		t.Error("another seed gives the same result")
	}
}

// The European call meets Black–Scholes inside its own interval, for every one of several models, and the intervals
// narrow with the root of the number of paths.
func TestBlackScholes(t *testing.T) {
	t.Parallel()
	prices := exampletest.Load(t, "../sp500-monthly.csv")
	for _, args := range [][]string{
		{"-seed", "2026"},
		{"-seed", "2026", "-strike", "120"},
		{"-seed", "2026", "-strike", "80", "-horizon", "36"},
		{"-seed", "2026", "-rate", "-0.01", "-horizon", "1"},
	} {
		var r struct {
			Spot  float64 `json:"spot"`
			VaR95 float64 `json:"var_95"`
			VaR99 float64 `json:"var_99"`
			ES99  float64 `json:"expected_shortfall_99"`
			Call  struct {
				Price  float64 `json:"price"`
				Low    float64 `json:"ci_low"`
				High   float64 `json:"ci_high"`
				Exact  float64 `json:"black_scholes"`
				Inside bool    `json:"inside_ci"`
			} `json:"european_call"`
			Asian struct {
				Price float64 `json:"price"`
			} `json:"asian_call"`
		}
		result := exampletest.Tree(t, []exampletest.Files{simulateTask(t, prices, 0, 100_000, args...)}, 2, mergeRun)
		if err := json.Unmarshal(result["risk.json"], &r); err != nil {
			t.Fatal(err)
		}
		c := r.Call
		if !c.Inside || c.Exact < c.Low || c.Exact > c.High || c.Price < c.Low || c.Price > c.High {
			t.Errorf("%v: %+v", args, c)
		}
		if width := (c.High - c.Low) / r.Spot; width <= 0 || width > 0.01 {
			t.Errorf("%v: interval %v wide", args, width)
		}
		if !(r.VaR95 < r.VaR99 && r.VaR99 < r.ES99) {
			t.Errorf("%v: losses do not ascend: %+v", args, r)
		}
		if args[len(args)-1] == "2026" && r.Asian.Price >= c.Price {
			t.Errorf("%v: the Asian call (%v) is not below the European (%v)", args, r.Asian.Price, c.Price)
		}
	}
}

// Value at risk and shortfall are those of the sorted returns, up to the stated resolution.
func TestTailAgainstSorting(t *testing.T) {
	t.Parallel()
	prices, err := parsePrices(bytes.NewReader(exampletest.Load(t, "../sp500-monthly.csv")))
	if err != nil {
		t.Fatal(err)
	}
	e, err := estimateFrom(prices, 1950)
	if err != nil {
		t.Fatal(err)
	}
	p := simulate(model{Estimate: e, Seed: 1, Horizon: 12, Strike: 100, Rate: 0.04}, 0, 20_000)
	// The terminal return is log-normal, so its quantiles are known: 20,000 paths come within a few standard errors.
	for _, c := range []struct{ q, z float64 }{{0.05, -1.6448536269514722}, {0.01, -2.3263478740408408}, {0.5, 0}} {
		want := math.Exp(12*e.Drift+math.Sqrt(12)*e.Volatility*c.z) - 1
		if got := quantile(p, c.q); math.Abs(got-want) > 0.01 {
			t.Errorf("quantile %v: %v, want about %v", c.q, got, want)
		}
	}
	var total int64
	for i, bin := range p.Returns {
		total += bin[1]
		if i > 0 && bin[0] <= p.Returns[i-1][0] {
			t.Fatal("bins do not ascend")
		}
	}
	if total != 20_000 {
		t.Errorf("%d paths in the bins", total)
	}
}

// Philox gives the published test vectors of its authors.
func TestPhiloxVectors(t *testing.T) {
	t.Parallel()
	const all = ^uint32(0)
	for _, c := range []struct {
		counter [4]uint32
		key     [2]uint32
		want    [4]uint32
	}{
		{[4]uint32{}, [2]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[4]uint32{all, all, all, all}, [2]uint32{all, all}, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		if got := philox(c.counter, c.key); got != c.want {
			t.Errorf("philox(%x, %x) = %x, want %x", c.counter, c.key, got, c.want)
		}
	}
}

// The functions written out for equal bits agree with the standard library's.
func TestFunctions(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 3))
	near := func(name string, x, got, want, tolerance float64) {
		t.Helper()
		if math.Abs(got-want) > tolerance*max(1e-300, math.Abs(want)) {
			t.Errorf("%s(%v) = %v, want %v", name, x, got, want)
		}
	}
	for range 20_000 {
		x := random.NormFloat64() * 20
		near("exponential", x, exponential(x), math.Exp(x), 1e-14)
		y := math.Exp(x)
		if math.Abs(x) > 1e-3 {
			near("logarithm", y, logarithm(y), math.Log(y), 1e-13)
		}
		u := random.Float64()
		if i := random.IntN(3); i > 0 {
			u = math.Pow(u, float64(10*i))
		}
		if u > 1e-300 && u < 1 && math.Abs(u-0.5) > 1e-3 {
			z := normal(u)
			near("normal", u, math.Erfc(-z/math.Sqrt2)/2, u, 1e-11)
		}
		z := random.NormFloat64() * 2
		if got, want := distribution(z), math.Erfc(-z/math.Sqrt2)/2; math.Abs(got-want) > 2e-15 {
			t.Errorf("distribution(%v) = %v, want %v", z, got, want)
		}
	}
}

// Prices in another order of rows and columns, with gaps, quotes, CRLF, a byte order mark (also before a quote), another
// name for the levels, or gzip give the estimate of the plain file where the data are the same.
func TestPriceForms(t *testing.T) {
	t.Parallel()
	var plain, other strings.Builder
	plain.WriteString("Date,SP500\n")
	other.WriteString("\ufeffReal Price, sp500 ,date\r\n")
	level := 100.0
	for month := range 60 {
		level *= 1 + 0.01*float64(month%5-2)
		date := fmt.Sprintf("%04d-%02d", 1990+month/12, month%12+1)
		fmt.Fprintf(&plain, "%s-01,%.4f\n", date, level)
		fmt.Fprintf(&other, "0,\"%.4f\",%s\r\n", level, date)
	}
	other.WriteString("0,0,1995-01\r\n0,,1995-02\r\n")
	want := simulateTask(t, []byte(plain.String()), 0, 10)
	exampletest.Same(t, simulateTask(t, []byte(other.String()), 0, 10), want)
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(w, plain.String())
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	exampletest.Same(t, simulateTask(t, zipped.Bytes(), 0, 10), want)
	quoted := "\ufeff\"Date\",\"Open\",\"Close\"" + strings.TrimPrefix(strings.ReplaceAll(plain.String(), ",", ",7,"), "Date,7,SP500")
	exampletest.Same(t, simulateTask(t, []byte(quoted), 0, 10), want)
}

// What cannot be simulated is refused with a message that names the line or the flag.
func TestRefusals(t *testing.T) {
	t.Parallel()
	flat := "Date,SP500\n" + strings.Join(func() (rows []string) {
		for month := range 40 {
			rows = append(rows, fmt.Sprintf("%04d-%02d,5", 1990+month/12, month%12+1))
		}
		return
	}(), "\n")
	for _, c := range []struct {
		name, prices, message string
		args                  []string
	}{
		{"columns", "Day,Close\n", "needs the columns Date and SP500", nil},
		{"empty", "", "no header", nil},
		{"date", "Date,SP500\n1990/01,5\n", `line 2: date "1990/01"`, nil},
		{"number", "Date,SP500\n1990-01,5\n1990-02,five\n", `line 3: sp500 is "five"`, nil},
		{"short", "Date,SP500\n1990-01,5\n1990-02,6\n", "2 months have a level", nil},
		{"since", flat, "0 monthly returns since 2000", []string{"-since", "2000"}},
		{"twice", "Date,SP500\n1990-01,5\n1990-01,6\n", "two levels for 1990-01: needs one row a month", nil},
		{"flat", flat, "never changes", nil},
		{"ragged", "Date,SP500\n1990-01\n", "wrong number of fields", nil},
		{"horizon", flat, "-horizon 0", []string{"-horizon", "0"}},
		{"strike", flat, "-strike", []string{"-strike", "-3"}},
		{"rate", flat, "-rate", []string{"-rate", "NaN"}},
		{"range", flat, "-from 5 -to 4", []string{"-from", "5", "-to", "4"}},
	} {
		_, err := exampletest.TryTask(t, exampletest.Files{"prices": []byte(c.prices)}, func(in, out string) error {
			return run(append([]string{"simulate", "-in", in, "-out", out}, c.args...))
		})
		if err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.message)
		}
	}
}

// Parts of different models are not added up.
func TestMixedParts(t *testing.T) {
	t.Parallel()
	prices := exampletest.Load(t, "../sp500-monthly.csv")
	inputs := exampletest.Files{
		"parts/000000/partial.json": simulateTask(t, prices, 0, 10, "-seed", "1")["partial.json"],
		"parts/000001/partial.json": simulateTask(t, prices, 10, 20, "-seed", "2")["partial.json"],
	}
	_, err := exampletest.TryTask(t, inputs, func(in, out string) error { return mergeRun(in, out, true) })
	if err == nil || !strings.Contains(err.Error(), "another model") {
		t.Errorf("error %v", err)
	}
}

// The picture is well-formed for a handful of paths as for many.
func TestPlot(t *testing.T) {
	t.Parallel()
	prices := exampletest.Load(t, "../sp500-monthly.csv")
	for _, paths := range []int{1, 3, 2000} {
		svg := exampletest.Tree(t, []exampletest.Files{simulateTask(t, prices, 0, paths)}, 2, mergeRun)["risk.svg"]
		decoder := xml.NewDecoder(bytes.NewReader(svg))
		for {
			if _, err := decoder.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%d paths: %v", paths, err)
			}
		}
		if bytes.Contains(svg, []byte("NaN")) || bytes.Contains(svg, []byte("Inf")) {
			t.Errorf("%d paths: coordinates are not numbers", paths)
		}
	}
}
