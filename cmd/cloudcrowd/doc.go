// Command cloudcrowd is the whole of CloudCrowd in one program: the server, the worker, and the command line of requesters, worker owners and
// operators. main.go wires; every other command has a file of its own that begins with its manual page. docs/cli.md is made from these pages.
package main
