package replay

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"cloudcrowd.dev/cloudcrowd/internal/wfformat"
)

// estimates is what is believed of the lengths of tasks: something known of each beforehand, with an error of known size, what the workflow declares of files and
// dependencies, and what finished tasks of the same category took. It is empirical Bayes (Efron, Morris: Data analysis using Stein's estimator and its generalizations,
// JASA 1975) on logarithms, with a Gaussian process (Rasmussen, Williams: Gaussian processes for machine learning, 2006) instead of one mean: within a category lengths
// are believed to be alike as far as tasks read and write as many bytes and share files, parents or children. How far that goes is told by the likelihood of the figures.
type estimates struct {
	group    []int     // by task
	place    []int     // by task: where it stands in its group
	prior    []float64 // logarithm of what is known beforehand, by task
	measured []float64 // logarithm of what a finished task took; not a number: it has not finished
	error    float64   // standard deviation of prior
	groups   []group
}

// group is a category, or an equal part of one that has more than most tasks.
type group struct {
	tasks          []int
	sizes, shares  []float64 // how alike two tasks are, −1 to 1, by what they read and write and by whom they know; len(tasks)² each
	finished       int
	off            float64   // sum of measured minus prior
	kinds          []kind    // what is thought of likeness, the more probable the more weight
	fitted, judged int       // tasks finished when it was last fitted, and when kinds were weighed; −1: never
	mean, doubt    []float64 // what is believed of each
}

// kind is a way in which lengths of a category may vary: standard deviations of what follows from sizes, of what those share who know the same, and of each task's own.
type kind struct{ sizes, shares, own, weight float64 }

const (
	least    = 1e-3 // seconds; keeps logarithms finite: tasks of no length are recorded, too
	few      = 4    // measurements that weigh as much as the belief that what is known beforehand is right on average
	wide     = 2.0  // standard deviation of a category's mean around the mean of its figures
	most     = 128  // tasks that are compared with each other; in the order of the file, in which tasks that are alike often stand together
	enough   = 64   // tasks of a category by which kinds are weighed
	slight   = 0.02 // weight from which on a kind counts
	exact    = 1e-4 // standard deviation of a measured length
	fitParts = 32   // a large category is fitted again after this part of its tasks
)

// kinds are all that are thought possible.
var kinds = func() (list []kind) {
	for _, own := range []float64{0.02, 0.05, 0.1, 0.2, 0.5, 1} {
		for _, sizes := range []float64{0, 0.1, 0.3, 1} {
			for _, shares := range []float64{0, 0.1, 0.3, 1} {
				list = append(list, kind{sizes, shares, own, 0})
			}
		}
	}
	return list
}()

// newEstimates takes what is known of each task of a workflow beforehand, in seconds, with a lognormal error. Of the workflow it looks at names, files and dependencies, never at runtimes.
func newEstimates(w *wfformat.Workflow, known []float64, sigma float64) *estimates {
	e := &estimates{error: sigma, group: make([]int, len(known)), prior: make([]float64, len(known)), measured: make([]float64, len(known)), place: make([]int, len(known))}
	var names []string
	categories := map[string][]int{}
	for i, t := range w.Tasks {
		e.prior[i], e.measured[i] = math.Log(known[i]+least), math.NaN()
		if categories[t.Category] == nil {
			names = append(names, t.Category)
		}
		categories[t.Category] = append(categories[t.Category], i)
	}
	for _, name := range names {
		tasks := categories[name]
		for parts := (len(tasks) + most - 1) / most; parts > 0; parts-- {
			n := len(tasks) / parts
			for at, i := range tasks[:n] {
				e.group[i], e.place[i] = len(e.groups), at
			}
			e.groups, tasks = append(e.groups, group{tasks: tasks[:n], fitted: -1, judged: -1}), tasks[n:]
		}
	}
	for k := range e.groups {
		e.groups[k].compare(w)
	}
	return e
}

