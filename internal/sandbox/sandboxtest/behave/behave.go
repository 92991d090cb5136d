// Package behave is the program of the sandbox contract suite: one program, whose first argument says how to behave. It runs inside a real sandbox
// (compiled for it) and inside the fake one (called directly), so both are held to the same promises.
package behave

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"
)

// World is what a program may reach.
type World struct {
	Args           []string
	Env            []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	In, Out, Tmp   string // folders
	Now            func() time.Time
	Sleep          func(time.Duration)
	Random         io.Reader
	Spin           func()          // never returns by itself
	Hog            func(bytes int) // takes memory until it has that much
	Crash          func()          // does not return
}

// Main behaves as w.Args[0] says and returns the exit status. See the suite for what each behaviour is for.
func Main(w World) int {
	if len(w.Args) == 0 {
		return 0
	}
	rest := w.Args[1:]
	number := func(i int) int {
		n, err := strconv.Atoi(rest[i])
		if err != nil {
			panic(err)
		}
		return n
	}
	var err error
	switch w.Args[0] {
	case "nothing":
	case "exit":
		return number(0)
	case "crash":
		w.Crash()
	case "spin":
		w.Spin()
	case "hog":
		w.Hog(number(0))
	case "echo": // arguments, environment, stdin
		fmt.Fprintf(w.Stdout, "args %q\nenv %q\nstdin ", rest, w.Env)
		_, err = io.Copy(w.Stdout, w.Stdin)
	case "warn":
		fmt.Fprint(w.Stderr, strings.Join(rest, " "))
	case "print": // n bytes, the alphabet over and over
		err = letters(w.Stdout, number(0))
	case "printforever":
		for {
			if err = letters(w.Stdout, 64<<10); err != nil {
				break
			}
		}
	case "write": // n bytes to a file of /out
		err = write(w.Out, rest[0], number(1))
	case "writetmp":
		err = write(w.Tmp, rest[0], number(1))
	case "makefiles": // n files in /out
		for i := range number(0) {
			if err = os.WriteFile(filepath.Join(w.Out, strconv.Itoa(i)), nil, 0o600); err != nil {
				break
			}
		}
	case "copy": // all of /in to /out
		err = copyAll(w.In, w.Out)
	case "listtmp":
		var names []string
		if names, err = list(w.Tmp); err == nil {
			err = os.WriteFile(filepath.Join(w.Out, "names"), []byte(strings.Join(names, "\n")), 0o600)
		}
	case "writein":
		if err = os.WriteFile(filepath.Join(w.In, "file"), []byte("changed"), 0o600); err == nil {
			return 0
		}
		err = nil
		fmt.Fprint(w.Stdout, "refused")
	case "dice": // clock and random bytes
		b := make([]byte, 32)
		if _, err = io.ReadFull(w.Random, b); err == nil {
			first := w.Now()
			w.Sleep(3 * time.Second)
			passed := w.Now().Sub(first)
			fmt.Fprintf(w.Stdout, "%x %s %v", b, first.UTC().Format(time.RFC3339Nano), passed)
			if passed < 3*time.Second {
				return 9
			}
		}
	default:
		fmt.Fprintf(w.Stderr, "unknown behaviour %q", w.Args[0])
		return 99
	}
	if err != nil {
		fmt.Fprintln(w.Stderr, err)
		return 1
	}
	return 0
}

func letters(w io.Writer, n int) error {
	const alphabet = "abcdefghijklmnopqrstuvwxyz"
	block := strings.Repeat(alphabet, 1000)
	for n > 0 {
		k := min(n, len(block))
		if _, err := io.WriteString(w, block[:k]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

func write(dir, name string, n int) error {
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return letters(f, n)
}

func list(dir string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && path != dir {
			names = append(names, path)
		}
		return err
	})
	sort.Strings(names)
	return names, err
}

func copyAll(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil || relative == "." {
			return err
		}
		if d.IsDir() {
			return os.Mkdir(filepath.Join(to, relative), 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, relative), b, 0o600)
	})
}
