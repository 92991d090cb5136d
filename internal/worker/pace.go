package worker

import "time"

// pace decides how many leases to queue beyond the slots. The server's Ahead is enough for tasks that take longer than a lease takes to come; short ones
// would leave slots idle for most of each round trip. So as many more are asked for as end in roundTrip at the present pace. The server still gives
// none that would wait for long.
type pace struct {
	ahead int       // asked for now
	since time.Time // when ended began to be counted
	ended int
}

const (
	roundTrip = 50 * time.Millisecond // as long as a report, a commit and a lease take on a slow line
	mostAhead = 4096
)

// note counts an attempt that ended and reports whether another number of leases should be asked for.
func (p *pace) note(now time.Time, least int) bool {
	p.ended++
	past := now.Sub(p.since)
	if past < roundTrip/4 {
		return false
	}
	if past < 4*roundTrip {
		want := min(max(int(float64(p.ended)*float64(roundTrip)/float64(past)), least), mostAhead)
		// Small changes are not worth a message.
		if want > p.ahead+p.ahead/4 || want < p.ahead/2 {
			p.ahead, p.since, p.ended = want, now, 0
			return true
		}
	}
	p.since, p.ended = now, 0
	return false
}

// beyond is the number of leases to queue beyond the slots, at least the server's. After a quiet time it begins anew.
func (p *pace) beyond(now time.Time, least int) int {
	if now.Sub(p.since) > 20*roundTrip {
		p.ahead = 0
	}
	return max(p.ahead, least)
}
