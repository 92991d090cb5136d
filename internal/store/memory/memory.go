// Package memory keeps CloudCrowd's state in memory: the store of simulations and tests. It keeps the contract to the letter except that
// nothing survives the process; a server that "restarts" over the same Store finds everything it committed.
package memory

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"sync"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Options are faults to inject. The zero value injects none. The hooks run while the store is locked: they must not call it.
type Options struct {
	// FailCommit is asked before every Commit is looked at; an error is returned to the caller and nothing is written.
	FailCommit func(store.Batch) error
	// LoseAnswer is asked after a Commit was written; an error is returned to the caller all the same, as when a server dies
	// between the disk and the answer.
	LoseAnswer func(store.Batch) error
	// Fail is asked before every other call that writes, with the method's name; an error is returned and nothing is written.
	Fail func(method string) error

	// Defects, for tests that must notice them. Unfenced takes commits under any epoch; PayFirst books transfers before FailCommit is asked.
	Unfenced, PayFirst bool
}

// Store is a store in memory. Its methods are safe for concurrent use.
type Store struct {
	options Options

	mu       sync.RWMutex
	closed   bool
	shards   map[int]*shard
	accounts map[cloudcrowd.AccountID]cloudcrowd.Account
	holds    map[cloudcrowd.JobID]cloudcrowd.Hold
	// transfers in the order they were committed
	transfers []numbered

	jobs     map[cloudcrowd.JobID]sharded[store.JobRow]
	tasks    map[cloudcrowd.TaskID]sharded[cloudcrowd.Task]
	attempts map[cloudcrowd.AttemptID]sharded[cloudcrowd.Attempt]
	charges  map[cloudcrowd.AttemptID]sharded[cloudcrowd.Charge]
	records  map[recordKey]sharded[cloudcrowd.Record]

	tokens   map[string]hashed[cloudcrowd.Token]  // by id
	invites  map[string]hashed[cloudcrowd.Invite] // by id
	workers  map[cloudcrowd.WorkerID]store.WorkerRow
	settings map[string]string
	servers  map[string]store.Server
}

type shard struct {
	head      store.Head
	sum       uint32   // of the snapshot
	rows      []summed // row Seq is at Seq-1
	projected int64
}

// summed is a journal row and the checksum of its bytes.
type summed struct {
	store.Row
	sum uint32
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

var errSum = errors.New("its bytes do not match their checksum")

type numbered struct {
	cloudcrowd.Transfer
	n int64
}

// sharded is a projected value and the shard it came from.
type sharded[T any] struct {
	v     T
	shard int
}

// recordKey names a worker's record: each shard keeps its own.
type recordKey struct {
	worker cloudcrowd.WorkerID
	shard  int
}

// hashed is a value of the directory and the hash of its secret.
type hashed[T any] struct {
	v    T
	hash string
}

var _ store.Store = (*Store)(nil)

// New returns an empty store.
func New(o Options) *Store {
	return &Store{
		options:  o,
		shards:   map[int]*shard{},
		accounts: map[cloudcrowd.AccountID]cloudcrowd.Account{},
		holds:    map[cloudcrowd.JobID]cloudcrowd.Hold{},
		jobs:     map[cloudcrowd.JobID]sharded[store.JobRow]{},
		tasks:    map[cloudcrowd.TaskID]sharded[cloudcrowd.Task]{},
		attempts: map[cloudcrowd.AttemptID]sharded[cloudcrowd.Attempt]{},
		charges:  map[cloudcrowd.AttemptID]sharded[cloudcrowd.Charge]{},
		records:  map[recordKey]sharded[cloudcrowd.Record]{},
		tokens:   map[string]hashed[cloudcrowd.Token]{},
		invites:  map[string]hashed[cloudcrowd.Invite]{},
		workers:  map[cloudcrowd.WorkerID]store.WorkerRow{},
		settings: map[string]string{},
		servers:  map[string]store.Server{},
	}
}

// Close refuses further calls.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

var errClosed = cloudcrowd.Errorf(cloudcrowd.Unavailable, "the store is closed")

// view runs fn while nothing is written.
func (s *Store) view(ctx context.Context, fn func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return errClosed
	}
	return fn()
}

// update runs fn alone. fn checks everything before it changes anything.
func (s *Store) update(ctx context.Context, method string, fn func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if method != "" && s.options.Fail != nil {
		if err := s.options.Fail(method); err != nil {
			return err
		}
	}
	return fn()
}

// Acquire implements store.Shards.
func (s *Store) Acquire(ctx context.Context, n int) (store.Head, error) {
	return s.take(ctx, "Acquire", n, "", nil)
}

// Claim implements store.Shards.
func (s *Store) Claim(ctx context.Context, n int, owner string, seen int64) (store.Head, error) {
	if err := store.CheckClaim(owner, seen); err != nil {
		return store.Head{}, err
	}
	return s.take(ctx, "Claim", n, owner, &seen)
}

// take raises a shard's epoch, if it is still the one seen (nil: whatever it is), and writes its owner.
func (s *Store) take(ctx context.Context, method string, n int, owner string, seen *int64) (head store.Head, err error) {
	if n < 0 {
		return head, cloudcrowd.Errorf(cloudcrowd.Invalid, "shard %d is negative", n)
	}
	err = s.update(ctx, method, func() error {
		h := s.shards[n]
		if h == nil {
			h = &shard{}
		}
		if seen != nil && h.head.Epoch != *seen {
			return store.ErrFenced
		}
		if sum(h.head.Snapshot) != h.sum {
			return &store.CorruptError{What: fmt.Sprintf("snapshot %d/%d", n, h.head.SnapshotSeq), Err: errSum}
		}
		h.head.Epoch++
		h.head.Owner = owner
		s.shards[n] = h
		head = h.head
		head.Snapshot = slices.Clone(head.Snapshot)
		return nil
	})
	return head, err
}

