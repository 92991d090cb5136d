package cluster

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strconv"
)

// Spread says which server is to own each of n shards: every server about as many, and when one comes or goes, few shards move. It is rendezvous hashing
// (Thaler and Ravishankar 1998) with a bound on each server's share, so all servers that see the same members come to the same answer without asking each other.
// The names need no order; without servers every answer is "".
func Spread(servers []string, n int) []string {
	owners := make([]string, n)
	if len(servers) == 0 {
		return owners
	}
	most := (n + len(servers) - 1) / len(servers)
	load := map[string]int{}
	order := slices.Clone(servers)
	for shard := range owners {
		slices.SortFunc(order, func(a, b string) int {
			return cmp.Or(cmp.Compare(weight(b, shard), weight(a, shard)), cmp.Compare(a, b))
		})
		for _, s := range order {
			if load[s] < most {
				owners[shard] = s
				load[s]++
				break
			}
		}
	}
	return owners
}

func weight(server string, shard int) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(server + "/" + strconv.Itoa(shard))) // never fails
	x := h.Sum64()
	x ^= x >> 33 // the last bytes have hardly moved the first bits
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return x
}
