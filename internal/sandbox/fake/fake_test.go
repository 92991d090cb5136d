package fake

import (
	"context"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox/sandboxtest"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox/sandboxtest/behave"
)

// The fake keeps the contract.
func TestContract(t *testing.T) {
	t.Parallel()
	digest := strings.Repeat("ab", 32)
	sandboxtest.Run(t, func(t *testing.T) sandboxtest.Subject {
		s := New(map[string]Program{digest: behaving})
		t.Cleanup(func() { _ = s.Close() })
		return sandboxtest.Subject{Sandbox: s, Digest: digest}
	})
}

// behaving runs the program of the suite with what a Go function can do instead of looping, hogging and crashing.
func behaving(ctx context.Context, a *Attempt) (int, error) {
	wait := func() { <-ctx.Done(); panic(ctx.Err()) }
	w := behave.World{Args: a.Spec.Args, Env: a.Spec.Env, Stdin: a.Stdin, Stdout: untilDone{ctx, a}, Stderr: a.Stderr,
		In: a.In, Out: a.Out, Tmp: a.Tmp, Now: a.Now, Sleep: a.Sleep, Random: a.Random, Spin: wait,
		Hog: func(n int) {
			if int64(n) > a.Spec.Limits.MemoryBytes {
				panic(&Stop{Status: sandbox.OutOfMemory, Reason: "the program wanted more memory"})
			}
		},
		Crash: func() { panic("crash") },
	}
	return behave.Main(w), nil
}

// untilDone lets endless printing end.
type untilDone struct {
	ctx context.Context
	a   *Attempt
}

func (u untilDone) Write(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.a.Stdout.Write(p)
}
