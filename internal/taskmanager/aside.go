package taskmanager

import "sync"

// aside runs short work that asks the store something beside the loop, a few at a time and in order: when ten thousand workers come at once, as many goroutines
// would wait for one database, and what they are made of is never given back.
type aside struct {
	perform func(work func()) // see Config.Perform

	mu      sync.Mutex
	waiting []func()
	running int
}

const mostAside = 16

// do runs work soon.
func (a *aside) do(work func()) {
	a.mu.Lock()
	a.waiting = append(a.waiting, work)
	start := a.running < mostAside
	if start {
		a.running++
	}
	a.mu.Unlock()
	if start {
		a.perform(a.run)
	}
}

// run works until nothing waits.
func (a *aside) run() {
	for {
		a.mu.Lock()
		if len(a.waiting) == 0 {
			a.waiting = nil
			a.running--
			a.mu.Unlock()
			return
		}
		work := a.waiting[0]
		a.waiting[0] = nil
		a.waiting = a.waiting[1:]
		a.mu.Unlock()
		work()
	}
}
