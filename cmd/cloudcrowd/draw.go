package main

import (
	"fmt"
	"math"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// bar draws a fraction as a bar of the given number of characters, to an eighth of a character.
func bar(fraction float64, width int) string {
	if !(fraction > 0) { // also NaN
		fraction = 0
	}
	eighths := int(min(fraction, 1)*float64(width)*8 + 0.5)
	s := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		s += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return pad(s, width, false)
}

// stageFraction is how much of a stage is done, 0..1.
func stageFraction(s cloudcrowd.StageView) float64 {
	switch {
	case s.State == cloudcrowd.StageDone:
		return 1
	case s.UnitsTotal > 0:
		return float64(s.UnitsDone) / float64(s.UnitsTotal)
	case s.Tasks > 0:
		return float64(s.TasksDone) / float64(s.Tasks)
	}
	return 0
}

// stageBars draws one line a stage of a job: name, bar, share, and what is going on. Lines are at most width characters long.
func stageBars(k ink, state cloudcrowd.JobState, stages []cloudcrowd.StageView, width int) []string {
	name := 0
	for _, s := range stages {
		name = max(name, textWidth(s.Name))
	}
	room := min(max(width-name-50, 10), 40)
	var lines []string
	for _, s := range stages {
		f := stageFraction(s)
		drawn := bar(f, room)
		if s.State == cloudcrowd.StageDone {
			drawn = k.green(drawn)
		} else {
			drawn = k.blue(drawn)
		}
		line := fmt.Sprintf("%s %s %3.0f %%  %s", pad(s.Name, name, false), drawn, math.Floor(f*100), stageWords(k, state, s))
		lines = append(lines, clip(line, width))
	}
	return lines
}

// stageWords says what a stage of a job is doing. What an ended job left undone is cancelled: nobody works on it any more.
func stageWords(k ink, job cloudcrowd.JobState, s cloudcrowd.StageView) string {
	if s.Tasks == 0 && s.State != cloudcrowd.StageDone {
		if job.Ended() {
			return k.dim(string(cloudcrowd.JobCancelled))
		}
		return k.dim(string(s.State))
	}
	words := []string{fmt.Sprintf("%s of %s", grouped(s.TasksDone), plural(s.Tasks, "task"))}
	if s.State == cloudcrowd.StageDone {
		words[0] = plural(s.Tasks, "task")
		if s.Tasks == 0 {
			words[0] = "merged on the server"
		}
	}
	if s.Running > 0 {
		words = append(words, fmt.Sprintf("%d running", s.Running))
	}
	if s.Refused > 0 {
		words = append(words, k.red(fmt.Sprintf("%d refused", s.Refused)))
	}
	if s.TasksFailed > 0 {
		words = append(words, k.red(fmt.Sprintf("%d failed", s.TasksFailed)))
	}
	return strings.Join(words, ", ")
}

// clip shortens a line to width characters as shown; colours beyond the cut are ended.
func clip(line string, width int) string {
	if textWidth(line) <= width {
		return line
	}
	var b strings.Builder
	shown, rest := 0, line
	for rest != "" && shown < width-1 {
		if tail, ok := strings.CutPrefix(rest, "\x1b["); ok {
			code, after, _ := strings.Cut(tail, "m")
			b.WriteString("\x1b[" + code + "m")
			rest = after
			continue
		}
		r := []rune(rest[:min(4, len(rest))])[0]
		b.WriteRune(r)
		rest = rest[len(string(r)):]
		shown++
	}
	b.WriteString("…")
	if strings.Contains(line, "\x1b[") {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}

// jobLine is one line on a job for logs and pipes: no bar, no colour.
func jobLine(j cloudcrowd.JobSummary) string {
	var parts []string
	for _, s := range j.Stages {
		words := stageWords(ink{}, j.State, s)
		if s.State == cloudcrowd.StageDone {
			words = "done, " + words
		}
		parts = append(parts, s.Name+": "+words)
	}
	return fmt.Sprintf("%3.0f %%  %s", math.Floor(j.Progress*100), strings.Join(parts, "; "))
}

// remaining words the estimate of what is left, "" if there is none.
func remaining(r [2]float64) string {
	low, high := seconds(r[0]), seconds(r[1])
	switch {
	case r[1] <= 0:
		return ""
	case low == high:
		return "about " + low + " left"
	}
	return low + " to " + high + " left"
}
