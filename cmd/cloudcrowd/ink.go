package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// ink colours text. The zero ink leaves it plain.
type ink struct{ on bool }

func (k ink) paint(code, text string) string {
	if !k.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (k ink) bold(s string) string   { return k.paint("1", s) }
func (k ink) dim(s string) string    { return k.paint("2", s) }
func (k ink) red(s string) string    { return k.paint("31", s) }
func (k ink) green(s string) string  { return k.paint("32", s) }
func (k ink) yellow(s string) string { return k.paint("33", s) }
func (k ink) blue(s string) string   { return k.paint("36", s) }

// state colours the word for a state of a job, stage, task, attempt or hold.
func (k ink) state(word string) string {
	switch word {
	case "done", "accepted", "posted", "trusted", "online", "clean":
		return k.green(word)
	case "failed", "refused", "revoked", "distrusted", "faulty":
		return k.red(word)
	case "running", "leased", "reported", "merging", "preparing", "pending":
		return k.blue(word)
	case "lost", "cancelled", "returned", "probation", "offline", "expired", "unable":
		return k.yellow(word)
	}
	return word
}

// inkFor colours only on a terminal, unless NO_COLOR (no-color.org) is set or TERM is dumb.
func inkFor(w io.Writer, getenv func(string) string) ink {
	return ink{on: isTerminal(w) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"}
}

// isTerminal reports whether w is a terminal that understands escape sequences.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && enableEscapes(f)
}

// terminalWidth is the number of columns of w, 80 if it is no terminal.
func terminalWidth(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return 80
}

// textWidth is the number of characters of s as shown, without colour sequences.
func textWidth(s string) int {
	n := 0
	for s != "" {
		if rest, ok := strings.CutPrefix(s, "\x1b["); ok {
			_, s, _ = strings.Cut(rest, "m")
			continue
		}
		_, size := utf8.DecodeRuneInString(s)
		s = s[size:]
		n++
	}
	return n
}

// pad fills s with spaces up to width, on the left if right is set.
func pad(s string, width int, right bool) string {
	space := strings.Repeat(" ", max(0, width-textWidth(s)))
	if right {
		return space + s
	}
	return s + space
}

// table lays out rows in columns two spaces apart. A heading that begins with ">" aligns its column to the right. No rows, no table.
func table(k ink, headings []string, rows [][]string) string {
	if len(rows) == 0 {
		return ""
	}
	right, widths, head := make([]bool, len(headings)), make([]int, len(headings)), make([]string, len(headings))
	for i, h := range headings {
		h, right[i] = strings.CutPrefix(h, ">")
		head[i], widths[i] = k.dim(h), textWidth(h)
		for _, row := range rows {
			widths[i] = max(widths[i], textWidth(row[i]))
		}
	}
	var b strings.Builder
	for _, row := range append([][]string{head}, rows...) {
		line := ""
		for i, cell := range row {
			line += pad(cell, widths[i], right[i]) + "  "
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

// plural is "1 task" or "2 tasks".
func plural[N int | int32 | int64](n N, noun string) string {
	if n == 1 {
		return fmt.Sprintf("1 %s", noun)
	}
	if strings.HasSuffix(noun, "y") {
		noun = strings.TrimSuffix(noun, "y") + "ie"
	}
	return fmt.Sprintf("%s %ss", grouped(int64(n)), noun)
}

// grouped writes a number with a comma at every third digit: "4,639,675".
func grouped(n int64) string {
	sign, s := "", fmt.Sprint(n)
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// seconds writes a length of time for people: "0.4 s", "12 s", "3 min 20 s", "2 h 5 min".
func seconds(s float64) string {
	switch whole := int64(s + 0.5); {
	case s < 0.001:
		return "0 s"
	case s < 9.95:
		return fmt.Sprintf("%.1f s", s)
	case whole < 60:
		return fmt.Sprintf("%d s", whole)
	case whole < 3600 && whole%60 == 0:
		return fmt.Sprintf("%d min", whole/60)
	case whole < 3600:
		return fmt.Sprintf("%d min %d s", whole/60, whole%60)
	default:
		return fmt.Sprintf("%d h %d min", whole/3600, whole%3600/60)
	}
}
