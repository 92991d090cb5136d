package platform

import (
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strconv"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/tables"
)

// shard is what the journal of one shard says.
type shard struct {
	number    int
	head      store.Head
	projected int64
	sound     bool                        // every row could be read and replayed, up to the head
	state     *lifecycle.State            // after the last row; ended jobs are dropped as they end
	ended     map[cloudcrowd.JobID]uint64 // hashes of their states
	epoch     int64                       // of the last row
}

func (s *shard) row(seq int64) string { return fmt.Sprintf("journal row %d/%d", s.number, seq) }
func (s *shard) journal() string      { return fmt.Sprintf("journal of shard %d", s.number) }

// replayAll replays every journal from its first row, and collects what ledger and tables should hold.
func (c *checker) replayAll() error {
	heads, err := c.db.ShardList(c.ctx)
	if err != nil {
		return err
	}
	ends, err := c.db.JournalEnds(c.ctx)
	if err != nil {
		return err
	}
	if err := c.countShards(heads); err != nil {
		return err
	}
	c.balanced = true
	for _, n := range slices.Sorted(maps.Keys(heads)) {
		s := &shard{number: n, head: heads[n], sound: true, state: lifecycle.NewState(n), ended: map[cloudcrowd.JobID]uint64{}}
		if s.projected, err = c.db.ProjectedTo(c.ctx, n); err != nil {
			return err
		}
		c.shards = append(c.shards, s)
	}
	if err := c.replayInOrder(); err != nil {
		return err
	}
	c.checkSeen()
	for _, s := range c.shards {
		if end := ends[s.number]; end > s.head.Seq {
			c.fault(s.journal(), "its rows go up to %d, its head says %d", end, s.head.Seq)
			s.sound = false
		}
		if s.projected > s.head.Seq {
			c.fault(fmt.Sprintf("tables of shard %d", s.number), "they say that they contain the journal up to row %d, its head says %d", s.projected, s.head.Seq)
		}
		if !s.sound {
			c.balanced = false
			c.note(s.journal(), "holds, leases, tables and snapshots were not compared with it, because it is not whole")
		}
		delete(ends, s.number)
	}
	var said map[int]int64
	if w, ok := c.db.(witnessed); ok {
		said = w.Acknowledged()
	}
	for number, acknowledged := range said {
		if head := heads[number].Seq; head < acknowledged {
			c.fault(fmt.Sprintf("journal of shard %d", number), "it ends at row %d, but rows up to %d were acknowledged", head, acknowledged)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(ends)) {
		c.fault(fmt.Sprintf("journal of shard %d", n), "it has rows up to %d, but no such shard exists", ends[n])
	}
	return nil
}

// countShards finds out among how many shards jobs are distributed. A shard beyond them is served by nobody.
func (c *checker) countShards(heads map[int]store.Head) error {
	text, err := c.db.Setting(c.ctx, shardsKey)
	if err != nil {
		return err
	}
	if c.among = len(heads); text == "" {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		c.fault("setting "+shardsKey, "it is %q, not a number of shards", text)
		return nil
	}
	c.among = n
	for _, number := range slices.Sorted(maps.Keys(heads)) {
		if number >= n && heads[number].Seq > 0 {
			c.fault(fmt.Sprintf("journal of shard %d", number), "jobs are distributed among %d shards, nobody serves this one", n)
		}
	}
	return nil
}

// replayRow applies a row and collects what follows from it.
func (c *checker) replayRow(s *shard, row store.Row) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("what it did cannot be told: %v", r)
		}
	}()
	var out lifecycle.Out
	events, err := s.state.Replay(row.Seq, row.At, row.Events, &out)
	if err != nil {
		return err
	}
	if len(events) != row.Count {
		c.fault(s.row(row.Seq), "it holds %d events, its count says %d", len(events), row.Count)
	}
	for _, ev := range events {
		switch {
		case ev.JobSubmitted != nil:
			c.report.Jobs++
			if id := ev.JobSubmitted.Job; store.ShardOf(id, c.among) != s.number {
				c.fault("job "+string(id), "it is in the journal of shard %d, whoever looks for it asks shard %d", s.number, store.ShardOf(id, c.among))
			}
		case ev.TaskCarved != nil:
			c.report.Tasks++
		}
	}
	transfers := out.Money.Transfers(s.number, row.Seq, row.At)
	c.report.Transfers += int64(len(transfers))
	if c.follow == nil {
		for _, t := range transfers {
			c.transfers.add(transferItem(t), true)
		}
	}
	if c.balanced {
		if err := c.book.Apply(out.Money.Place, transfers, out.Money.End); err != nil {
			c.fault(s.row(row.Seq), "the ledger cannot follow it: %v", err)
			c.balanced = false
		}
	}
	if c.follow != nil {
		err = c.follow(s, row, transfers, &out)
	} else {
		err = c.expect(s, row, &out)
	}
	if err != nil {
		return err
	}
	for _, id := range out.Jobs {
		if j := s.state.Jobs[id]; j != nil && j.State.Ended() {
			if err := c.jobEnded(s, j); err != nil {
				return err
			}
		}
	}
	return nil
}

