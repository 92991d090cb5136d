// Command behave is the program of the sandbox contract suite, built for WASI by the tests.
package main

import (
	"crypto/rand"
	"os"
	"time"

	"cloudcrowd.dev/cloudcrowd/internal/sandbox/sandboxtest/behave"
)

var kept [][]byte

func main() {
	os.Exit(behave.Main(behave.World{
		Args: os.Args[1:], Env: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		In: "/in", Out: "/out", Tmp: "/tmp", Now: time.Now, Sleep: time.Sleep, Random: rand.Reader,
		Spin: func() {
			for n := 0; ; n++ {
				if n < 0 {
					break
				}
			}
		},
		Hog: func(n int) {
			for ; n > 0; n -= 1 << 20 {
				b := make([]byte, 1<<20)
				for i := range b {
					b[i] = byte(i)
				}
				kept = append(kept, b)
			}
		},
		Crash: func() {
			crash()
		},
	}))
}
