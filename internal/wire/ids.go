package wire

import (
	"encoding/hex"
	"fmt"

	"cloudcrowd.dev/cloudcrowd"
)

// jobTable gives the jobs of a frame numbers in order of appearance. Frames mostly speak of one job, or a few in runs.
type jobTable struct {
	jobs   []string
	last   uint32
	number map[cloudcrowd.JobID]uint32 // only once there are several
}

func (t *jobTable) of(j cloudcrowd.JobID) uint32 {
	if len(t.jobs) > 0 && t.jobs[t.last] == string(j) {
		return t.last
	}
	if n, ok := t.number[j]; ok {
		t.last = n
		return n
	}
	if t.number == nil {
		t.number = make(map[cloudcrowd.JobID]uint32)
	}
	t.last = uint32(len(t.jobs))
	t.jobs = append(t.jobs, string(j))
	t.number[j] = t.last
	return t.last
}

// flat encodes a list of attempts, four numbers each.
func (t *jobTable) flat(ids []cloudcrowd.AttemptID) []uint32 {
	if len(ids) == 0 {
		return nil
	}
	out := make([]uint32, 0, 4*len(ids))
	for _, id := range ids {
		out = append(out, t.of(id.Task.Job), uint32(id.Task.Stage), uint32(id.Task.Index), uint32(id.N))
	}
	return out
}

// attempt decodes four numbers. Numbers beyond int32 become negative, which the checks refuse.
func attempt(jobs []string, job, stage, index, number uint32) (cloudcrowd.AttemptID, error) {
	if uint64(job) >= uint64(len(jobs)) {
		return cloudcrowd.AttemptID{}, cloudcrowd.Fieldf("jobs", "an attempt names job number %d of %d", job, len(jobs))
	}
	return cloudcrowd.AttemptID{
		Task: cloudcrowd.TaskID{Job: cloudcrowd.JobID(jobs[job]), Stage: int32(stage), Index: int32(index)},
		N:    int32(number),
	}, nil
}

// attempts decodes a flat list.
func attempts(field string, jobs []string, flat []uint32) ([]cloudcrowd.AttemptID, error) {
	if len(flat) == 0 {
		return nil, nil
	}
	if len(flat)%4 != 0 {
		return nil, cloudcrowd.Fieldf(field, "%d numbers do not name attempts, which take four each", len(flat))
	}
	if len(flat)/4 > MaxEntries {
		return nil, tooMany(field, len(flat)/4, MaxEntries)
	}
	out := make([]cloudcrowd.AttemptID, 0, len(flat)/4)
	for i := 0; i < len(flat); i += 4 {
		id, err := attempt(jobs, flat[i], flat[i+1], flat[i+2], flat[i+3])
		if err != nil {
			return nil, err
		}
		out = append(out, id)
	}
	return out, nil
}

func tooMany(field string, n, limit int) error {
	return &cloudcrowd.Error{Code: cloudcrowd.TooLarge, Field: field, Msg: fmt.Sprintf("%d entries; at most %d", n, limit)}
}

// raw is a digest's 32 bytes; nil for none and for what is no digest, which the checks have refused before.
func raw(d cloudcrowd.Digest) []byte {
	if !d.Valid() {
		return nil
	}
	b := make([]byte, 32)
	_, _ = hex.Decode(b, []byte(d)) // Valid has just said so
	return b
}

// rawAll joins digests.
func rawAll(ds []cloudcrowd.Digest) []byte {
	if len(ds) == 0 {
		return nil
	}
	out := make([]byte, 0, 32*len(ds))
	for _, d := range ds {
		out = append(out, raw(d)...)
	}
	return out
}

// digest reads 32 bytes, or none.
func digest(field string, b []byte) (cloudcrowd.Digest, error) {
	switch len(b) {
	case 0:
		return "", nil
	case 32:
		return cloudcrowd.Digest(hex.EncodeToString(b)), nil
	}
	return "", cloudcrowd.Fieldf(field, "a digest has 32 bytes, not %d", len(b))
}

// digests reads joined digests.
func digests(field string, b []byte) ([]cloudcrowd.Digest, error) {
	if len(b)%32 != 0 {
		return nil, cloudcrowd.Fieldf(field, "%d bytes are no list of digests of 32 bytes", len(b))
	}
	if len(b) == 0 {
		return nil, nil
	}
	if len(b)/32 > MaxCached {
		return nil, tooMany(field, len(b)/32, MaxCached)
	}
	out := make([]cloudcrowd.Digest, 0, len(b)/32)
	for ; len(b) > 0; b = b[32:] {
		out = append(out, cloudcrowd.Digest(hex.EncodeToString(b[:32])))
	}
	return out, nil
}
