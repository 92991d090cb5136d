package file

import "sync"

// folder makes renames into one folder durable. Callers that come while a sync runs share the next one.
type folder struct {
	path    string
	mu      sync.Mutex
	idle    *sync.Cond // on mu: syncing became false
	renames int        // so far
	synced  int        // renames known to be durable
	syncing bool
}

// renamed counts a rename that was made.
func (f *folder) renamed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.renames++
}

// sync returns when every rename counted before the call is durable.
func (f *folder) sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	want := f.renames
	for f.synced < want {
		if f.syncing {
			f.idle.Wait()
			continue
		}
		f.syncing = true
		covered := f.renames
		f.mu.Unlock()
		err := syncDir(f.path)
		f.mu.Lock()
		f.syncing = false
		f.idle.Broadcast()
		if err != nil {
			return err
		}
		f.synced = covered
	}
	return nil
}
