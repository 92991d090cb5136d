// Command program is what the tests of the whole platform let workers run: one program that can work, and fail in every way there is.
//
//	program work -from 0 -to 10 -spin 3    → /out/lines.txt: a line for each number, after 3 million steps of arithmetic each
//	program copy                           → /out/lines.txt: all files of /in, joined
//	program exit -status 3 -say "words"    writes the words to stderr and ends
//	program trap                           reads where there is no memory
//	program spin                           never ends
//	program hog                            takes memory until there is no more
//	program flood                          writes to /out until it is stopped
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"
)

var kept [][]byte

func main() {
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	from := flags.Uint64("from", 0, "first number")
	to := flags.Uint64("to", 0, "one past the last number")
	spin := flags.Int("spin", 0, "millions of steps for each number")
	status := flags.Int("status", 1, "exit status")
	say := flags.String("say", "", "words for stderr")
	flags.Parse(os.Args[2:])
	switch os.Args[1] {
	case "work":
		var out []byte
		for i := *from; i < *to; i++ {
			out = fmt.Appendf(out, "%d %x\n", i, mix(i, *spin*1_000_000))
		}
		write(out)
	case "copy":
		var out []byte
		check(filepath.WalkDir("/in", func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			out = append(out, b...)
			return err
		}))
		write(out)
	case "exit":
		fmt.Fprintln(os.Stderr, *say)
		os.Exit(*status)
	case "trap":
		at := uintptr(0xfffffff0)
		fmt.Println(*(*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&at))))
	case "spin":
		for i := uint64(1); i != 0; {
			i = mix(i, 1) | 1
		}
	case "hog":
		for {
			block := make([]byte, 1<<20)
			for i := range block {
				block[i] = byte(i)
			}
			kept = append(kept, block)
		}
	case "flood":
		f, err := os.Create("/out/flood")
		check(err)
		for {
			_, err := f.Write(make([]byte, 1<<20))
			check(err)
		}
	}
}

// mix is a number that takes the given steps to find.
func mix(x uint64, steps int) uint64 {
	x = x*0x9e3779b97f4a7c15 + 1
	for range steps {
		x ^= x >> 33
		x *= 0xff51afd7ed558ccd
	}
	return x
}

func write(b []byte) { check(os.WriteFile("/out/lines.txt", b, 0o644)) }

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
