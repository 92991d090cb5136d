package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"

	"cloudcrowd.dev/cloudcrowd"
)

// What can be asked for.
type (
	// issue gives an account credits.
	issue struct{ amount cloudcrowd.Credits }
	// submit is a job that no worker can run, so that its whole budget is held until it is cancelled.
	submit struct {
		budget cloudcrowd.Credits
		key    string // "": a job of its own
	}
	// cancel ends a job. budget is what is held for it, where that is modelled.
	cancel struct {
		job    cloudcrowd.JobID
		budget cloudcrowd.Credits
	}
	// balance reads an account.
	balance struct{}
	// stand reads a job.
	stand struct{}
	// claim is a lease that a device got.
	claim struct {
		attempt cloudcrowd.AttemptID
		device  string
	}
	// report is a result that a device returned.
	report struct{ attempt cloudcrowd.AttemptID }
	// paid reads which attempts of a task were paid.
	paid struct{}
)

// models say what is right, by kind of part.
var models = map[string]porcupine.Model{"account": accountModel, "job": jobModel, "task": taskModel.ToModel()}

// books is an account: a register to which is added and from which is held.
type books struct {
	balance, held cloudcrowd.Credits
	waiting       string // jobs not cancelled, ";JOB" each
	keys          string // ";KEY=JOB;" each
}

// nameless is a job of which only a request without an answer knows.
const nameless = "?"

var accountModel = porcupine.Model{
	Init: func() any { return books{} },
	Step: func(state, input, output any) (bool, any) {
		b, out := state.(books), output.(answer)
		switch in := input.(type) {
		case issue:
			b.balance += in.amount
			return out.unknown || out.code == "", b
		case submit:
			if in.key != "" {
				before, known, used := strings.Cut(b.keys, ";"+in.key+"=")
				known, after, _ := strings.Cut(known, ";")
				switch {
				case used && known == nameless && !out.unknown: // now it is known which job the unanswered request made
					b.keys = before + ";" + in.key + "=" + string(out.job) + ";" + after
					b.waiting += ";" + string(out.job)
					return out.code == "", b
				case used:
					return out.unknown || string(out.job) == known, b
				}
			}
			enough := b.balance-b.held >= in.budget
			if out.code == cloudcrowd.InsufficientCredits || out.unknown && !enough {
				return !enough, b
			}
			b.held += in.budget
			made := string(out.job)
			if out.unknown {
				made = nameless
			} else {
				b.waiting += ";" + made
			}
			if in.key != "" {
				b.keys += ";" + in.key + "=" + made + ";"
			}
			return enough && (out.unknown || out.code == ""), b
		case cancel:
			before, after, waits := strings.Cut(b.waiting, ";"+string(in.job))
			if out.code == cloudcrowd.Conflict || out.unknown && !waits {
				return !waits, b
			}
			b.waiting = before + after
			b.held -= in.budget
			return waits && (out.unknown || out.code == ""), b
		case balance:
			return out.unknown || out.balance == b.balance && out.held == b.held, b
		}
		return false, b
	},
}

// jobModel is a job that was acknowledged: it runs until it is done, which it may be at any time, or cancelled, and then stays so.
var jobModel = porcupine.Model{
	Init: func() any { return cloudcrowd.JobRunning },
	Step: func(state, input, output any) (bool, any) {
		s, out := state.(cloudcrowd.JobState), output.(answer)
		switch input.(type) {
		case cancel:
			switch {
			case s == cloudcrowd.JobRunning && out.code == cloudcrowd.Conflict: // it was done a moment ago
				return true, cloudcrowd.JobDone
			case s == cloudcrowd.JobRunning:
				return out.unknown || out.code == "", cloudcrowd.JobCancelled
			}
			return out.unknown || out.code == cloudcrowd.Conflict, s
		case stand:
			if s == cloudcrowd.JobRunning && out.state == cloudcrowd.JobDone {
				return true, cloudcrowd.JobDone
			}
			return out.unknown || out.state == s, s
		}
		return false, s
	},
}

