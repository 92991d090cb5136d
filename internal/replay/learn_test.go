package replay

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"cloudcrowd.dev/cloudcrowd/internal/wfformat"
)

// families is a workflow of one category: tasks that read the same file take about the same time.
func families(rnd *rand.Rand, n, each int, spread, own float64) *wfformat.Workflow {
	w := &wfformat.Workflow{}
	mean := 0.0
	for i := range n {
		if i%each == 0 {
			mean = 4 + spread*rnd.NormFloat64()
			w.Files = append(w.Files, wfformat.File{ID: fmt.Sprint(i), SizeBytes: 1000, Producer: -1})
		}
		w.Tasks = append(w.Tasks, wfformat.Task{ID: fmt.Sprint(i), Category: "c", Seconds: math.Exp(mean + own*rnd.NormFloat64()), Inputs: []int{len(w.Files) - 1}})
	}
	return w
}

// off is how far beliefs of the tasks from the first on are off, and how far they say they are: root mean squares of the logarithm.
func off(w *wfformat.Workflow, e *estimates, first int) (is, said float64) {
	for i, t := range w.Tasks[first:] {
		seconds, doubt := e.believe(first + i)
		d := math.Log(seconds / t.Seconds)
		is, said = is+d*d, said+doubt*doubt
	}
	n := float64(len(w.Tasks) - first)
	return math.Sqrt(is / n), math.Sqrt(said / n)
}

// Where tasks that share a file take as long, the error of the figures shrinks before anything is measured; where they have nothing in common, figures stay as they are.
// What beliefs say of their own error is near the truth, in categories of all sizes.
func TestLikeness(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		n, each              int
		spread, own, atLeast float64
		atMost               float64
	}{
		{60, 10, 0.5, 0.03, 0, 0.11},  // six families
		{600, 10, 0.5, 0.03, 0, 0.11}, // more than are compared with each other
		{60, 60, 0, 0.03, 0, 0.06},    // all alike
		{60, 1, 0, 1, 0.16, 0.24},     // nothing in common
	} {
		var is, said float64
		for range 8 {
			w := families(rnd, c.n, c.each, c.spread, c.own)
			a, b := off(w, priors(w, 0.2, rnd), 0)
			is, said = is+a/8, said+b/8
		}
		if is < c.atLeast || is > c.atMost || said < is/1.34 || said > is*1.8 {
			t.Errorf("%+v: off by %.3f, believed to be off by %.3f", c, is, said)
		}
	}
}

// Measured lengths correct what is believed of the others: figures that are all too low by half are recognized.
func TestMeasured(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 4))
	w := families(rnd, 60, 10, 0.5, 0.05)
	known := make([]float64, len(w.Tasks))
	for i, task := range w.Tasks {
		known[i] = task.Seconds / 2 * math.Exp(0.2*rnd.NormFloat64())
	}
	e := newEstimates(w, known, 0.2)
	before, _ := off(w, e, 30)
	for i := range 30 {
		e.finished(i, w.Tasks[i].Seconds)
	}
	if after, _ := off(w, e, 30); after > 0.3*before || before < 0.6 {
		t.Errorf("off by %.3f before and %.3f after half of the tasks", before, after)
	}
}

// Nothing is learned from what has not happened: other runtimes of tasks that have not finished leave every belief as it was.
func TestNoForesight(t *testing.T) {
	t.Parallel()
	beliefs := func(later float64) (list []float64) {
		w := families(rand.New(rand.NewPCG(5, 6)), 40, 8, 0.5, 0.1)
		known := make([]float64, len(w.Tasks))
		for i, task := range w.Tasks {
			known[i] = task.Seconds
		}
		for i := 20; i < 40; i++ {
			w.Tasks[i].Seconds *= later
		}
		e := newEstimates(w, known, 0.2)
		for i := range 20 {
			e.finished(i, w.Tasks[i].Seconds*1.1)
		}
		for i := range w.Tasks {
			seconds, doubt := e.believe(i)
			list = append(list, seconds, doubt, e.given(i, 10))
		}
		return list
	}
	a, b := beliefs(1), beliefs(7)
	for k := range a {
		if a[k] != b[k] || math.IsNaN(a[k]) {
			t.Fatalf("belief %d: %v and %v", k, a[k], b[k])
		}
	}
}