// compare computes how alike the tasks of a category are.
func (g *group) compare(w *wfformat.Workflow) {
	n := len(g.tasks)
	g.sizes, g.shares = make([]float64, n*n), make([]float64, n*n)
	var bytes [2][]float64
	who := map[[2]int][]int{} // kind of thing and its number → places of the tasks that know it
	for at, i := range g.tasks {
		t := w.Tasks[i]
		for f, list := range [][]int{t.Inputs, t.Outputs} {
			sum := 0.0
			for _, file := range list {
				sum += float64(w.Files[file].SizeBytes)
			}
			bytes[f] = append(bytes[f], math.Log(sum+1))
			who[[2]int{f, int(sum)}] = append(who[[2]int{f, int(sum)}], at)
		}
		for f, list := range [][]int{t.Inputs, t.Parents, t.Children} {
			for _, thing := range list {
				who[[2]int{2 + f, thing}] = append(who[[2]int{2 + f, thing}], at)
			}
		}
	}
	for _, b := range bytes {
		standardize(b)
	}
	// Of things that the same tasks know one counts; what all know, or one alone, tells nothing.
	seen, known := map[string]bool{}, make([]float64, n)
	for _, list := range who {
		list = slices.Compact(list)
		if len(list) < 2 || len(list) == n {
			continue
		}
		var key []byte
		for _, at := range list {
			key = binary.AppendUvarint(key, uint64(at))
		}
		if seen[string(key)] {
			continue
		}
		seen[string(key)] = true
		for _, a := range list {
			known[a]++
			for _, b := range list {
				g.shares[a*n+b]++
			}
		}
	}
	for a := range n {
		for b := range n {
			if known[a] > 0 && known[b] > 0 {
				g.shares[a*n+b] /= math.Sqrt(known[a] * known[b])
			}
			near := 0.0
			for _, x := range bytes {
				g.sizes[a*n+b] += x[a] * x[b] / 4
				near += (x[a] - x[b]) * (x[a] - x[b])
			}
			g.sizes[a*n+b] += math.Exp(-2*near) / 2
		}
	}
}

// standardize shifts and scales numbers to mean zero and deviation one; equal ones become zero.
func standardize(x []float64) {
	mean, square := 0.0, 0.0
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		square += (v - mean) * (v - mean) / float64(len(x))
	}
	for k := range x {
		if x[k] -= mean; square > 0 {
			x[k] /= math.Sqrt(square)
		}
	}
}

func (e *estimates) finished(task int, seconds float64) {
	g := &e.groups[e.group[task]]
	e.measured[task] = math.Log(seconds + least)
	g.finished, g.off = g.finished+1, g.off+e.measured[task]-e.prior[task]
}

// fit brings what is believed of a category up to date. O(tasks³), and as much for each kind by at most 64 tasks when twice as many have finished as the last time.
func (e *estimates) fit(g *group) {
	n := len(g.tasks)
	figures, errors := make([]float64, n), make([]float64, n)
	bias, center := g.off/float64(g.finished+few), 0.0
	for at, i := range g.tasks {
		if figures[at], errors[at] = e.prior[i]+bias, e.error*e.error; !math.IsNaN(e.measured[i]) {
			figures[at], errors[at] = e.measured[i], exact*exact
		}
		center += figures[at] / float64(n)
	}
	for at := range figures {
		figures[at] -= center
	}
	if g.judged < 0 || g.finished >= 2*g.judged+1 {
		g.judge(figures, errors)
		g.judged = g.finished
	}
	all := make([]int, n)
	for at := range all {
		all[at] = at
	}
	g.mean, g.doubt, g.fitted = make([]float64, n), make([]float64, n), g.finished
	for _, k := range g.kinds {
		m, solved, _ := g.solve(k, all, figures, errors)
		inverse := inverseDiagonal(m, n)
		for at := range all {
			x := figures[at] - errors[at]*solved[at]
			g.mean[at] += k.weight * x
			g.doubt[at] += k.weight * (x*x + errors[at]*(1-errors[at]*inverse[at]))
		}
	}
	for at := range all {
		g.doubt[at] = math.Sqrt(math.Max(g.doubt[at]-g.mean[at]*g.mean[at], 0))
		g.mean[at] += center
	}
}