// work is a task of which one result is wanted.
type work struct {
	claims string // ";ATTEMPT by DEVICE;" each
	paid   cloudcrowd.AttemptID
}

// taskModel: an attempt is leased to one device; of the results at most one is paid, and it stays that one.
var taskModel = porcupine.NondeterministicModel{
	Init: func() []any { return []any{work{}} },
	Step: func(state, input, output any) []any {
		w, out := state.(work), output.(answer)
		none := cloudcrowd.AttemptID{}
		switch in := input.(type) {
		case claim:
			if w.paid != none || strings.Contains(w.claims, ";"+in.attempt.String()+" by ") {
				return nil
			}
			w.claims += ";" + in.attempt.String() + " by " + in.device + ";"
			return []any{w}
		case report:
			if w.paid != none || !strings.Contains(w.claims, ";"+in.attempt.String()+" by ") {
				return []any{w}
			}
			accepted := w
			accepted.paid = in.attempt
			return []any{w, accepted} // it may come too late, or for a job that was cancelled
		case paid:
			if out.unknown || w.paid == none && len(out.paid) == 0 || len(out.paid) == 1 && out.paid[0] == w.paid {
				return []any{w}
			}
		}
		return nil
	},
}

// The models can tell right from wrong: each of these histories breaks one promise, and is found out; each of the others keeps it.
func TestModels(t *testing.T) {
	t.Parallel()
	task := cloudcrowd.TaskID{Job: "j", Stage: 0, Index: 0}
	first, second := cloudcrowd.AttemptID{Task: task, N: 1}, cloudcrowd.AttemptID{Task: task, N: 2}
	type step struct {
		in  any
		out answer
	}
	ok, unknown := answer{}, answer{unknown: true}
	for _, test := range []struct {
		name, kind string
		right      bool
		steps      []step // one after the other
	}{
		{"credits are there", "account", true, []step{{issue{5}, ok}, {balance{}, answer{balance: 5}}}},
		{"credits are lost", "account", false, []step{{issue{5}, ok}, {balance{}, ok}}},
		{"credits without an answer are there", "account", true, []step{{issue{5}, unknown}, {balance{}, answer{balance: 5}}}},
		{"credits without an answer are not there", "account", true, []step{{issue{5}, unknown}, {balance{}, ok}}},
		{"credits come and go", "account", false, []step{{issue{5}, unknown}, {balance{}, answer{balance: 5}}, {balance{}, ok}}},
		{"given twice", "account", false, []step{{issue{5}, ok}, {balance{}, answer{balance: 10}}}},
		{"spent twice", "account", false, []step{{issue{5}, ok}, {submit{budget: 4}, answer{job: "a"}}, {submit{budget: 4}, answer{job: "b"}}}},
		{"refused for want of credits", "account", true, []step{{issue{5}, ok}, {submit{budget: 6}, answer{code: cloudcrowd.InsufficientCredits}}}},
		{"refused though it could pay", "account", false, []step{{issue{5}, ok}, {submit{budget: 4}, answer{code: cloudcrowd.InsufficientCredits}}}},
		{"one key, one job", "account", true, []step{{issue{9}, ok}, {submit{4, "k"}, answer{job: "a"}}, {submit{4, "k"}, answer{job: "a"}}, {balance{}, answer{balance: 9, held: 4}}}},
		{"one key, two jobs", "account", false, []step{{issue{9}, ok}, {submit{4, "k"}, answer{job: "a"}}, {submit{4, "k"}, answer{job: "b"}}}},
		{"one key, asked for again", "account", true, []step{{issue{9}, ok}, {submit{4, "k"}, unknown}, {balance{}, answer{balance: 9, held: 4}}, {submit{4, "k"}, answer{job: "a"}},
			{balance{}, answer{balance: 9, held: 4}}, {cancel{"a", 4}, ok}, {balance{}, answer{balance: 9}}}},
		{"one key, held for twice", "account", false, []step{{issue{9}, ok}, {submit{4, "k"}, unknown}, {submit{4, "k"}, answer{job: "a"}}, {balance{}, answer{balance: 9, held: 8}}}},
		{"cancelled and still held", "account", false, []step{{issue{9}, ok}, {submit{4, ""}, answer{job: "a"}}, {cancel{"a", 4}, ok}, {balance{}, answer{balance: 9, held: 4}}}},
		{"cancelled twice", "account", false, []step{{issue{9}, ok}, {submit{4, ""}, answer{job: "a"}}, {cancel{"a", 4}, ok}, {cancel{"a", 4}, ok}}},
		{"done and stays so", "job", true, []step{{stand{}, answer{state: cloudcrowd.JobRunning}}, {stand{}, answer{state: cloudcrowd.JobDone}}, {cancel{}, answer{code: cloudcrowd.Conflict}}}},
		{"cancelled and done", "job", false, []step{{cancel{}, ok}, {stand{}, answer{state: cloudcrowd.JobDone}}}},
		{"cancelled and running", "job", false, []step{{cancel{}, ok}, {stand{}, answer{state: cloudcrowd.JobRunning}}}},
		{"perhaps cancelled and running", "job", true, []step{{cancel{}, unknown}, {stand{}, answer{state: cloudcrowd.JobRunning}}, {stand{}, answer{state: cloudcrowd.JobCancelled}}}},
		{"done and running again", "job", false, []step{{stand{}, answer{state: cloudcrowd.JobDone}}, {stand{}, answer{state: cloudcrowd.JobRunning}}}},
		{"paid", "task", true, []step{{claim{first, "ada"}, ok}, {report{first}, ok}, {paid{}, answer{paid: []cloudcrowd.AttemptID{first}}}}},
		{"paid before it was reported", "task", false, []step{{claim{first, "ada"}, ok}, {paid{}, answer{paid: []cloudcrowd.AttemptID{first}}}, {report{first}, ok}}},
		{"reported in vain", "task", true, []step{{claim{first, "ada"}, ok}, {report{first}, ok}, {paid{}, ok}}},
		{"paid twice", "task", false, []step{{claim{first, "ada"}, ok}, {claim{second, "eve"}, ok}, {report{first}, ok}, {report{second}, ok},
			{paid{}, answer{paid: []cloudcrowd.AttemptID{first, second}}}}},
		{"paid to one, then to another", "task", false, []step{{claim{first, "ada"}, ok}, {claim{second, "eve"}, ok}, {report{first}, ok}, {report{second}, ok},
			{paid{}, answer{paid: []cloudcrowd.AttemptID{first}}}, {paid{}, answer{paid: []cloudcrowd.AttemptID{second}}}}},
		{"leased twice", "task", false, []step{{claim{first, "ada"}, ok}, {claim{first, "eve"}, ok}}},
		{"leased after it was paid", "task", false, []step{{claim{first, "ada"}, ok}, {report{first}, ok}, {paid{}, answer{paid: []cloudcrowd.AttemptID{first}}}, {claim{second, "eve"}, ok}}},
	} {
		h := newHistory()
		for i, s := range test.steps {
			op := &operation{call: int64(10 * i), end: int64(10*i + 5), in: s.in, out: s.out}
			if s.out.unknown {
				op.end = 1 << 60
			}
			h.parts[part{test.kind, "x"}] = append(h.parts[part{test.kind, "x"}], op)
		}
		if v := h.check(); (len(v.wrong) == 0) != test.right || len(v.undecided) > 0 {
			t.Errorf("%s: %+v", test.name, v)
		}
	}
}

// sortedAttempts orders attempts, so that answers can be compared.
func sortedAttempts(list []cloudcrowd.AttemptID) []cloudcrowd.AttemptID {
	slices.SortFunc(list, func(a, b cloudcrowd.AttemptID) int { return int(a.N - b.N) })
	return list
}
