package decompose

import (
	"sort"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// expand replaces every {{name}} of text by its value. Spaces inside the braces are allowed; {{"…"}} stands for the quoted text itself,
// which is how to write two braces: {{"{{"}}.
func expand(text string, lookup func(name string) (string, bool), known []string) (string, error) {
	if !strings.Contains(text, "{{") {
		return text, nil
	}
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{{")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		rest = strings.TrimLeft(rest, " \t")
		if strings.HasPrefix(rest, `"`) {
			literal, after, ok := strings.Cut(rest[1:], `"`)
			after, closed := strings.CutPrefix(strings.TrimLeft(after, " \t"), "}}")
			if !ok || !closed {
				return "", unclosed(rest)
			}
			out.WriteString(literal)
			text = after
			continue
		}
		name, after, ok := strings.Cut(rest, "}}")
		if !ok {
			return "", unclosed(rest)
		}
		name = strings.TrimSpace(name)
		value, ok := lookup(name)
		if !ok {
			return "", unknownName(name, known)
		}
		out.WriteString(value)
		text = after
	}
}

// Expand replaces every {{name}} of text by its value, as programs' arguments are. An unknown name is Invalid and lists the known ones.
func Expand(text string, values map[string]string) (string, error) {
	known := make([]string, 0, len(values))
	for name := range values {
		known = append(known, name)
	}
	sort.Strings(known)
	return expand(text, func(name string) (string, bool) { v, ok := values[name]; return v, ok }, known)
}

// CheckTemplate reports what is wrong with text as a template over the known names, or nil.
func CheckTemplate(text string, known []string) error {
	_, err := expand(text, func(name string) (string, bool) {
		for _, k := range known {
			if k == name {
				return "", true
			}
		}
		return "", false
	}, known)
	return err
}

func unclosed(rest string) error {
	if len(rest) > 20 {
		rest = rest[:20] + "…"
	}
	return cloudcrowd.Errorf(cloudcrowd.Invalid, `"{{%s" is not closed by "}}"`, strings.ToValidUTF8(rest, "\uFFFD")).
		WithHint(`write {{name}}; two braces themselves are written {{"{{"}}`)
}

// unknownName names the nearest known one and lists all.
func unknownName(name string, known []string) error {
	meant := ""
	if near := Nearest(name, known); near != "" {
		meant = "; did you mean {{" + near + "}}?"
	}
	return cloudcrowd.Errorf(cloudcrowd.Invalid, "{{%s}} is not known here%s (known: %s)", strings.ToValidUTF8(name, "\uFFFD"), meant, strings.Join(known, ", "))
}

// Nearest returns the candidate that is most likely meant by a misspelt word, or "" when none is near: at most a third of its letters, and at
// least one, may be added, left out, replaced or swapped with its neighbour.
func Nearest(word string, candidates []string) string {
	best, distance := "", 0
	for _, c := range candidates {
		longest := max(len(word), len(c))
		if longest > 64 {
			continue
		}
		d := editDistance(strings.ToLower(word), strings.ToLower(c))
		if d <= max(1, longest/3) && d < longest && (best == "" || d < distance) {
			best, distance = c, d
		}
	}
	return best
}

// editDistance counts insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
func editDistance(a, b string) int {
	before, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}
