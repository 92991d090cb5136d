package market

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"cloudcrowd.dev/cloudcrowd"
)

var odd = []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 0, 1e-300, 1, 3600, 1e300}

// Claims that are no numbers, endless or negative cost nothing and break nothing.
func TestOddClaims(t *testing.T) {
	t.Parallel()
	for _, cpu := range odd {
		for _, speed := range odd {
			for _, observed := range odd {
				c := CoreSeconds(cloudcrowd.Usage{CPUSeconds: cpu}, speed, observed, 1)
				if math.IsNaN(c) || math.IsInf(c, 0) || c < 0 {
					t.Errorf("CPU %g, speed %g, observed %g: %g core-seconds", cpu, speed, observed, c)
				}
				if observed > 0 && c > observed*8 {
					t.Errorf("CPU %g, speed %g: %g core-seconds in %g s", cpu, speed, c, observed)
				}
			}
		}
		for _, wall := range odd {
			g := Gross(cloudcrowd.DefaultPrices, cpu, wall, math.MinInt64, -1)
			if g < cloudcrowd.DefaultPrices.Minimum || g > 1<<61 {
				t.Errorf("core-seconds %g, wall %g: price %d", cpu, wall, g)
			}
		}
	}
}

// Claimed CPU time beyond what the server saw passing is cut to it, per core.
func TestClaimBeyondObserved(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cpu, speed, observed float64
		cores                int
		want                 float64
	}{
		{10, 1, 20, 1, 10}, {30, 1, 20, 1, 20}, {30, 1, 20, 2, 30}, {50, 1, 20, 2, 40}, {30, 2, 20, 1, 40}, {30, 1, 0, 1, 30}, {10, 100, 10, 1, 80}, {10, 0, 10, 0, 0.1},
	} {
		if got := CoreSeconds(cloudcrowd.Usage{CPUSeconds: c.cpu}, c.speed, c.observed, c.cores); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%+v: %g", c, got)
		}
	}
}

// More work never costs less, and the fee is never more than the price nor negative.
func TestGrossMonotoneAndFee(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.Float64Range(0, 1e9)
		bytes := rapid.Int64Range(0, 1<<50)
		p := cloudcrowd.Prices{CoreSecond: rapid.Float64Range(0, 1e6).Draw(t, "core"), MemoryGiBSecond: rapid.Float64Range(0, 1e4).Draw(t, "memory price"),
			StorageGiB: rapid.Float64Range(0, 1e5).Draw(t, "storage"), Minimum: cloudcrowd.Credits(rapid.Int64Range(0, 100).Draw(t, "minimum")), FeePercent: rapid.Float64Range(-10, 200).Draw(t, "fee")}
		core, wall, mem, out := amount.Draw(t, "cpu"), amount.Draw(t, "wall"), bytes.Draw(t, "mem"), bytes.Draw(t, "out")
		g := Gross(p, core, wall, mem, out)
		if g < p.Minimum || g < 0 {
			t.Fatalf("price %d below the minimum", g)
		}
		more := Gross(p, core+amount.Draw(t, "more cpu"), wall+amount.Draw(t, "more wall"), mem+bytes.Draw(t, "more mem"), out+bytes.Draw(t, "more out"))
		if more < g {
			t.Fatalf("more work costs %d, less costs %d", more, g)
		}
		if f := Fee(p, g); f < 0 || f > g {
			t.Fatalf("fee %d of %d", f, g)
		}
	})
}

// The fee stays within the price at the ends of the numbers, where floating point rounds up, and for odd percentages.
func TestFeeAtTheEnds(t *testing.T) {
	t.Parallel()
	for _, percent := range append(slices.Clone(odd), 5, 99.999999, 100) {
		for _, g := range []cloudcrowd.Credits{0, 1, 19, 20, 1<<53 + 3, 1 << 61} {
			if f := Fee(cloudcrowd.Prices{FeePercent: percent}, g); f < 0 || f > g {
				t.Errorf("%g %% of %d: %d", percent, g, f)
			}
		}
	}
	if f := Fee(cloudcrowd.DefaultPrices, 39); f != 1 {
		t.Errorf("5 %% of 39 is rounded down to 1, got %d", f)
	}
}

// The lower median: half or more of the claims are at least as large, and with two claims the smaller one counts.
func TestLowerMedian(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claims []float64
		want   float64
	}{{nil, 0}, {[]float64{7}, 7}, {[]float64{9, 1}, 1}, {[]float64{9, 1, 5}, 5}, {[]float64{9, 1, 5, 6}, 5}, {[]float64{3, 3, 100}, 3}} {
		if got := LowerMedian(c.claims); got != c.want {
			t.Errorf("%v: %g, want %g", c.claims, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		claims := rapid.SliceOfN(rapid.Float64Range(0, 100), 1, 9).Draw(t, "claims")
		before := slices.Clone(claims)
		m := LowerMedian(claims)
		if !slices.Equal(claims, before) {
			t.Fatal("the claims were reordered")
		}
		below, above := 0, 0
		for _, c := range claims {
			if c <= m {
				below++
			}
			if c >= m {
				above++
			}
		}
		if 2*above < len(claims) || 2*below < len(claims) {
			t.Fatalf("%g is no median of %v", m, claims)
		}
		// One who overstates moves nothing where the others are a majority that agrees.
		if len(claims) >= 3 {
			honest := slices.Repeat([]float64{1}, len(claims)/2+1)
			if got := LowerMedian(append(honest, slices.Repeat([]float64{1e9}, len(honest)-1)...)); got != 1 {
				t.Fatalf("overstating paid: %g", got)
			}
		}
	})
}

// What is reserved covers what an attempt within its limits costs.
func TestCeilingCovers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := cloudcrowd.Resources{MemoryBytes: rapid.Int64Range(0, 1<<40).Draw(t, "memory"), OutputBytes: rapid.Int64Range(0, 1<<40).Draw(t, "output")}
		core := rapid.Float64Range(0, 1e6).Draw(t, "core")
		g := Gross(cloudcrowd.DefaultPrices, core*rapid.Float64Range(0, 1).Draw(t, "c"), core*rapid.Float64Range(0, 1).Draw(t, "w"),
			rapid.Int64Range(0, r.MemoryBytes).Draw(t, "m"), rapid.Int64Range(0, r.OutputBytes).Draw(t, "o"))
		if c := Ceiling(cloudcrowd.DefaultPrices, core, r); g > c {
			t.Fatalf("an attempt costs %d, its ceiling is %d", g, c)
		}
	})
}
