package callid

import (
	"strings"
	"testing"
)

// What a stranger sends names a call only if it can stand in a log and a header as it is.
func TestNames(t *testing.T) {
	t.Parallel()
	for id, valid := range map[string]bool{
		New(): true, "a": true, "Call-1_2.3": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "a b": false, "a\n": false, "ü": false, `a"`: false,
	} {
		if Valid(id) != valid {
			t.Errorf("%q: valid: %v", id, !valid)
		}
		want := ""
		if valid {
			want = id
		}
		if got := Of(With(t.Context(), id)); got != want {
			t.Errorf("%q became %q", id, got)
		}
	}
	if one, other := New(), New(); one == other {
		t.Error("two calls have one name")
	}
}
