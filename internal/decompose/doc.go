// Package decompose decides how a stage's input is cut into tasks and what each task is given.
//
// A divisible input is not cut in advance. [BuildIndex] reads it once and remembers where it may be cut; [NextHi] carves the next task of a
// wanted size from the cursor; [Payload] turns the carved unit into files, arguments, environment and seed. Everything here is a
// function of its arguments: no disk, network or clock. docs/decompose.md explains the rules.
package decompose
