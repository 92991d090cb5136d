// Package cloudcrowd holds the vocabulary of CloudCrowd: jobs, stages, tasks, attempts, results, workers, accounts, transfers,
// their states, identifiers, units and error codes. It performs nothing: no disk, no network, no clock.
//
// A job is what a requester submitted. A stage is one node of its graph. A task is the smallest unit scheduled. An attempt
// is one try of one task on one worker, held by a lease. A result is what an attempt returned. The canonical result is the one accepted by the
// quorum. docs/life-of-a-job.md follows one from submit to payout.
package cloudcrowd
