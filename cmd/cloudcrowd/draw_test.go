package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"pgregory.net/rapid"
)

// A bar is as wide as asked and as full as its fraction, whatever the fraction.
func TestBar(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fraction float64
		want     string
	}{{0, "    "}, {0.5, "██  "}, {1, "████"}, {7, "████"}, {-1, "    "}, {math.NaN(), "    "}, {0.28125, "█▏  "}} {
		if got := bar(c.fraction, 4); got != c.want {
			t.Errorf("bar(%v, 4) = %q, want %q", c.fraction, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(1, 200).Draw(t, "width")
		if got := textWidth(bar(rapid.Float64().Draw(t, "fraction"), width)); got != width {
			t.Fatalf("%d characters, want %d", got, width)
		}
	})
}

// Drawn lines never exceed the width of the terminal, with and without colour, and colours are always ended.
func TestLinesFit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(20, 200).Draw(t, "width")
		k := ink{on: rapid.Bool().Draw(t, "colour")}
		stage := rapid.Custom(func(t *rapid.T) cloudcrowd.StageView {
			return cloudcrowd.StageView{
				Name:        rapid.StringMatching(`[a-z][a-z0-9_-]{0,39}`).Draw(t, "name"),
				State:       rapid.SampledFrom([]cloudcrowd.StageState{cloudcrowd.StageWaiting, cloudcrowd.StageRunning, cloudcrowd.StageDone}).Draw(t, "state"),
				Tasks:       rapid.Int64Range(0, 1e9).Draw(t, "tasks"),
				TasksDone:   rapid.Int64Range(0, 1e9).Draw(t, "done"),
				Running:     rapid.Int64Range(0, 1000).Draw(t, "running"),
				Refused:     rapid.Int64Range(0, 1000).Draw(t, "refused"),
				TasksFailed: rapid.Int64Range(0, 3).Draw(t, "failed"),
			}
		})
		j := cloudcrowd.JobSummary{State: cloudcrowd.JobRunning, Stages: rapid.SliceOfN(stage, 1, 5).Draw(t, "stages"), RemainingSeconds: [2]float64{3, 9}}
		for _, line := range jobScreen(k, j, time.Second, width) {
			if textWidth(line) > width {
				t.Fatalf("%d characters in %d columns: %q", textWidth(line), width, line)
			}
			if n := strings.Count(line, "\x1b["); k.on && n > 0 && !strings.Contains(line[strings.LastIndex(line, "\x1b["):], "\x1b[0m") {
				t.Fatalf("a colour is not ended: %q", line)
			}
		}
	})
}

// A screen that shrinks leaves nothing of the longer one behind, and nothing is drawn where there is no terminal.
func TestLive(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	l := live{w: &b, on: true}
	l.draw([]string{"one", "two"})
	l.draw([]string{"three"})
	l.keep()
	l.draw([]string{"four"})
	want := "\r\x1b[2Kone\n\r\x1b[2Ktwo\n" + "\x1b[2A\r\x1b[2Kthree\n\x1b[J" + "\r\x1b[2Kfour\n"
	if b.String() != want {
		t.Errorf("drew %q, want %q", b.String(), want)
	}
	b.Reset()
	(&live{w: &b}).draw([]string{"one"})
	if b.Len() > 0 {
		t.Errorf("drew %q on no terminal", b.String())
	}
}

// Plain progress says something new only, and always the end.
func TestPlainProgress(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	var p plainProgress
	now := time.Unix(0, 0)
	say := func(progress float64, state cloudcrowd.JobState, later time.Duration) {
		now = now.Add(later)
		stage := cloudcrowd.StageView{Name: "count", State: cloudcrowd.StageRunning, Tasks: 4, TasksDone: int64(progress * 4)}
		if state.Ended() {
			stage.State = cloudcrowd.StageDone
		}
		p.print(&b, cloudcrowd.JobSummary{Progress: progress, State: state, Stages: []cloudcrowd.StageView{stage}}, now)
	}
	say(0, cloudcrowd.JobRunning, 0)
	say(0.01, cloudcrowd.JobRunning, time.Minute) // nothing new
	say(0.5, cloudcrowd.JobRunning, time.Minute)
	say(0.75, cloudcrowd.JobRunning, time.Millisecond) // too soon
	say(1, cloudcrowd.JobDone, time.Millisecond)
	want := "  0 %  count: 0 of 4 tasks\n 50 %  count: 2 of 4 tasks\n100 %  count: done, 4 tasks\n"
	if b.String() != want {
		t.Errorf("printed:\n%swant:\n%s", b.String(), want)
	}
}

// Tables align by what is seen, not by bytes.
func TestTable(t *testing.T) {
	t.Parallel()
	got := table(ink{}, []string{"NAME", ">N"}, [][]string{{"é", "1"}, {"abcde", "1,000"}})
	want := "NAME       N\né          1\nabcde  1,000\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if s := table(ink{}, []string{"A"}, nil); s != "" {
		t.Errorf("a table without rows: %q", s)
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		plural(1, "task"): "1 task", plural(2, "task"): "2 tasks", plural(1234567, "task"): "1,234,567 tasks",
		grouped(-1234): "-1,234", grouped(999): "999",
		seconds(0): "0 s", seconds(0.42): "0.4 s", seconds(9.96): "10 s", seconds(59.6): "1 min", seconds(200): "3 min 20 s", seconds(7500): "2 h 5 min",
		join([]string{"a", "b", "c"}): "a, b or c", nearest("stat", []string{"state", "limit"}): "state", nearest("zzzzz", []string{"state"}): "",
		folderName("k-mer spectrum of E. coli"): "k-mer-spectrum-of-e-coli", folderName("日本"): "job",
		remaining([2]float64{3, 9}): "3.0 s to 9.0 s left", remaining([2]float64{}): "",
		printable("a\x1b[31m\tb\n"): "a␛[31m\tb\n",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Stages that an ended job left undone are cancelled, not waiting or running; stages that are done stay so.
func TestStagesOfEndedJob(t *testing.T) {
	t.Parallel()
	stages := []cloudcrowd.StageView{{Name: "a", State: cloudcrowd.StageDone}, {Name: "b", State: cloudcrowd.StageRunning}, {Name: "c", State: cloudcrowd.StageWaiting}}
	for state, want := range map[cloudcrowd.JobState][]string{
		cloudcrowd.JobRunning:   {"merged on the server", "running", "waiting"},
		cloudcrowd.JobCancelled: {"merged on the server", "cancelled", "cancelled"},
		cloudcrowd.JobFailed:    {"merged on the server", "cancelled", "cancelled"},
	} {
		for i, line := range stageBars(ink{}, state, stages, 100) {
			if !strings.HasSuffix(line, want[i]) {
				t.Errorf("job %s, stage %s: %q, want %q", state, stages[i].Name, line, want[i])
			}
		}
	}
}