// judge weighs the kinds by the likelihood of the figures.
func (g *group) judge(figures, errors []float64) {
	n := len(figures)
	some := make([]int, min(n, enough))
	for k := range some {
		some[k] = k * n / len(some)
	}
	g.kinds = slices.Clone(kinds)
	likely := math.Inf(-1)
	for k := range g.kinds {
		_, _, g.kinds[k].weight = g.solve(g.kinds[k], some, figures, errors)
		likely = math.Max(likely, g.kinds[k].weight)
	}
	sum := 0.0
	for k := range g.kinds {
		g.kinds[k].weight = math.Exp(g.kinds[k].weight - likely)
		sum += g.kinds[k].weight
	}
	slices.SortStableFunc(g.kinds, func(a, b kind) int { return cmp.Compare(b.weight, a.weight) })
	keep := 1
	for n <= enough && keep < len(g.kinds) && g.kinds[keep].weight > slight*sum {
		keep++
	}
	g.kinds = g.kinds[:keep]
	sum = 0
	for _, k := range g.kinds {
		sum += k.weight
	}
	for k := range g.kinds {
		g.kinds[k].weight /= sum
	}
}

// solve returns the Cholesky factor of the covariance of some figures by a kind, the figures divided by the covariance, and the logarithm of their likelihood but for a constant.
func (g *group) solve(k kind, some []int, figures, errors []float64) (m, solved []float64, likelihood float64) {
	n, all := len(some), len(figures)
	m, solved = make([]float64, n*n), make([]float64, n)
	for a, i := range some {
		for b, j := range some[:a+1] {
			m[a*n+b] = wide*wide + k.sizes*k.sizes*g.sizes[i*all+j] + k.shares*k.shares*g.shares[i*all+j]
		}
		m[a*n+a] += k.own*k.own + errors[i]
		solved[a] = figures[i]
	}
	for a := range n {
		row := m[a*n : a*n+a+1]
		for b := range row {
			other := m[b*n : b*n+b+1]
			sum := row[b]
			for c := range b {
				sum -= row[c] * other[c]
			}
			if b == a {
				row[b] = math.Sqrt(math.Max(sum, 1e-12))
				likelihood -= math.Log(row[b])
			} else {
				row[b] = sum / other[b]
			}
		}
		for c := range a {
			solved[a] -= row[c] * solved[c]
		}
		solved[a] /= row[a]
		likelihood -= solved[a] * solved[a] / 2
	}
	for a := n - 1; a >= 0; a-- {
		solved[a] /= m[a*n+a]
		for c := range a {
			solved[c] -= m[a*n+c] * solved[a]
		}
	}
	return m, solved, likelihood
}

// inverseDiagonal is the diagonal of the inverse of the matrix with the given Cholesky factor.
func inverseDiagonal(m []float64, n int) []float64 {
	diagonal, column := make([]float64, n), make([]float64, n)
	for c := range n {
		for a := c; a < n; a++ {
			sum := 0.0
			if a == c {
				sum = 1
			}
			row := m[a*n : a*n+a+1]
			for b := c; b < a; b++ {
				sum -= row[b] * column[b]
			}
			column[a] = sum / row[a]
			diagonal[c] += column[a] * column[a]
		}
	}
	return diagonal
}

// expect estimates a task that has not finished.
func (e *estimates) expect(task int) float64 {
	seconds, _ := e.believe(task)
	return seconds
}

// believe is expect with the standard deviation of the logarithm that is left.
func (e *estimates) believe(task int) (seconds, doubt float64) {
	g := &e.groups[e.group[task]]
	if n := len(g.tasks); e.error == 0 || n == 1 {
		return math.Max(math.Exp(e.prior[task])-least, 0), e.error
	} else if g.fitted < 0 || g.finished-g.fitted > n/fitParts {
		e.fit(g)
	}
	return math.Max(math.Exp(g.mean[e.place[task]])-least, 0), g.doubt[e.place[task]]
}

// given estimates a task that has already run for some time: the mean of the lognormal distribution above that.
func (e *estimates) given(task int, elapsed float64) float64 {
	seconds, sigma := e.believe(task)
	if elapsed <= 0 || sigma <= 0 {
		return seconds
	}
	mu, at := math.Log(seconds+least), math.Log(elapsed+least)
	tail := func(x float64) float64 { return math.Erfc(x/math.Sqrt2) / 2 }
	rest := tail((at - mu) / sigma)
	if rest < 1e-6 {
		return elapsed * 1.1
	}
	return math.Exp(mu+sigma*sigma/2) * tail((at-mu)/sigma-sigma) / rest
}
