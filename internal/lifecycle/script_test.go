package lifecycle

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
)

var update = flag.Bool("update", false, "write the transcripts anew")

// Scenarios read as they happen: commands, then the events they made. Blocks are separated by blank lines; "#" begins a comment.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t)
			var out strings.Builder
			for i, block := range strings.Split(strings.TrimSpace(strings.ReplaceAll(string(b), "\r\n", "\n")), "\n\n") {
				if i > 0 {
					out.WriteString("\n")
				}
				commands, want, _ := strings.Cut(block+"\n", "----\n")
				out.WriteString(commands)
				if onlyComments(commands) {
					continue
				}
				got := w.block(commands)
				out.WriteString("----\n" + got)
				if !*update && got != want {
					t.Fatalf("%s\n--- got\n%s--- want\n%s", commands, got, want)
				}
			}
			if *update {
				if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func onlyComments(s string) bool {
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return false
		}
	}
	return true
}

// block runs commands; an indented line belongs to the command before it.
func (w *world) block(text string) string {
	var out strings.Builder
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		var more []string
		for i+1 < len(lines) && strings.HasPrefix(lines[i+1], " ") {
			i++
			more = append(more, strings.TrimSpace(lines[i]))
		}
		w.now += 1e6
		out.WriteString(w.command(strings.Fields(line), more))
	}
	return out.String()
}

func (w *world) command(words, more []string) string {
	rest := words[1:]
	name := ""
	if len(rest) > 0 && !strings.Contains(rest[0], "=") {
		name, rest = rest[0], rest[1:]
	}
	o := parseOptions(rest)
	switch words[0] {
	case "issue":
		var failure error
		events := w.decide(func(d *Decider) {
			_, failure = d.Issue(cloudcrowd.AccountID(name), cloudcrowd.Credits(o.number("amount", 0)), "admin", "", o["key"])
		})
		if failure != nil {
			return "refused: " + failure.Error() + "\n"
		}
		return orElse(w.print(events), "the same transfer as before\n")
	case "worker":
		k := w.worker(name, orElse(o["owner"], name+"'s owner"), o.real("speed", 1), int(o.number("slots", 1)))
		k.Capacity = int(o.number("capacity", int64(k.Slots)))
		return ""
	case "close", "open":
		w.workers[name].Closed = words[0] == "close"
		return ""
	case "record":
		for _, s := range []*State{w.state, w.twin, w.old} {
			s.Records[cloudcrowd.WorkerID("U"+name)] = &cloudcrowd.Record{Valid: o.number("valid", 0), Streak: o.number("streak", o.number("valid", 0)), Invalid: o.number("invalid", 0), LastInvalid: w.now}
			s.init()
		}
		return ""
	case "elsewhere": // what another shard says of a worker
		id := cloudcrowd.WorkerID("U" + name)
		r := cloudcrowd.Record{Valid: o.number("valid", 0), Streak: o.number("streak", o.number("valid", 0)), Invalid: o.number("invalid", 0)}
		if r.Invalid > 0 {
			r.LastInvalid = w.now
		}
		w.elsewhere[id] = r
		return w.print(w.decide(func(d *Decider) {
			if r.Invalid > 0 {
				d.Recheck(map[cloudcrowd.WorkerID]cloudcrowd.Time{id: r.LastInvalid})
			}
		}))
	case "lottery":
		w.lottery = fixed(o.real("at", 0.9))
		return ""
	case "wait":
		d, err := time.ParseDuration(name)
		if err != nil {
			panic(err)
		}
		w.now += cloudcrowd.Time(d.Microseconds())
		return w.print(w.decide(func(d *Decider) { d.Tick() }))
	case "submit":
		deadline, _ := time.ParseDuration(orElse(o["deadline"], "0s"))
		spec := specOf(name, cloudcrowd.Credits(o.number("budget", 1_000_000)), deadline, more...)
		spec.Priority = int(o.number("priority", 0))
		if o["speculate"] != "" {
			spec.Speculate = new(o.real("speculate", 0))
		}
		events, err := w.submit(name, cloudcrowd.AccountID(orElse(o["account"], "ada")), o["key"], spec)
		if err != nil {
			return "refused: " + err.Error() + "\n"
		}
		if len(events) == 0 {
			return "the same job as before\n"
		}
		return w.print(events)
	case "assign":
		_, w.copies = o["copies"]
		if name == "copies" {
			w.copies = true
		}
		return orElse(w.print(w.assign()), "nothing\n")
	case "use":
		w.last = w.jobs[name]
		return ""
	case "settle":
		w.settle(w.last)
		return w.show(w.last)
	case "show":
		return w.show(w.last)
	case "records":
		return w.records()
	case "accounts":
		return w.accounts()
	case "merge":
		return orElse(w.print(w.merge(w.last)), "nothing\n")
	case "index":
		return w.print(w.decide(func(d *Decider) {
			d.Indexed(w.last, int32(w.state.Jobs[w.last].Spec.StageIndex(name)), &decompose.Index{Units: int64(len(more)), List: more})
		}))
	case "cancel":
		return w.print(w.decide(func(d *Decider) {
			if err := d.Cancel(w.jobs[name], o["reason"]); err != nil {
				panic(err)
			}
		}))
	}
	return w.attemptCommand(words[0], w.attempt(name), o)
}