// expect collects what a row did to the readable tables.
func (c *checker) expect(s *shard, row store.Row, out *lifecycle.Out) error {
	items, err := c.derived(s, row, out)
	if err != nil {
		return err
	}
	for _, it := range items {
		if it.once && c.tables.has(it.subject) {
			c.fault(it.subject, "it is made twice, the second time by %s", s.row(row.Seq))
		}
		c.tables.add(it, row.Seq <= s.projected)
	}
	return nil
}

// derived is what a row did to the readable tables.
func (c *checker) derived(s *shard, row store.Row, out *lifecycle.Out) ([]item, error) {
	rows, err := tables.Rows(c.rows.Rows(s.state, row, out))
	if err != nil {
		return nil, err
	}
	items := make([]item, len(rows))
	for i, r := range rows {
		items[i] = tableItem(r)
	}
	return items, nil
}

// jobEnded checks a job for the last time and drops it: no event concerns it any more.
func (c *checker) jobEnded(s *shard, j *lifecycle.Job) error {
	one := lifecycle.NewState(s.number)
	one.Jobs[j.ID] = j
	c.checkState(one)
	c.checkMoney(j)
	c.needBlobs(j)
	b, err := encodeJob(j)
	if err != nil {
		return err
	}
	s.ended[j.ID] = maphash.Bytes(seed, b)
	s.state.Forget(j.ID)
	return nil
}

// checkState recomputes what a state counts.
func (c *checker) checkState(st *lifecycle.State) {
	for _, bad := range st.Check() {
		subject, text, ok := strings.Cut(bad, ": ")
		if !ok {
			subject, text = fmt.Sprintf("state of shard %d", st.Shard), bad
		}
		c.fault(subject, "%s", text)
	}
}

// checkMoney compares a job's money with its hold.
func (c *checker) checkMoney(j *lifecycle.Job) {
	if !c.balanced {
		return
	}
	h := c.book.Holds[j.ID]
	if h == nil {
		h = &cloudcrowd.Hold{}
	}
	if h.Posted != j.Posted || h.Amount != j.Budget {
		c.fault("hold of job "+string(j.ID), "the transfers make it %d posted of %d, its attempts %d of %d", h.Posted, h.Amount, j.Posted, j.Budget)
	}
}

// encodeJob is a job's state in bytes: states that decide alike have equal bytes. The job is no worse for it, but its history is gone.
func encodeJob(j *lifecycle.Job) ([]byte, error) {
	j.RetireAll()
	j.DropFigures()
	one := lifecycle.State{Jobs: map[cloudcrowd.JobID]*lifecycle.Job{j.ID: j}}
	return one.Encode()
}

// seed makes the hashes of one process comparable.
var seed = maphash.MakeSeed()
