package e2e

import (
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// A server that is killed is replaced: whoever asks another about its jobs waits for the new owner, not longer than the lease and what taking over needs.
func TestServersTakeOver(t *testing.T) {
	t.Parallel()
	s := newServers(t, nil, "ada", "grace", "linus")
	jobs := s.everywhere("job", counting(4, 4, pair))
	for range setting(t, killsSetting, 1) {
		dead := s.leader(s.shardOf(jobs[0]))
		lost := dead.owns()
		dead.process.replace()
		begun := time.Now()
		api := s.others(dead)[0].api(s.token)
		var last time.Duration
		for _, shard := range lost {
			if _, err := api.Job(t.Context(), jobs[shard]); err != nil {
				t.Errorf("a job of a shard whose server was killed: %v", err)
			}
			last = time.Since(begun)
		}
		t.Logf("the %d shards of a server that was killed were served again after %s", len(lost), last.Round(time.Millisecond))
		s.ownedBy(s.others(dead)...)
		dead.begin()
		s.settled()
	}
	for _, id := range jobs {
		job := s.ended(id, cloudcrowd.JobDone)
		if got := s.answer(job, "lines.txt"); got != counted(4, 4) {
			t.Errorf("the answer of %s is\n%s", id, got)
		}
		s.money(job)
	}
	s.balance()
}
