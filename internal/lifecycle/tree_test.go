package lifecycle

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// nodes is how many nodes a merge tree over n parts has.
func nodes(n, fanIn int) int {
	total := 0
	for {
		n = (n + fanIn - 1) / fanIn
		total += n
		if n <= 1 {
			return total
		}
	}
}

// A merge tree has as few nodes as possible, starts before its parts are complete, keeps their order and gives the same result whatever the order the parts
// came in, for odd and even counts.
func TestMergeTree(t *testing.T) {
	t.Parallel()
	for _, fanIn := range []int{2, 16} {
		for _, parts := range []int{1, 2, 15, 16, 17, 257} {
			t.Run(fmt.Sprintf("%d/%d", parts, fanIn), func(t *testing.T) {
				t.Parallel()
				var results []string
				for order := range uint64(2) {
					w := newWorld(t)
					w.retire = true
					w.light = parts > 20
					w.fund("ada", 1e12)
					w.worker("w1", "ada", 1, 8)
					if _, err := w.submit("a", "ada", "", specOf("tree", 1e11, 0, fmt.Sprintf("work range=%d size=1", parts), fmt.Sprintf("tree after=work merge=%d", fanIn))); err != nil {
						t.Fatal(err)
					}
					early := w.shuffled(w.last, rand.New(rand.NewPCG(order, 1)))
					j := w.state.Jobs[w.last]
					if j.State != cloudcrowd.JobDone {
						t.Fatalf("the job is %s\n%s", j.State, w.show(w.last))
					}
					tree := j.Stages[1]
					if len(tree.Tasks) != nodes(parts, fanIn) {
						t.Fatalf("%d nodes, want %d", len(tree.Tasks), nodes(parts, fanIn))
					}
					if parts > 100 && !early {
						t.Error("merging began only when all parts were there")
					}
					w.checkTree(j, 1, int64(parts), int64(fanIn))
					if n, final := j.Parts(1); n != 1 || !final {
						t.Errorf("the tree has %d parts, final %v", n, final)
					}
					results = append(results, string(tree.Tasks[len(tree.Tasks)-1].Outputs[0].Digest))
				}
				if results[0] != results[1] {
					t.Error("the order in which parts arrive changes the result")
				}
			})
		}
	}
}

// shuffled runs a job honestly, reporting leases in random order; it tells whether the second stage began before the first was done.
func (w *world) shuffled(job cloudcrowd.JobID, r *rand.Rand) (early bool) {
	for w.state.Jobs[job].State == cloudcrowd.JobRunning {
		w.now += 1e6
		n := len(w.assign())
		list := w.leased(job)
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		for _, id := range list[:(len(list)+1)/2] {
			w.report(id, "", succeeded(w.truth[id], 0.5))
		}
		if n+len(list) == 0 {
			w.t.Fatalf("the job stands still\n%s", w.show(job))
		}
		j := w.state.Jobs[job]
		early = early || len(j.Stages[1].Tasks) > 0 && j.Stages[0].State != cloudcrowd.StageDone
	}
	return early
}

// checkTree compares the nodes with what a tree over so many parts must be: every level covers the one below in order.
func (w *world) checkTree(j *Job, stage int, parts, fanIn int64) {
	w.t.Helper()
	st := j.Stages[stage]
	below := parts
	for level, list := range st.Levels {
		for pos, ti := range list {
			n := st.Tasks[ti]
			lo := int64(pos) * fanIn
			if int(n.Level) != level || int(n.Pos) != pos || n.Unit.Lo != lo || n.Unit.Hi != min(lo+fanIn, below) {
				w.t.Fatalf("node %d of level %d covers %d–%d of %d", pos, level, n.Unit.Lo, n.Unit.Hi, below)
			}
			if n.Final != (level == len(st.Levels)-1) {
				w.t.Fatalf("node %d of level %d: final %v", pos, level, n.Final)
			}
		}
		if want := (below + fanIn - 1) / fanIn; int64(len(list)) != want {
			w.t.Fatalf("level %d has %d nodes, want %d", level, len(list), want)
		}
		below = int64(len(list))
	}
	if below != 1 {
		w.t.Fatalf("the top level has %d nodes", below)
	}
}

// A stage that follows another task by task starts with the first one accepted, one task each, and ends with it.
func TestEachStreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fund("ada", 1e12)
	w.worker("w1", "ada", 1, 3)
	if _, err := w.submit("a", "ada", "", specOf("each", 1e11, 0, "work range=20 size=1", "second each=work", "third each=second", "end after=third")); err != nil {
		t.Fatal(err)
	}
	if !w.shuffled(w.last, rand.New(rand.NewPCG(1, 1))) {
		t.Error("the second stage waited for the end of the first")
	}
	for i, n := range []int{20, 20, 20, 1} {
		if st := w.state.Jobs[w.last].Stages[i]; len(st.Tasks) != n || st.State != cloudcrowd.StageDone {
			t.Errorf("stage %d has %d tasks and is %s", i, len(st.Tasks), st.State)
		}
	}
}

// A divisible stage is covered exactly once by tasks of growing, then shrinking size, whatever the workers' speeds.
func TestDivisibleStage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fund("ada", 1e12)
	for i, speed := range []float64{0.3, 1, 2} {
		w.worker(fmt.Sprint("w", i), "ada", speed, 2)
	}
	const units = 100_000
	if _, err := w.submit("a", "ada", "", specOf("range", 1e11, 0, fmt.Sprintf("work range=%d target=10", units))); err != nil {
		t.Fatal(err)
	}
	j := w.state.Jobs[w.last]
	for j.State == cloudcrowd.JobRunning {
		w.now += 5e6
		w.assign()
		for _, id := range w.leased(w.last) {
			_, _, task, a := w.state.Find(id)
			seconds := float64(task.Unit.Hi-task.Unit.Lo) * 0.001 / a.Speed
			if float64(w.now-a.LeasedAt)/1e6 >= seconds {
				w.report(id, "", succeeded(w.truth[id], seconds))
			}
		}
	}
	next, largest := int64(0), int64(0)
	for _, task := range j.Stages[0].Tasks {
		if task.Unit.Lo != next {
			t.Fatalf("a task starts at %d, the one before ended at %d", task.Unit.Lo, next)
		}
		next = task.Unit.Hi
		largest = max(largest, task.Unit.Hi-task.Unit.Lo)
	}
	if first := j.Stages[0].Tasks[0].Unit; next != units || first.Hi-first.Lo > units/100 || largest < 2000 || len(j.Stages[0].Tasks) > 200 {
		t.Fatalf("%d units in %d tasks, the largest of %d, the first of %d", next, len(j.Stages[0].Tasks), largest, first.Hi-first.Lo)
	}
}
