package verify

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"cloudcrowd.dev/cloudcrowd"
)

// naive counts a quorum the slow, obvious way: parties per digest as sets.
func naive(votes []Vote, need int) Verdict {
	parties := map[cloudcrowd.Digest]map[string]bool{}
	for _, v := range votes {
		if parties[v.Digest] == nil {
			parties[v.Digest] = map[string]bool{}
		}
		parties[v.Digest][v.Party] = true
	}
	out := Verdict{Disagree: len(parties) > 1}
	for _, p := range parties {
		out.Best = max(out.Best, len(p))
	}
	var winners []cloudcrowd.Digest
	for d, p := range parties {
		if len(p) == out.Best {
			winners = append(winners, d)
		}
	}
	switch {
	case len(winners) == 1 && out.Best >= need:
		out.State, out.Digest = Reached, winners[0]
		return out
	case len(votes) >= MaxReplicas:
		out.State = Impossible
	}
	out.Missing = max(need-out.Best, 1)
	return out
}

// Quorum agrees with a naive twin on random votes, whatever their order.
func TestQuorumTwin(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		vote := rapid.Custom(func(t *rapid.T) Vote {
			return Vote{Party: rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "party"),
				Digest: cloudcrowd.Digest(rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "digest"))}
		})
		votes := rapid.SliceOfN(vote, 0, MaxReplicas+2).Draw(t, "votes")
		need := rapid.IntRange(1, 5).Draw(t, "need")
		got, want := Quorum(votes, need), naive(votes, need)
		if got != want {
			t.Fatalf("Quorum(%v, %d) = %+v, the naive twin says %+v", votes, need, got, want)
		}
		shuffled := rapid.Permutation(votes).Draw(t, "shuffled")
		if again := Quorum(shuffled, need); again != got {
			t.Fatalf("the order of votes matters: %+v and %+v", got, again)
		}
	})
}

// Two votes of one party count once, so that nobody outvotes others with many machines.
func TestOnePartyOneVote(t *testing.T) {
	t.Parallel()
	v := Quorum([]Vote{{1, "mallory", "bad"}, {2, "mallory", "bad"}, {3, "mallory", "bad"}}, 2)
	if v.State != Pending || v.Best != 1 || v.Missing != 1 {
		t.Fatalf("three votes of one party: %+v", v)
	}
	v = Quorum([]Vote{{1, "mallory", "bad"}, {2, "mallory", "bad"}, {3, "a", "good"}, {4, "b", "good"}}, 2)
	if v.State != Reached || v.Digest != "good" {
		t.Fatalf("two parties against one with two machines: %+v", v)
	}
}

// A tie is not decided by order; one further vote decides it.
func TestTie(t *testing.T) {
	t.Parallel()
	votes := []Vote{{1, "a", "x"}, {2, "b", "y"}, {3, "c", "y"}, {4, "d", "x"}}
	if v := Quorum(votes, 2); v.State != Pending || v.Missing != 1 {
		t.Fatalf("tie: %+v", v)
	}
	if v := Quorum(append(votes, Vote{5, "e", "x"}), 2); v.State != Reached || v.Digest != "x" {
		t.Fatalf("after the tie-break: %+v", v)
	}
}

// Replicas reaches the confidence if the first result comes from a worker of the given error rate and the others from newcomers, with
// no replica too many, within 2 and MaxReplicas.
func TestReplicasReachConfidence(t *testing.T) {
	t.Parallel()
	newcomer := ErrorRate(cloudcrowd.Record{})
	chance := func(n int, e float64) float64 { return e * math.Pow(newcomer, float64(n-1)) }
	rapid.Check(t, func(t *rapid.T) {
		confidence := 1 - math.Pow(10, -rapid.Float64Range(0.01, 20).Draw(t, "nines"))
		e := rapid.Float64Range(1e-9, 0.999).Draw(t, "e")
		n := Replicas(confidence, e)
		const rounding = 1 + 1e-6
		if n < 2 || n > MaxReplicas {
			t.Fatalf("%d replicas", n)
		}
		if n < MaxReplicas && chance(n, e) > (1-confidence)*rounding {
			t.Fatalf("%d replicas leave a chance of %g, allowed is %g", n, chance(n, e), 1-confidence)
		}
		if n > 2 && chance(n-1, e) <= (1-confidence)/rounding {
			t.Fatalf("%d replicas, but %d suffice", n, n-1)
		}
	})
}

