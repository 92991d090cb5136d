// Package cluster makes several servers on one store one crowd. Each server owns some of the store's shards, by a lease that it renews and an epoch that fences
// it; whatever a server is asked it answers itself or passes on to the owner; and what a worker offers, wherever it is connected, is shared out among all shards.
//
// The parts: Node runs the task managers of a server's shards (node.go) and keeps its membership (members.go); spread.go says which server owns which shard; Bus (bus.go) is NATS
// between the servers, and calls over it (call.go, stream.go); Backend (backend.go) is what API and console ask; crowd.go stands between workers and shards, and
// share.go shares out what workers offer.
// docs/cluster.md explains it to operators.
package cluster
