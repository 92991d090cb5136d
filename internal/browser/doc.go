// Package browser holds the tests that use the console as people do: a real browser, a real server and real workers, each a process of its own.
package browser