// ForTask takes the requester's word first, then house machines, then the record.
func TestForTask(t *testing.T) {
	t.Parallel()
	good := cloudcrowd.Record{Valid: 1000, Streak: 1000}
	caught := cloudcrowd.Record{Valid: 5000, Invalid: 1, Streak: 5*MinStreak - 1}
	reformed := cloudcrowd.Record{Valid: 5000, Invalid: 1, Streak: 5 * MinStreak}
	confident := cloudcrowd.Verify{Confidence: 0.99}
	for _, c := range []struct {
		name    string
		v       cloudcrowd.Verify
		r       cloudcrowd.Record
		trusted bool
		lottery float64
		quorum  int
		start   int
		alone   bool
		why     string
	}{
		{"none", cloudcrowd.Verify{None: true}, caught, false, 0, 1, 1, false, "not verified"},
		{"replicas", cloudcrowd.Verify{Replicas: 5, Quorum: 3}, good, false, 0.9, 3, 5, false, "3 of 5 replicas"},
		{"replicas on a house machine", cloudcrowd.Verify{Replicas: 3, Quorum: 2}, good, true, 0.9, 2, 3, false, "2 of 3 replicas"},
		{"house machine", confident, cloudcrowd.Record{}, true, 0, 1, 1, false, "belongs to"},
		{"newcomer", confident, cloudcrowd.Record{}, false, 0.9, 2, 2, false, "2 independent results"},
		{"good record", confident, good, false, 0.9, 1, 1, true, "the worker's record allows it"},
		{"good record, audited", confident, good, false, AuditShare / 2, 2, 2, false, "2 independent results"},
		{"audit at the border", confident, good, false, AuditShare, 1, 1, true, "the worker's record allows it"},
		{"good record, too high a demand", cloudcrowd.Verify{Confidence: 0.99999}, good, false, 0.9, 2, 2, false, "2 independent results"},
		{"short streak", confident, cloudcrowd.Record{Valid: 1000, Streak: MinStreak - 1}, false, 0.9, 2, 2, false, "2 independent results"},
		{"caught lately", confident, caught, false, 0.9, 2, 2, false, "2 independent results"},
		{"caught long ago", confident, reformed, false, 0.9, 1, 1, true, "the worker's record allows it"},
		{"bad record", cloudcrowd.Verify{Confidence: 0.999}, cloudcrowd.Record{Valid: 8, Invalid: 1}, false, 0.9, 3, 3, false, "3 independent results"},
	} {
		n := ForTask(c.v, c.r, c.trusted, c.lottery)
		if n.Quorum != c.quorum || n.Start != c.start || n.Alone != c.alone || !strings.Contains(n.Why, c.why) {
			t.Errorf("%s: %+v", c.name, n)
		}
	}
}

// A further wrong result never makes a worker look better, a further right one never worse, and nobody is certain.
func TestErrorRateMonotone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := cloudcrowd.Record{Valid: rapid.Int64Range(0, 1e6).Draw(t, "valid"), Invalid: rapid.Int64Range(0, 1e6).Draw(t, "invalid")}
		e := ErrorRate(r)
		if !(e > 0 && e < 1) {
			t.Fatalf("error rate %g", e)
		}
		better, worse := r, r
		better.Valid++
		worse.Invalid++
		if ErrorRate(better) >= e || ErrorRate(worse) <= e {
			t.Fatalf("%g, after a right result %g, after a wrong one %g", e, ErrorRate(better), ErrorRate(worse))
		}
	})
}

// Exile begins with the second refused result, lasts ten minutes and four times as long after each doubling.
func TestExiled(t *testing.T) {
	t.Parallel()
	const at = cloudcrowd.Time(1e15)
	for _, c := range []struct {
		invalid int64
		seconds float64 // since the last refusal
		exiled  bool
	}{
		{0, 0, false}, {1, 0, false}, {2, 0, true}, {2, 599.9, true}, {2, 600, false}, {4, 2399, true}, {4, 2400, false}, {8, 9599, true}, {8, 9600, false},
	} {
		r := cloudcrowd.Record{Invalid: c.invalid, LastInvalid: at}
		if got := Exiled(r, at+cloudcrowd.Time(c.seconds*1e6)); got != c.exiled {
			t.Errorf("%d refused, %g s ago: exiled %v", c.invalid, c.seconds, got)
		}
	}
}

// Standing names what the policy does with a worker.
func TestStanding(t *testing.T) {
	t.Parallel()
	const at = cloudcrowd.Time(1e15)
	for _, c := range []struct {
		r    cloudcrowd.Record
		want string
	}{
		{cloudcrowd.Record{}, "new"},
		{cloudcrowd.Record{Valid: MinStreak - 1, Streak: MinStreak - 1}, "new"},
		{cloudcrowd.Record{Valid: MinStreak, Streak: MinStreak}, "trusted"},
		{cloudcrowd.Record{Valid: 100, Invalid: 1, Streak: 49, LastInvalid: at}, "probation"},
		{cloudcrowd.Record{Valid: 100, Invalid: 1, Streak: 50, LastInvalid: at}, "trusted"},
		{cloudcrowd.Record{Valid: 100, Invalid: 2, LastInvalid: at}, "distrusted"},
		{cloudcrowd.Record{Valid: 100, Invalid: 2, LastInvalid: at - 601e6}, "probation"},
	} {
		if got := Standing(c.r, at); got != c.want {
			t.Errorf("%+v: %s, want %s", c.r, got, c.want)
		}
	}
}

// Only workers whose standing is "trusted" are ever accepted alone, so that what people are shown is what happens.
func TestAloneMeansTrusted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := cloudcrowd.Record{Valid: rapid.Int64Range(0, 2000).Draw(t, "valid"), Invalid: rapid.Int64Range(0, 3).Draw(t, "invalid"), Streak: rapid.Int64Range(0, 100).Draw(t, "streak")}
		v := cloudcrowd.Verify{Confidence: rapid.SampledFrom([]float64{0.5, 0.9, 0.99, 0.999}).Draw(t, "confidence")}
		if need := ForTask(v, r, false, rapid.Float64Range(0, 0.999).Draw(t, "lottery")); need.Alone {
			if s := Standing(r, cloudcrowd.Time(1e18)); s != "trusted" {
				t.Fatalf("%s: accepted alone while %s", fmt.Sprintf("%+v", r), s)
			}
		}
	})
}
