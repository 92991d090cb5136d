// Package e2e holds the tests of the whole platform: the real program as server, workers and command line, each a process of its own, over real
// connections, on a real disk, with the bad days that docs/testing.md lists. It has no code of its own.
package e2e
