package cloudcrowd

import (
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// JobID names a job: "j" and 16 lower-case base32 characters: 48 bits of milliseconds since 1970 and 32 random bits, so that ids sort by time. It holds no dash.
type JobID string

// WorkerID names a worker: the public nkey of its device (Ed25519, "U…", 56 characters). The private half never leaves the device.
type WorkerID string

// Short is the abbreviated id shown to people where a name is missing.
func (w WorkerID) Short() string {
	if len(w) > 10 {
		return string(w[:10])
	}
	return string(w)
}

// AccountID names an account of the ledger: "issuer", "fee", or a person's or organisation's name ([a-z0-9][a-z0-9._-]{0,62}).
type AccountID string

// Digest is the lower-case hexadecimal SHA-256 of a blob's bytes, 64 characters. The empty Digest means "none".
type Digest string

// Valid reports whether d has the form of a digest.
func (d Digest) Valid() bool {
	if len(d) != 64 {
		return false
	}
	for _, c := range []byte(d) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Short is the first 12 characters, for people.
func (d Digest) Short() string {
	if len(d) > 12 {
		return string(d[:12])
	}
	return string(d)
}

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewJobID makes an id from the time of submission and 32 random bits.
func NewJobID(at time.Time, random uint32) JobID {
	var b [10]byte
	binary.BigEndian.PutUint64(b[:8], uint64(at.UnixMilli())<<16)
	binary.BigEndian.PutUint32(b[6:], random)
	return JobID("j" + idEncoding.EncodeToString(b[:]))
}

// Valid reports whether the id has the form NewJobID makes.
func (j JobID) Valid() bool {
	if len(j) != 17 || j[0] != 'j' {
		return false
	}
	_, err := idEncoding.DecodeString(string(j[1:]))
	return err == nil
}

// TaskID names a task: its job, the number of its stage (position in JobSpec.Stages) and its number within the stage, both from 0.
// In text: "JOB-STAGE-INDEX".
type TaskID struct {
	Job   JobID `cbor:"1,keyasint"`
	Stage int32 `cbor:"2,keyasint,omitempty"`
	Index int32 `cbor:"3,keyasint,omitempty"`
}

// String returns the text form.
func (t TaskID) String() string {
	return string(t.append(make([]byte, 0, 48)))
}

// MarshalText implements encoding.TextMarshaler.
func (t TaskID) append(b []byte) []byte {
	b = strconv.AppendInt(append(append(b, t.Job...), '-'), int64(t.Stage), 10)
	return strconv.AppendInt(append(b, '-'), int64(t.Index), 10)
}

func (t TaskID) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText parses the text form.
func (t *TaskID) UnmarshalText(b []byte) error {
	v, err := ParseTaskID(string(b))
	if err == nil {
		*t = v
	}
	return err
}

// ParseTaskID reads the text form of a task id.
func ParseTaskID(s string) (TaskID, error) {
	p := strings.Split(s, "-")
	if len(p) != 3 || !JobID(p[0]).Valid() {
		return TaskID{}, Errorf(Invalid, "%q is not a task id; it looks like jXXXXXXXXXXXXXXXX-0-17", s)
	}
	n, err := parseParts(p[1:])
	if err != nil {
		return TaskID{}, Errorf(Invalid, "%q is not a task id: %v", s, err)
	}
	return TaskID{Job: JobID(p[0]), Stage: n[0], Index: n[1]}, nil
}

// AttemptID names one try of a task; N counts from 1. In text: "JOB-STAGE-INDEX-N".
type AttemptID struct {
	Task TaskID `cbor:"1,keyasint"`
	N    int32  `cbor:"2,keyasint"`
}

// String returns the text form.
func (a AttemptID) String() string {
	return string(strconv.AppendInt(append(a.Task.append(make([]byte, 0, 48)), '-'), int64(a.N), 10))
}

// MarshalText implements encoding.TextMarshaler.
func (a AttemptID) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText parses the text form.
func (a *AttemptID) UnmarshalText(b []byte) error {
	v, err := ParseAttemptID(string(b))
	if err == nil {
		*a = v
	}
	return err
}

// ParseAttemptID reads the text form of an attempt id.
func ParseAttemptID(s string) (AttemptID, error) {
	p := strings.Split(s, "-")
	if len(p) != 4 || !JobID(p[0]).Valid() {
		return AttemptID{}, Errorf(Invalid, "%q is not an attempt id; it looks like jXXXXXXXXXXXXXXXX-0-17-1", s)
	}
	n, err := parseParts(p[1:])
	if err != nil {
		return AttemptID{}, Errorf(Invalid, "%q is not an attempt id: %v", s, err)
	}
	return AttemptID{Task: TaskID{Job: JobID(p[0]), Stage: n[0], Index: n[1]}, N: n[2]}, nil
}

func parseParts(p []string) ([]int32, error) {
	out := make([]int32, len(p))
	for i, s := range p {
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("%q is not a number", s)
		}
		out[i] = int32(n)
	}
	return out, nil
}
