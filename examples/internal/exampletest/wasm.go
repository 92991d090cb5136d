package exampletest

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// Wasm returns a function that runs a module as the platform's sandbox does: inputs at /in, outputs from /out, its name
// and arguments. A failure ends the test with what the program wrote to stderr. Only for trusted modules: nothing
// confines the program's time, and its outputs are a plain folder.
func Wasm(t testing.TB, module []byte) func(inputs Files, args ...string) Files {
	t.Helper()
	ctx := context.Background()
	runtime := wazero.NewRuntime(ctx)
	t.Cleanup(func() { _ = runtime.Close(ctx) })
	wasi_snapshot_preview1.MustInstantiate(ctx, runtime)
	compiled, err := runtime.CompileModule(ctx, module)
	if err != nil {
		t.Fatal(err)
	}
	return func(inputs Files, args ...string) Files {
		t.Helper()
		return Task(t, inputs, func(in, out string) error {
			var stderr bytes.Buffer
			instance, err := runtime.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().
				WithName("").WithArgs(append([]string{"program"}, args...)...).WithStderr(&stderr).
				WithFSConfig(wazero.NewFSConfig().WithFSMount(os.DirFS(in), "/in").WithDirMount(out, "/out")))
			if err != nil {
				t.Fatalf("%v: %v\n%s", args, err, &stderr)
			}
			return instance.Close(ctx)
		})
	}
}
