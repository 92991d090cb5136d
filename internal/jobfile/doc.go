// Package jobfile reads job descriptions (docs/jobs.md): YAML or JSON as people write it to a cloudcrowd.JobSpec, and checks specs, wherever they
// come from, as strictly as the server does.
//
// Load or Parse decode, fill in defaults and check; File.Resolve uploads or compiles what the description points to and gives the finished spec.
// The server calls Normalise and Validate on what its API receives. Errors are Problems: every mistake at once, each with file, line and field.
package jobfile
