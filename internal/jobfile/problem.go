package jobfile

import (
	"fmt"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// MaxProblems is how many mistakes are reported at once.
const MaxProblems = 20

// Problem is one mistake in a job description. File and Line are empty where the description is not a file.
type Problem struct {
	File string
	Line int               // from 1
	Err  *cloudcrowd.Error // code, field, message, hint
}

// Error returns "file:line: field: what is wrong".
func (p *Problem) Error() string {
	switch {
	case p.File == "":
		return p.Err.Error()
	case p.Line == 0:
		return p.File + ": " + p.Err.Error()
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Err.Error())
}

// Unwrap returns the error without its place.
func (p *Problem) Unwrap() error { return p.Err }

// Problems is everything found wrong with a job description, in the order of the description, at most MaxProblems. It is never empty.
type Problems []*Problem

// Error returns one line for every problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the problems, so that cloudcrowd.CodeOf finds their code.
func (ps Problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}

// problems collects mistakes while a description is read or checked.
type problems struct {
	file  string
	lines map[string]int // field → line where it stands
	list  Problems
	more  bool // some were not kept
}

// add notes a mistake in a field. Its line is that of the field or of the nearest one around it.
func (ps *problems) add(field, format string, args ...any) *Problem {
	return ps.put(cloudcrowd.Fieldf(field, format, args...))
}

func (ps *problems) put(e *cloudcrowd.Error) *Problem {
	p := &Problem{File: ps.file, Line: ps.line(e.Field), Err: e}
	if len(ps.list) >= MaxProblems {
		ps.more = true
		return p
	}
	for _, known := range ps.list {
		if known.Error() == p.Error() {
			return p
		}
	}
	ps.list = append(ps.list, p)
	return p
}

// hint sets what to do about the problem.
func (p *Problem) hint(format string, args ...any) { p.Err.Hint = fmt.Sprintf(format, args...) }

func (ps *problems) line(field string) int {
	for field != "" {
		if n, ok := ps.lines[field]; ok {
			return n
		}
		i := strings.LastIndexAny(field, ".[")
		if i < 0 {
			break
		}
		field = field[:i]
	}
	return 0
}

// err returns what was collected, or nil.
func (ps *problems) err() error {
	if len(ps.list) == 0 {
		return nil
	}
	if ps.more {
		last := ps.list[len(ps.list)-1]
		last.hint("there are more than %d problems; these come first", MaxProblems)
	}
	return ps.list
}
