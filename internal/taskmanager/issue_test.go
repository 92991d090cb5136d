package taskmanager

import (
	"context"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// A repeated issue answers with the transfer that was made, and never with one that was not.
func TestIssueRepeated(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	before := r.balance("ada").Balance
	issue := func(to cloudcrowd.AccountID, amount cloudcrowd.Credits) (cloudcrowd.Transfer, error) {
		return call(r, func(ctx context.Context) (cloudcrowd.Transfer, error) {
			return r.m.Issue(ctx, to, amount, "admin", "welcome", "k")
		})
	}
	first, err := issue("ada", 5)
	if err != nil || first.Amount != 5 || first.Credit != "ada" {
		t.Fatalf("%+v, %v", first, err)
	}
	for range 3 {
		r.issue("ada", 7)
		if again, err := issue("ada", 5); err != nil || again != first {
			t.Fatalf("%+v, %v; made %+v", again, err, first)
		}
	}
	if got := r.balance("ada").Balance; got != before+5+3*7 {
		t.Fatalf("balance %d, before %d", got, before)
	}
	for to, amount := range map[cloudcrowd.AccountID]cloudcrowd.Credits{"ada": 6, "grace": 5} {
		if got, err := issue(to, amount); cloudcrowd.CodeOf(err) != cloudcrowd.Conflict {
			t.Fatalf("%d to %s with the key of another issue: %+v, %v", amount, to, got, err)
		}
	}
	r.check()
}
