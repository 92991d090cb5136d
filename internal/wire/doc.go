// Package wire gives the messages of the worker protocol their protobuf form and checks everything that comes off the network before it becomes a
// value: counts, lengths, ids, paths, digests and numbers. docs/worker-protocol.md is the contract for implementers in other languages.
//
// A frame is one byte that says how the rest is packed (0: as it is, 1: zstd) and a protobuf message. Frames are at most MaxFrame bytes on the wire
// and MaxPlain unpacked. EncodeUp and EncodeDown refuse a message that is too large; SplitUp and SplitDown make as many frames of it as needed.
package wire

//go:generate protoc --go_out=. --go_opt=module=cloudcrowd.dev/cloudcrowd/internal/wire pb/worker.proto

import "cloudcrowd.dev/cloudcrowd"

// Versions of the protocol this program speaks. Both ends speak the newest that both know; Hello and Welcome settle it.
const (
	Version = 1 // newest
	Oldest  = 1
)

// Limits of a frame. A receiver refuses what exceeds them; a sender splits.
const (
	MaxFrame   = 1 << 20 // bytes on the wire
	MaxPlain   = 4 << 20 // bytes after unpacking
	MaxEntries = 16_384  // attempts in one list, reports or leases of one frame
	MaxCached  = 4_096   // digests in one Hello or Beat
	MaxOutputs = 10_000  // files of one result
	MaxPath    = 255     // bytes of a file's path
	MaxReason  = 2_000   // bytes of a sentence for people
	MaxStderr  = 4 << 10 // bytes of the end of stderr
	MaxToken   = 1_024   // bytes of a grant's or upload's token
	MaxStrings = 10_000  // arguments, environment variables or input files of one payload
	MaxName    = 200     // bytes of a worker's name, and of its other words about itself
	MaxServers = 256     // servers of a crowd
	MaxServer  = 300     // bytes of a server's base URL
	maxNested  = 65_536  // protobuf messages within one frame
)

// UpSubject is where the worker publishes, DownSubject where it listens. A worker may do nothing else on the bus.
func UpSubject(w cloudcrowd.WorkerID) string { return upPrefix + string(w) }

// DownSubject is where the worker listens.
func DownSubject(w cloudcrowd.WorkerID) string { return downPrefix + string(w) }

// AllUp is the subject by which the server hears every worker.
const AllUp = upPrefix + "*"

const (
	upPrefix   = "cc.up."
	downPrefix = "cc.down."
)

// WorkerOf returns whose UpSubject it is. The bus lets a device publish on its own alone, so this is who spoke.
func WorkerOf(subject string) cloudcrowd.WorkerID {
	if len(subject) <= len(upPrefix) {
		return ""
	}
	return cloudcrowd.WorkerID(subject[len(upPrefix):])
}

// JoinMessage is what a device signs with its key to join by an invite.
func JoinMessage(invite string, w cloudcrowd.WorkerID) []byte {
	return []byte("cloudcrowd-join:" + invite + ":" + string(w))
}
