package main

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd/examples/internal/exampletest"
)

func pointTask(t *testing.T, args ...string) exampletest.Files {
	t.Helper()
	return exampletest.Task(t, nil, func(in, out string) error {
		return run(append([]string{"simulate", "-in", in, "-out", out}, args...))
	})
}

// Left to itself, a system keeps its energy and its momentum, in every phase; a smaller step keeps it better.
func TestConservation(t *testing.T) {
	t.Parallel()
	for _, c := range []conditions{
		{temperature: 0.7, density: 1.05, cells: 3, seed: 1},
		{temperature: 1.0, density: 0.75, cells: 3, seed: 2},
		{temperature: 1.5, density: 0.05, cells: 3, seed: 3},
	} {
		drift := func(time float64, steps int) float64 {
			s := newSystem(c)
			for range 300 {
				s.step(0.002)
			}
			start, worst := s.kinetic()+s.potential, 0.0
			for range steps {
				s.step(time)
				worst = max(worst, math.Abs(s.kinetic()+s.potential-start))
			}
			var momentum vector
			for _, v := range s.velocity {
				for d := range 3 {
					momentum[d] += v[d]
				}
			}
			if p := math.Sqrt(momentum.square()); p > 1e-9 {
				t.Errorf("%+v: momentum %v", c, p)
			}
			return worst / float64(len(s.position))
		}
		coarse, fine := drift(0.004, 500), drift(0.001, 2000)
		if coarse > 0.01 || fine > coarse {
			t.Errorf("%+v: energy drifts by %v a particle, by %v with smaller steps", c, coarse, fine)
		}
	}
}

// Forces are the slope of the potential, and the list of neighbours loses no pair.
func TestForces(t *testing.T) {
	t.Parallel()
	c := conditions{temperature: 1.2, density: 0.7, cells: 3, seed: 5}
	s := newSystem(c)
	for range 200 {
		s.step(0.004)
	}
	limit := s.cutoff * s.cutoff
	_, shift := pair(limit)
	potential := func() float64 {
		sum := 0.0
		for i := range s.position {
			for j := range i {
				if r2 := s.between(i, j).square(); r2 < limit {
					_, energy := pair(r2)
					sum += energy - shift
				}
			}
		}
		return sum
	}
	if want := potential(); math.Abs(s.potential-want) > 1e-9*math.Abs(want) {
		t.Errorf("potential %v with the list, %v over all pairs", s.potential, want)
	}
	const small = 1e-5
	for _, i := range []int{0, 17, 107} {
		for d := range 3 {
			force := s.force[i][d]
			s.position[i][d] += small
			up := potential()
			s.position[i][d] -= 2 * small
			down := potential()
			s.position[i][d] += small
			if slope := (down - up) / (2 * small); math.Abs(slope-force) > 1e-3*max(1, math.Abs(force)) {
				t.Errorf("force %v on particle %d, slope %v", force, i, slope)
			}
		}
	}
}

