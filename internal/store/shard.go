package store

import (
	"hash/fnv"

	"cloudcrowd.dev/cloudcrowd"
)

// ShardOf is the shard a job belongs to, of n. It follows from the id alone, so that whoever knows a job's id knows whom to ask.
func ShardOf(id cloudcrowd.JobID, n int) int { return ShardOfKey(string(id), n) }

// ShardOfKey is the shard that answers for a request with a key, before it has a job: the same key comes to the same shard.
func ShardOfKey(key string, n int) int {
	if n <= 1 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(key)) // never fails
	return int(h.Sum64() % uint64(n))
}
