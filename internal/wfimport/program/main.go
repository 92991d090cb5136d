// Command program does what one task of a recorded workflow did, as far as the crowd is concerned: it reads what its parents wrote, takes its time, and writes files
// of the recorded sizes. Which task it is, its arguments say; what that one does stands in the table /in/tasks.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// task is a row of the table.
type task struct {
	ID      string   `json:"id"`
	Seconds float64  `json:"seconds"`
	Reads   []read   `json:"reads"`
	Writes  []output `json:"writes"`
}

// read is a file to read: below in, written by the task of that id.
type read struct {
	Path string `json:"path"`
	ID   string `json:"id"`
}

type output struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

func main() {
	stage := flag.String("stage", "", "`NAME` of the stage")
	number := flag.Int("task", 0, "`N`umber of the task in its stage")
	rounds := flag.Float64("rounds", 0, "`N` rounds a second")
	mode := flag.String("mode", "compute", "compute, or sleep: the sandbox's clock lets that take no time")
	in, out := flag.String("in", "/in", ""), flag.String("out", "/out", "")
	flag.Parse()
	if err := run(*stage, *number, *rounds, *mode, *in, *out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(stage string, number int, rounds float64, mode, in, out string) error {
	raw, err := os.ReadFile(filepath.Join(in, "tasks"))
	if err != nil {
		return err
	}
	var table map[string][]task
	if err := json.Unmarshal(raw, &table); err != nil {
		return fmt.Errorf("the table of tasks: %w", err)
	}
	if number < 0 || number >= len(table[stage]) {
		return fmt.Errorf("stage %q has no task %d", stage, number)
	}
	t := table[stage][number]
	sum := fnv.New64a()
	io.WriteString(sum, t.ID)
	for _, r := range t.Reads {
		if err := readFile(filepath.Join(in, r.Path), r.ID, sum); err != nil {
			return err
		}
	}
	x := sum.Sum64() | 1
	if mode == "sleep" {
		time.Sleep(time.Duration(t.Seconds * 1e9))
	} else {
		for n := int64(t.Seconds * rounds); n > 0; n-- {
			x = mix(x)
		}
	}
	for _, w := range t.Writes {
		if err := writeFile(filepath.Join(out, w.Name), t.ID, x, w.Bytes); err != nil {
			return err
		}
	}
	return nil
}

// mix is a round of work (xorshift64: Marsaglia 2003).
func mix(x uint64) uint64 {
	x ^= x << 13
	x ^= x >> 7
	return x ^ x<<17
}

// readFile reads a file to its end and checks who wrote it.
func readFile(name, id string, sum io.Writer) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<16)
	line, err := r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, id+" ") {
		return fmt.Errorf("%s begins with %.80q, want the output of %s", name, line, id)
	}
	io.WriteString(sum, line)
	_, err = io.Copy(sum, r)
	return err
}

// writeFile writes a line that says who wrote the file and what it computed, then noise up to the size.
func writeFile(name, id string, x uint64, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<16)
	n, _ := fmt.Fprintf(w, "%s %016x\n", id, x)
	for left := size - int64(n); left > 0; left-- {
		x = mix(x)
		w.WriteByte(byte(x))
	}
	if err := w.Flush(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