// Dilute and hot, the fluid is an ideal gas: P = ρT, E = 3/2 T, no order.
func TestIdealGas(t *testing.T) {
	t.Parallel()
	p, err := measure(conditions{temperature: 5, density: 0.001, cells: 3, steps: 400, seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.pressure / (p.density * p.measured); math.Abs(got-1) > 0.01 {
		t.Errorf("compressibility factor %v", got)
	}
	if want := 1.5 * p.measured * 107 / 108; math.Abs(p.energy-want) > 0.02*want {
		t.Errorf("energy %v, want %v", p.energy, want)
	}
	if p.phase != "fluid" {
		t.Errorf("phase %s", p.phase)
	}
}

// The fewest steps measure every column too.
func TestFewSteps(t *testing.T) {
	t.Parallel()
	p, err := measure(conditions{temperature: 1, density: 0.8, cells: 2, steps: 10, seed: 1})
	if err != nil || p.rdfPeak <= 1 || p.coordination < 6 || p.coordination > 16 {
		t.Errorf("peak %v, coordination %v, error %v", p.rdfPeak, p.coordination, err)
	}
}

// Well-known states of the fluid come out: a crystal that keeps its order and does not flow, a liquid that flows and
// lies near the literature's pressure and energy, a gas, a gas that condenses.
func TestKnownStates(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		temperature, density float64
		phase                string
	}{{0.5, 1.1, "solid"}, {0.8, 0.8, "liquid"}, {1.0, 0.03, "gas"}, {0.6, 0.3, "coexistence"}, {2, 0.5, "fluid"}} {
		p, err := measure(conditions{temperature: c.temperature, density: c.density, cells: 3, steps: 1200, seed: 4})
		if err != nil {
			t.Fatal(err)
		}
		if p.phase != c.phase {
			t.Errorf("T %v, ρ %v: %s, want %s: %+v", c.temperature, c.density, p.phase, c.phase, p)
		}
		if solid := c.phase == "solid"; solid != (p.diffusion < 0.005) {
			t.Errorf("T %v, ρ %v: diffusion %v", c.temperature, c.density, p.diffusion)
		}
		if math.Abs(p.measured-c.temperature) > 0.2*c.temperature {
			t.Errorf("T %v, ρ %v: measured %v", c.temperature, c.density, p.measured)
		}
	}
}

// The same conditions give the same bytes; another seed does not.
func TestRepeatable(t *testing.T) {
	t.Parallel()
	args := []string{"-temperature", "1.3", "-density", "0.4", "-steps", "200"}
	first := pointTask(t, args...)
	exampletest.Same(t, pointTask(t, args...), first)
	if other := pointTask(t, append(args, "-seed", "7")...); bytes.Equal(other["point.csv"], first["point.csv"]) {
		t.Error("another seed gives the same point")
	}
}

// Points merge to a table and a picture that are well-formed, whatever the grid.
func TestTableAndPlot(t *testing.T) {
	t.Parallel()
	for _, grid := range [][2][]string{
		{{"0.7", "1.4"}, {"0.1", "0.6", "1.1"}},
		{{"1"}, {"0.5"}},
	} {
		var table strings.Builder
		for _, temperature := range grid[0] {
			for _, density := range grid[1] {
				file := string(pointTask(t, "-temperature", temperature, "-density", density, "-steps", "50", "-cells", "2")["point.csv"])
				head, row, _ := strings.Cut(file, "\n")
				if table.Len() == 0 {
					table.WriteString(head + "\n")
				}
				if fields := strings.Split(row, ","); fields[0] != temperature || fields[1] != density || len(fields) != len(strings.Split(header, ",")) {
					t.Fatalf("row %q", row)
				}
				table.WriteString(row)
			}
		}
		rows, err := csv.NewReader(strings.NewReader(table.String())).ReadAll()
		if err != nil || len(rows) != 1+len(grid[0])*len(grid[1]) {
			t.Fatalf("%d rows, error %v", len(rows), err)
		}
		for _, row := range rows[1:] {
			for _, field := range row[:len(row)-1] {
				if v, err := strconv.ParseFloat(field, 64); err != nil || math.IsNaN(v) {
					t.Errorf("field %q", field)
				}
			}
		}
		inputs := exampletest.Files{"table/000000/phase.csv": []byte(table.String())}
		result := exampletest.Task(t, inputs, func(in, out string) error { return run([]string{"plot", "-in", in, "-out", out}) })
		if string(result["phase.csv"]) != table.String() {
			t.Error("phase.csv is not the table")
		}
		wellFormed(t, result["phase.svg"])
	}
}

func wellFormed(t *testing.T, svg []byte) {
	t.Helper()
	decoder := xml.NewDecoder(bytes.NewReader(svg))
	for {
		if _, err := decoder.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if bytes.Contains(svg, []byte("NaN")) || bytes.Contains(svg, []byte("Inf")) {
		t.Error("coordinates are not numbers")
	}
}

// Sine and cosine, and the cube root, agree with the standard library's.
func TestFunctions(t *testing.T) {
	t.Parallel()
	for i := -2000; i < 2000; i++ {
		turns := float64(i) / 313
		sine, cosine := circle(turns)
		wantSine, wantCosine := math.Sincos(2 * math.Pi * turns)
		if math.Abs(sine-wantSine) > 1e-7 || math.Abs(cosine-wantCosine) > 1e-7 {
			t.Fatalf("circle(%v) = %v, %v, want %v, %v", turns, sine, cosine, wantSine, wantCosine)
		}
		if v := math.Exp(turns); math.Abs(cubeRoot(v)-math.Cbrt(v)) > 1e-14*math.Cbrt(v) {
			t.Fatalf("cubeRoot(%v) = %v, want %v", v, cubeRoot(v), math.Cbrt(v))
		}
	}
}

// Ticks are few and inside the range.
func TestTicks(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]float64{{0, 1}, {-0.025, 1.175}, {0.4, 2.25}, {-4, 12.6}, {0, 0.001}, {100, 101}} {
		list := ticks(c[0], c[1])
		if len(list) < 3 || len(list) > 13 || !slices.IsSorted(list) || list[0] < c[0]-1e-9 || list[len(list)-1] > c[1] {
			t.Errorf("ticks(%v, %v) = %v", c[0], c[1], list)
		}
	}
}

// What cannot be simulated or plotted is refused with a message that names the flag or the row.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, table, message string }{
		{"simulate -temperature 0", "", "-temperature 0"},
		{"simulate -density 9", "", "-density 9"},
		{"simulate -cells 1", "", "-cells 1"},
		{"simulate -steps 1", "", "-steps 1"},
		{"simulate -temperature NaN", "", "-temperature NaN"},
		{"plot", "temperature,density\n1,2\n", "no column pressure"},
		{"plot", "temperature,density,pressure,diffusion,phase\n", "at least one point"},
		{"plot", "temperature,density,pressure,diffusion,phase\n1,2,x,0,gas\n", `row 1: pressure is "x"`},
	} {
		inputs := exampletest.Files{"table/000000/phase.csv": []byte(c.table)}
		_, err := exampletest.TryTask(t, inputs, func(in, out string) error {
			args := strings.Fields(c.args)
			return run(append([]string{args[0], "-in", in, "-out", out}, args[1:]...))
		})
		if err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: error %v, want one with %q", c.args, err, c.message)
		}
	}
	if err := run([]string{"plot", "-in", t.TempDir()}); err == nil || !strings.Contains(err.Error(), fmt.Sprint(0, " files")) {
		t.Errorf("no table: %v", err)
	}
}
