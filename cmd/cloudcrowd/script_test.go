package main

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptCommands are the commands of scripts beside testscript's own.
var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"status": status,
	"field":  field,
}

// status runs a command that must end with the given exit status: status 2 cloudcrowd run --nonsense
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command [arguments]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("status %d, want %d", got, want)
	}
}

// field checks a field of the JSON object on the last line of a file (or stdout): field stdout error.code invalid
// Without a value it checks that the field exists; ! field checks that it does not or is different.
func field(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: field FILE NAME[.NAME…] [VALUE]")
	}
	lines := strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), "\n")
	var value any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &value); err != nil {
		ts.Fatalf("the last line is no JSON: %v", err)
	}
	found := true
	for name := range strings.SplitSeq(args[1], ".") {
		object, ok := value.(map[string]any)
		if value, found = object[name]; !ok || !found {
			found = false
			break
		}
	}
	text, ok := value.(string)
	if !ok {
		raw, _ := json.Marshal(value)
		text = string(raw)
	}
	if match := found && (len(args) == 2 || text == args[2]); match == neg {
		ts.Fatalf("%s is %q (there: %v)", args[1], text, found)
	}
}