// Release implements store.Shards.
func (s *Store) Release(ctx context.Context, n int, epoch int64) error {
	return s.update(ctx, "Release", func() error {
		h := s.shards[n]
		if h == nil || h.head.Epoch != epoch {
			return store.ErrFenced
		}
		h.head.Owner = ""
		return nil
	})
}

// Rows implements store.Shards.
func (s *Store) Rows(ctx context.Context, n int, after int64, fn func(store.Row) error) error {
	var rows []summed
	err := s.view(ctx, func() error {
		if h := s.shards[n]; h != nil && after < int64(len(h.rows)) {
			rows = h.rows[max(after, 0):len(h.rows):len(h.rows)] // rows are never changed, only added
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range rows {
		if err := ctx.Err(); err != nil {
			return err
		}
		if sum(r.Events) != r.sum {
			return &store.CorruptError{What: fmt.Sprintf("journal row %d/%d", n, r.Seq), Err: errSum}
		}
		r.Events = slices.Clone(r.Events)
		if err := fn(r.Row); err != nil {
			return err
		}
	}
	return nil
}

// Commit implements store.Shards.
func (s *Store) Commit(ctx context.Context, b store.Batch) error {
	return s.update(ctx, "", func() error {
		if s.options.PayFirst {
			if early, err := store.Apply(b, books{s}); err == nil {
				defer func() { s.book(early) }()
			}
		}
		if s.options.FailCommit != nil {
			if err := s.options.FailCommit(b); err != nil {
				return err
			}
		}
		h := s.shards[b.Shard]
		if h == nil || h.head.Epoch != b.Epoch && !s.options.Unfenced || h.head.Seq != b.Seq-1 {
			return store.ErrFenced
		}
		changes, err := store.Apply(b, books{s})
		if err != nil {
			return err
		}
		h.head.Seq = b.Seq
		h.rows = append(h.rows, summed{store.Row{Seq: b.Seq, Epoch: b.Epoch, At: b.At, Count: b.Count, Events: append([]byte{}, b.Events...), Seen: s.seen(b)}, sum(b.Events)})
		s.book(changes)
		for i, t := range b.Transfers {
			s.transfers = append(s.transfers, numbered{t, changes.Numbers[i]})
		}
		if s.options.LoseAnswer != nil {
			return s.options.LoseAnswer(b)
		}
		return nil
	})
}

// seen is where the other shards stand while a batch spends credits.
func (s *Store) seen(b store.Batch) (seen store.Seen) {
	if len(store.Spenders(b)) == 0 {
		return nil
	}
	for n, h := range s.shards {
		if n != b.Shard && h.head.Seq > 0 {
			if seen == nil {
				seen = store.Seen{}
			}
			seen[n] = h.head.Seq
		}
	}
	return seen
}

// book writes what a batch changed in the ledger.
func (s *Store) book(c store.Changes) {
	for _, a := range c.Accounts {
		s.accounts[a.ID] = a
	}
	for _, hold := range c.Holds {
		s.holds[hold.Job] = hold
	}
}

type books struct{ s *Store }

func (b books) Account(id cloudcrowd.AccountID) (cloudcrowd.Account, error) {
	return b.s.account(id), nil
}

func (b books) Hold(job cloudcrowd.JobID) (cloudcrowd.Hold, bool, error) {
	h, ok := b.s.holds[job]
	return h, ok, nil
}

// SaveSnapshot implements store.Shards.
func (s *Store) SaveSnapshot(ctx context.Context, n int, epoch, seq int64, state []byte) error {
	return s.update(ctx, "SaveSnapshot", func() error {
		h := s.shards[n]
		if h == nil || h.head.Epoch != epoch || seq > h.head.Seq || seq < h.head.SnapshotSeq {
			return store.ErrFenced
		}
		h.head.SnapshotSeq, h.head.Snapshot, h.sum = seq, append([]byte{}, state...), sum(state)
		return nil
	})
}

// ShardList implements store.Shards.
func (s *Store) ShardList(ctx context.Context) (heads map[int]store.Head, err error) {
	heads = map[int]store.Head{}
	err = s.view(ctx, func() error {
		for n, h := range s.shards {
			head := h.head
			head.Snapshot = nil
			heads[n] = head
		}
		return nil
	})
	return heads, err
}

// FlipSnapshot changes a bit of a shard's snapshot, as a failing disk does; once more changes it back.
func (s *Store) FlipSnapshot(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shards[n].head.Snapshot = flipped(s.shards[n].head.Snapshot)
}

// FlipRow does the same to a row of its journal.
func (s *Store) FlipRow(n int, seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	row := &s.shards[n].rows[seq-1]
	row.Events = flipped(row.Events)
}

// flipped copies: what was read before stays as it was.
func flipped(b []byte) []byte {
	b = slices.Clone(b)
	b[len(b)/2] ^= 1
	return b
}

// ids returns a map's keys in order.
func ids[K ~string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func notFound(what string, id any) error {
	return cloudcrowd.Errorf(cloudcrowd.NotFound, "there is no %s %q", what, fmt.Sprint(id))
}
