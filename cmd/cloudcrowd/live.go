package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// live redraws some lines at the end of a terminal in place. On anything but a terminal it prints nothing.
type live struct {
	w     io.Writer
	on    bool
	drawn int // lines on the screen that are ours
}

// draw replaces the lines of the last draw.
func (l *live) draw(lines []string) {
	if !l.on {
		return
	}
	var b strings.Builder
	if l.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", l.drawn)
	}
	for _, line := range lines {
		b.WriteString("\r\x1b[2K" + line + "\n")
	}
	if l.drawn > len(lines) {
		b.WriteString("\x1b[J")
	}
	io.WriteString(l.w, b.String())
	l.drawn = len(lines)
}

// keep leaves what is drawn on the screen; the next draw starts below it.
func (l *live) keep() { l.drawn = 0 }

// clear removes what is drawn.
func (l *live) clear() {
	l.draw(nil)
}

// spinner is a character that turns with time.
func spinner(since time.Duration) string {
	frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	return string(frames[int(since/(100*time.Millisecond))%len(frames)])
}

// transferLine is the progress line of bytes that move: "uploading  ███   3.1 of 4.4 MiB".
func transferLine(k ink, verb, name string, done, total int64, width int) string {
	fraction := 1.0
	if total > 0 {
		fraction = float64(done) / float64(total)
	}
	return clip(fmt.Sprintf("%s %s %3.0f %%  %s", verb, k.blue(bar(fraction, 24)), fraction*100, name), width)
}
