package lifecycle

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// observed collects the changes of state that transcripts and a fixed set of random runs make.
func observed(t *testing.T) map[move]bool {
	t.Helper()
	all := map[move]bool{}
	files, _ := filepath.Glob("testdata/*.txt")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t)
		for block := range strings.SplitSeq(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n\n") {
			commands, _, _ := strings.Cut(block, "----\n")
			w.block(commands)
		}
		maps.Copy(all, w.moves)
	}
	runs := rapid.Custom(func(t *rapid.T) map[move]bool { return randomRun(t).moves })
	for seed := range 400 {
		maps.Copy(all, runs.Example(seed))
	}
	return all
}

var arrow = regexp.MustCompile(`^\s*(\[\*\]|\w+)\s*-->\s*(\[\*\]|\w+)`)

// drawn reads the moves out of the diagrams of docs/state-machines.md; the heading above a diagram names its machine.
func drawn(t *testing.T) map[move]bool {
	t.Helper()
	b, err := os.ReadFile("../../docs/state-machines.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[move]bool{}
	machine, inside := "", false
	for line := range strings.Lines(string(b)) {
		switch {
		case strings.HasPrefix(line, "## "):
			machine = strings.ToLower(strings.TrimSpace(line[3:]))
		case strings.HasPrefix(line, "```"):
			inside = strings.Contains(line, "mermaid")
		case inside:
			if m := arrow.FindStringSubmatch(line); m != nil && m[2] != "[*]" && machine != "shard" && machine != "server" { // those are not of a job
				all[move{machine, m[1], m[2]}] = true
			}
		}
	}
	return all
}

// The drawing of the state machines shows every move the code makes and no other.
func TestDrawing(t *testing.T) {
	t.Parallel()
	seen, drawing := observed(t), drawn(t)
	list := func(m map[move]bool) []string {
		var s []string
		for k := range m {
			s = append(s, k.machine+": "+k.from+" --> "+k.to)
		}
		slices.Sort(s)
		return s
	}
	for _, s := range list(seen) {
		if !slices.Contains(list(drawing), s) {
			t.Errorf("docs/state-machines.md lacks %s", s)
		}
	}
	for _, s := range list(drawing) {
		if !slices.Contains(list(seen), s) {
			t.Errorf("docs/state-machines.md draws %s, which the code does not do", s)
		}
	}
}
