package wasm

import (
	"strings"
	"testing"
)

// A program is refused the names that the worker would refuse in its result, so that it hears of them and not only its owner.
func TestPortable(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"a": true, "-rf": true, "...": true, "日本": true, "a b": true, strings.Repeat("n", 255): true,
		"": false, ".": false, "..": false, "a/b": false, "a\\b": false, "a\nb": false, "\x7f": false, "\u0085": false, "\xff": false, strings.Repeat("n", 256): false,
	} {
		if got := portable(name) == 0; got != want {
			t.Errorf("%q is taken: %v", name, got)
		}
	}
}
