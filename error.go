package cloudcrowd

import (
	"errors"
	"fmt"
)

// Code classifies an error for programs. The same words appear in API answers ("code") and in `--json` output.
type Code string

const (
	Invalid             Code = "invalid"              // the input is wrong; the message names the field and the fix
	NotFound            Code = "not-found"            // no such thing, or not yours to see
	Conflict            Code = "conflict"             // the thing is in a state that does not allow this
	Unauthorized        Code = "unauthorized"         // no valid token
	Forbidden           Code = "forbidden"            // a valid token without the right role
	InsufficientCredits Code = "insufficient-credits" // the account cannot cover the hold
	LeaseLost           Code = "lease-lost"           // another worker holds this task now
	TooLarge            Code = "too-large"            // over a size limit; the message names it
	RateLimited         Code = "rate-limited"         // too many requests; try later
	Unavailable         Code = "unavailable"          // the server cannot do this now (starting, stopping, disk full)
	DigestMismatch      Code = "digest-mismatch"      // bytes do not match their digest; nothing was stored
	Unsuccessful        Code = "job-failed"           // the job ended without its result
	Internal            Code = "internal"             // a defect or an unclassified failure
)

// Error is the one error type that crosses package borders with meaning. Msg is safe to show to the person who asked; Err is for the log.
type Error struct {
	Code  Code
	Field string // dotted path of the input field at fault ("stages.count.split.fasta.input"); empty if none
	Msg   string // one sentence: what is wrong
	Hint  string // one sentence: what to do; empty if obvious
	Err   error  // cause, never shown to strangers
}

// Error returns field, message and cause; the hint is left to whoever prints for people.
func (e *Error) Error() string {
	s := e.Msg
	if e.Field != "" {
		s = e.Field + ": " + s
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error of the given code without a field.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Msg: err.Error()}
}

// Fieldf makes an Invalid error about one input field.
func Fieldf(field, format string, args ...any) *Error {
	return &Error{Code: Invalid, Field: field, Msg: fmt.Sprintf(format, args...)}
}

// WithHint returns a copy of e that carries a hint.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// CodeOf returns the code of the first Error in err's chain, Internal for any other error, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}

// codeTable maps a code to its HTTP status and to the exit status of the command line.
var codeTable = map[Code]struct{ http, exit int }{
	Invalid:             {422, 2},
	NotFound:            {404, 4},
	Conflict:            {409, 5},
	Unauthorized:        {401, 3},
	Forbidden:           {403, 3},
	InsufficientCredits: {402, 6},
	LeaseLost:           {409, 5},
	TooLarge:            {413, 2},
	RateLimited:         {429, 7},
	Unavailable:         {503, 7},
	DigestMismatch:      {422, 2},
	Unsuccessful:        {409, 8},
	Internal:            {500, 1},
}

// HTTPStatus is the status the API answers with.
func (c Code) HTTPStatus() int {
	if t, ok := codeTable[c]; ok {
		return t.http
	}
	return 500
}

// ExitStatus is what the command line ends with.
func (c Code) ExitStatus() int {
	if t, ok := codeTable[c]; ok {
		return t.exit
	}
	return 1
}
