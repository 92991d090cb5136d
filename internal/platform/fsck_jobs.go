package platform

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// checkOpenJobs checks the jobs that run: their counts, their leases, and the blobs they need.
func (c *checker) checkOpenJobs() error {
	for _, s := range c.shards {
		if !s.sound {
			continue
		}
		c.checkState(s.state)
		for _, id := range slices.Sorted(maps.Keys(s.state.Jobs)) {
			j := s.state.Jobs[id]
			c.checkMoney(j)
			c.checkLeases(j)
			c.needBlobs(j)
		}
	}
	return nil
}

// checkLeases holds that whoever has a lease is a registered worker, and that its owner is who is paid.
func (c *checker) checkLeases(j *lifecycle.Job) {
	for si, stage := range j.Stages {
		for ti, t := range stage.Tasks {
			for _, a := range t.Attempts {
				if a.State != cloudcrowd.AttemptLeased {
					continue
				}
				id := cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: j.ID, Stage: int32(si), Index: int32(ti)}, N: a.N}
				switch w, ok := c.workers[a.Worker]; {
				case !ok:
					c.fault("lease of attempt "+id.String(), "it is held by worker %s, which is not registered", a.Worker)
				case w.Owner != a.Owner:
					c.fault("lease of attempt "+id.String(), "it is to be paid to %s, the owner of worker %s is %s", a.Owner, a.Worker, w.Owner)
				}
			}
		}
	}
}

// checkSnapshots holds that a stored snapshot, with the journal behind it replayed, gives the same state as the whole journal.
func (c *checker) checkSnapshots() error {
	for _, s := range c.shards {
		seq, b, err := c.db.Snapshot(c.ctx, s.number)
		if err != nil {
			if err := c.damage(err); err != nil {
				return err
			}
			continue
		}
		if b == nil {
			continue
		}
		subject := fmt.Sprintf("snapshot %d/%d", s.number, seq)
		st, err := decodeState(b)
		switch {
		case err != nil:
			c.fault(subject, "it cannot be decoded: %v", err)
			continue
		case seq > s.head.Seq:
			c.fault(subject, "it is of row %d, the journal's head says %d", seq, s.head.Seq)
			continue
		case seq > s.projected:
			c.fault(subject, "the tables contain the journal up to row %d only, and a server that starts from this snapshot does not read what lies between", s.projected)
		}
		if !s.sound {
			continue
		}
		st.Shard, st.Seq = s.number, seq
		var refused error
		err = c.db.Rows(c.ctx, s.number, seq, func(row store.Row) error {
			var out lifecycle.Out
			_, refused = st.Replay(row.Seq, row.At, row.Events, &out)
			return refused
		})
		if refused != nil {
			c.fault(subject, "the journal behind it cannot follow it: %v", refused)
			continue
		}
		if err != nil {
			return err
		}
		if err := c.compareStates(subject, s, st); err != nil {
			return err
		}
	}
	return nil
}

// decodeState is lifecycle.DecodeState for bytes that may be anything.
func decodeState(b []byte) (st *lifecycle.State, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it is no state: %v", r)
		}
	}()
	return lifecycle.DecodeState(b)
}

// compareStates compares the state by a snapshot with that by the whole journal. Only ended jobs may be missing in it.
func (c *checker) compareStates(subject string, s *shard, st *lifecycle.State) error {
	for _, id := range slices.Sorted(maps.Keys(st.Jobs)) {
		have, err := encodeJob(st.Jobs[id])
		if err != nil {
			return err
		}
		hash, ended := s.ended[id]
		switch open := s.state.Jobs[id]; {
		case open != nil:
			want, err := encodeJob(open)
			if err != nil {
				return err
			}
			if string(have) != string(want) {
				c.fault(subject, "job %s: %s", id, differences(asJSON(st.Jobs[id]), asJSON(open)))
			}
		case !ended:
			c.fault(subject, "it holds job %s, the journal does not know it", id)
		case hash != maphash.Bytes(seed, have):
			c.fault(subject, "job %s, which has ended, is not as the journal left it: it is %s with %d posted", id, st.Jobs[id].State, st.Jobs[id].Posted)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.state.Jobs)) {
		if st.Jobs[id] == nil {
			c.fault(subject, "it lacks job %s, which is %s", id, s.state.Jobs[id].State)
		}
	}
	for _, part := range []struct {
		what          string
		have, journal any
	}{{"records of workers", st.Records, s.state.Records}, {"idempotency keys", st.Keys, s.state.Keys}, {"rates", st.Rates, s.state.Rates}} {
		if a, b := asJSON(part.have), asJSON(part.journal); string(a) != string(b) {
			c.fault(subject, "%s: %s", part.what, differences(a, b))
		}
	}
	return nil
}

func asJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte(fmt.Sprintf("%+v", v))
	}
	return b
}
