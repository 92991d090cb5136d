package platform

import (
	"errors"
	"maps"
	"slices"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/ledger"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/history"
	"cloudcrowd.dev/cloudcrowd/internal/store/tables"
)

// sound reports whether all journals could be replayed: a table may hold rows of any shard.
func (c *checker) sound() bool {
	return !slices.ContainsFunc(c.shards, func(s *shard) bool { return !s.sound })
}

// checkTables compares the readable tables with what the journals say they hold.
func (c *checker) checkTables() error {
	if !c.sound() {
		return nil
	}
	wrong := map[string][]byte{}
	err := tables.Walk(c.ctx, c.db, func(r tables.Row) error {
		if it := tableItem(r); !c.tables.found(it) {
			c.wrong(wrong, it.subject, it.doc)
		}
		return nil
	}, c.damage) // what a damaged segment held is missing
	if err != nil {
		return err
	}
	if err := c.explain(c.tables, wrong, "the tables", c.derived); err != nil {
		return err
	}
	return c.checkListings()
}

// checkListings holds that every list by time leads to all segments that hold something of it.
func (c *checker) checkListings() error {
	var missing, foreign []string
	err := tables.Listings(c.ctx, c.db, func(l history.Listing) { missing = append(missing, l.String()) }, func(l history.Listing) { foreign = append(foreign, l.String()) })
	slices.Sort(missing)
	for _, l := range missing {
		c.fault(l, "it is not listed there as it should be")
	}
	for _, l := range foreign {
		c.fault(l, "it is listed there, but holds nothing of it, or not at these times")
	}
	return err
}

// checkLedger compares transfers, accounts and holds with those that follow from the journals.
func (c *checker) checkLedger() error {
	wrong := map[string][]byte{}
	stored := map[cloudcrowd.AccountID]cloudcrowd.Credits{} // balances by the stored transfers
	for p := (store.Page{Limit: 1000}); ; {
		list, next, err := c.db.Transfers(c.ctx, store.TransferFilter{}, p)
		if err != nil {
			return err
		}
		for _, t := range list {
			stored[t.Debit] -= t.Amount
			stored[t.Credit] += t.Amount
			if it := transferItem(t); !c.transfers.found(it) {
				c.wrong(wrong, it.subject, it.doc)
			}
		}
		if p.Cursor = next; next == "" {
			break
		}
	}
	if c.sound() {
		err := c.explain(c.transfers, wrong, "the ledger", func(s *shard, row store.Row, out *lifecycle.Out) (items []item, err error) {
			for _, t := range out.Money.Transfers(s.number, row.Seq, row.At) {
				items = append(items, transferItem(t))
			}
			return items, nil
		})
		if err != nil {
			return err
		}
	}
	return errors.Join(c.checkAccounts(stored), c.checkHolds())
}

func (c *checker) checkAccounts(stored map[cloudcrowd.AccountID]cloudcrowd.Credits) error {
	accounts, err := c.db.Accounts(c.ctx)
	if err != nil {
		return err
	}
	have := map[cloudcrowd.AccountID]cloudcrowd.Account{}
	var sum cloudcrowd.Credits
	for _, a := range accounts {
		have[a.ID] = a
		sum += a.Balance
		if a.ID != cloudcrowd.IssuerAccount && a.Balance-a.Held < 0 {
			c.fault("account "+string(a.ID), "it is below zero: its balance is %d, %d of it held", a.Balance, a.Held)
		}
	}
	if sum != 0 {
		c.fault("the ledger", "the balances of all accounts make %d, they must make 0", sum)
	}
	if !c.balanced { // without the journal, the stored transfers are what balances can be compared with
		c.book = ledger.NewBook()
		for id, balance := range stored {
			c.book.Account(id).Balance = balance
			c.book.Account(id).Held = have[id].Held
		}
	}
	for _, id := range slices.Sorted(maps.Keys(have)) {
		c.book.Account(id) // one that no transfer knows is expected to be empty
	}
	for _, id := range slices.Sorted(maps.Keys(c.book.Accounts)) {
		is, should := have[id], c.book.Accounts[id]
		if is.Balance != should.Balance {
			c.fault("account "+string(id), "its balance is %d, its transfers make %d", is.Balance, should.Balance)
		}
		if is.Held != should.Held {
			c.fault("account "+string(id), "%d are held, its holds make %d", is.Held, should.Held)
		}
	}
	return nil
}

func (c *checker) checkHolds() error {
	holds, err := c.db.Holds(c.ctx, "")
	if err != nil || !c.balanced {
		return err
	}
	for _, h := range holds {
		should := c.book.Holds[h.Job]
		switch {
		case should == nil:
			c.fault("hold of job "+string(h.Job), "it is %d of account %s, the journal knows no such job", h.Amount, h.Account)
		case *should != h:
			c.fault("hold of job "+string(h.Job), "it is %s on account %s with %d posted of %d, since %d; the journal says %s, %s, %d of %d, since %d",
				h.State, h.Account, h.Posted, h.Amount, h.At, should.State, should.Account, should.Posted, should.Amount, should.At)
		}
		delete(c.book.Holds, h.Job)
	}
	for _, job := range slices.Sorted(maps.Keys(c.book.Holds)) {
		h := c.book.Holds[job]
		c.fault("hold of job "+string(job), "it is missing, the journal says %d of account %s, %s", h.Amount, h.Account, h.State)
	}
	return nil
}

// wrong remembers a row to be explained, as long as the report has room.
func (c *checker) wrong(list map[string][]byte, subject string, doc []byte) {
	if len(list) >= MaxProblems {
		c.report.Omitted++
		return
	}
	list[subject] = doc
}

// explain names what is missing, too much or different. It replays the journals once more for the values that only hashes were kept of.
func (c *checker) explain(e *expected, wrong map[string][]byte, where string, derive func(*shard, store.Row, *lifecycle.Out) ([]item, error)) error {
	for _, subject := range slices.Sorted(maps.Keys(e.must)) {
		if _, ok := wrong[subject]; !ok {
			c.wrong(wrong, subject, nil) // missing
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	derived := map[string][]byte{}
	for _, s := range c.shards {
		again := &shard{number: s.number, state: lifecycle.NewState(s.number)}
		err := c.db.Rows(c.ctx, s.number, 0, func(row store.Row) error {
			var out lifecycle.Out
			if _, err := again.state.Replay(row.Seq, row.At, row.Events, &out); err != nil {
				return err
			}
			items, err := derive(again, row, &out)
			for _, it := range items {
				if _, ok := wrong[it.subject]; ok && (derived[it.subject] == nil || row.Seq <= s.projected) {
					derived[it.subject] = it.doc
				}
			}
			for _, id := range out.Jobs {
				again.state.Forget(id) // if it has ended
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, subject := range slices.Sorted(maps.Keys(wrong)) {
		stored, should := wrong[subject], derived[subject]
		switch {
		case stored == nil:
			c.fault(subject, "it is missing in %s; the journal says %s", where, short(string(should)))
		case should == nil:
			c.fault(subject, "it is in %s, the journal does not know it: %s", where, short(string(stored)))
		default:
			c.fault(subject, "%s", differences(stored, should))
		}
	}
	return nil
}
