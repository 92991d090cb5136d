package replay

import "math"

// estimates is what is believed of the lengths of tasks: something known of each beforehand, with an error of known size, and what finished tasks of the same category
// took. It is empirical Bayes (Efron, Morris: Data analysis using Stein's estimator and its generalizations, JASA 1975) on logarithms: within a category lengths spread
// around a mean; what the spread of the figures known beforehand exceeds their error by is the true spread; each figure is drawn to the mean by the ratio of the two.
type estimates struct {
	category []int
	prior    []float64 // logarithm of what is known beforehand, by task
	error    float64   // standard deviation of prior
	groups   []group
}

// group is a category. Sums are over its tasks: the measured length where there is one, otherwise the prior.
type group struct {
	n, finished  float64
	sum, squares float64
	off          float64 // sum of measured minus prior
}

// least keeps logarithms finite: tasks of no length are recorded, too.
const least = 1e-3

func newEstimates(category []int, prior []float64, sigma float64) *estimates {
	e := &estimates{category: category, error: sigma}
	for i, seconds := range prior {
		x := math.Log(seconds + least)
		e.prior = append(e.prior, x)
		for len(e.groups) <= category[i] {
			e.groups = append(e.groups, group{})
		}
		g := &e.groups[category[i]]
		g.n, g.sum, g.squares = g.n+1, g.sum+x, g.squares+x*x
	}
	return e
}

func (e *estimates) finished(task int, seconds float64) {
	g, x, was := &e.groups[e.category[task]], math.Log(seconds+least), e.prior[task]
	g.finished++
	g.sum, g.squares, g.off = g.sum+x-was, g.squares+x*x-was*was, g.off+x-was
}

// expect estimates a task that has not finished.
func (e *estimates) expect(task int) float64 {
	seconds, _ := e.believe(task)
	return seconds
}

// believe is expect with the standard deviation of the logarithm that is left.
func (e *estimates) believe(task int) (seconds, doubt float64) {
	g, x := &e.groups[e.category[task]], e.prior[task]
	const few = 4 // measurements that weigh as much as the belief that what is known beforehand is right on average
	bias := g.off / (g.finished + few)
	mean := (g.sum + bias*(g.n-g.finished)) / g.n
	noise := e.error * e.error
	if g.n > 1 && noise > 0 {
		spread := (g.squares - g.sum*g.sum/g.n) / (g.n - 1)
		truth := math.Max(spread-noise*(g.n-g.finished)/g.n, noise/50)
		share := truth / (truth + noise)
		x = share*(x+bias) + (1-share)*mean
		noise *= share
	} else {
		x += bias
	}
	return math.Max(math.Exp(x)-least, 0), math.Sqrt(noise)
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
