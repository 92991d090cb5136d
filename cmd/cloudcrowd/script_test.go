package main

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptCommands are the commands of scripts beside testscript's own.
var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"status":  status,
	"field":   field,
	"until":   until,
	"capture": capture,
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
	text, found := lastField(ts, args[0], args[1])
	if match := found && (len(args) == 2 || text == args[2]); match == neg {
		ts.Fatalf("%s is %q (there: %v)", args[1], text, found)
	}
}

// lastField is a field of the JSON object on the last line of a file, as text: strings without quotes, all else as JSON.
func lastField(ts *testscript.TestScript, file, path string) (text string, found bool) {
	lines := strings.Split(strings.TrimSpace(ts.ReadFile(file)), "\n")
	var value any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &value); err != nil {
		ts.Fatalf("the last line is no JSON: %v", err)
	}
	for name := range strings.SplitSeq(path, ".") {
		object, ok := value.(map[string]any)
		if value, found = object[name]; !ok || !found {
			return "", false
		}
	}
	if text, ok := value.(string); ok {
		return text, true
	}
	raw, err := json.Marshal(value)
	ts.Check(err)
	return string(raw), true
}

// untilLimit bounds how often until tries: a minute and more, for machines that are busy with other tests.
const untilLimit = 60

// until repeats a command, which itself waits for a server that is starting, until it succeeds: until cloudcrowd account show
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: until command [arguments]")
	}
	var err error
	for range untilLimit {
		if err = ts.Exec(args[0], args[1:]...); err == nil {
			return
		}
		wait := time.NewTimer(time.Second) // between tries; nothing is assumed about what it is enough for
		<-wait.C
	}
	ts.Fatalf("never succeeded: %v", err)
}

// capture keeps a field of the last line of a file in a variable: capture JOIN stdout link
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: capture NAME FILE FIELD")
	}
	text, found := lastField(ts, args[1], args[2])
	if !found {
		ts.Fatalf("there is no %s", args[2])
	}
	ts.Setenv(args[0], text)
}