// attemptCommand does something with an attempt: "ok STAGE/TASK/N", "lie", "fail", "break", "stop", "lost", "return".
func (w *world) attemptCommand(verb string, id cloudcrowd.AttemptID, o options) string {
	var r cloudcrowd.Result
	cpu := o.real("cpu", 0.5)
	switch verb {
	case "ok":
		r = succeeded(w.truth[id], cpu)
	case "lie":
		r = succeeded(orElse(o["out"], "a lie"), cpu)
	case "fail":
		r = cloudcrowd.Result{Outcome: cloudcrowd.Exited, ExitCode: int(o.number("exit", 1)), Reason: "it exited with status " + orElse(o["exit"], "1"), StderrTail: o["stderr"], Usage: cloudcrowd.Usage{CPUSeconds: cpu}}
	case "break":
		r = cloudcrowd.Result{Outcome: cloudcrowd.Broken, Reason: "its disk is full"}
	case "stop":
		r = cloudcrowd.Result{Outcome: cloudcrowd.Stopped, Reason: "stopped"}
	case "lost":
		return orElse(w.print(w.decide(func(d *Decider) { d.Lost(id, "its lease expired") })), "nothing\n")
	case "return":
		return orElse(w.print(w.decide(func(d *Decider) { d.Returned(id, "handed back") })), "nothing\n")
	default:
		panic("unknown command " + verb)
	}
	events, taken := w.report(id, o["by"], r)
	switch {
	case !taken:
		return "refused: not this worker's\n"
	case len(events) == 0:
		return "acknowledged, not wanted\n"
	}
	return w.print(events)
}

func (w *world) attempt(name string) cloudcrowd.AttemptID {
	job := w.last
	if j, rest, ok := strings.Cut(name, ":"); ok {
		job, name = w.jobs[j], rest
	}
	p := strings.Split(name, "/")
	id := cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: job, Stage: int32(w.state.Jobs[job].Spec.StageIndex(p[0]))}}
	if _, err := fmt.Sscan(p[1], &id.Task.Index); err != nil {
		panic(err)
	}
	if _, err := fmt.Sscan(p[2], &id.N); err != nil {
		panic(err)
	}
	return id
}

func (w *world) records() string {
	var list []string
	for id, r := range w.state.Records {
		list = append(list, fmt.Sprintf("%s valid %d, unchecked %d, invalid %d, failed %d, lost %d, streak %d, earned %d\n", w.names[id], r.Valid, r.Unchecked, r.Invalid, r.Failed, r.Lost, r.Streak, r.Earned))
	}
	slices.Sort(list)
	return strings.Join(list, "")
}

func (w *world) accounts() string {
	var list []string
	for id, a := range w.book.Accounts {
		list = append(list, fmt.Sprintf("%s has %d, held %d\n", id, a.Balance, a.Held))
	}
	slices.Sort(list)
	return strings.Join(list, "")
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
