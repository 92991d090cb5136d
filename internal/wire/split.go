package wire

import "cloudcrowd.dev/cloudcrowd"

// SplitUp makes as many frames of a message as it takes, in an order in which they mean the same. It fails only where one report, or one Hello, alone
// does not fit.
func SplitUp(u *cloudcrowd.Up) ([][]byte, error) {
	return appendUp(nil, u)
}

func appendUp(frames [][]byte, u *cloudcrowd.Up) ([][]byte, error) {
	frame, err := EncodeUp(u)
	if err == nil {
		return append(frames, frame), nil
	}
	if cloudcrowd.CodeOf(err) != cloudcrowd.TooLarge {
		return frames, err
	}
	first, second := *u, cloudcrowd.Up{Leaving: u.Leaving}
	first.Leaving = false
	switch {
	case len(u.Reports) > 1:
		h := len(u.Reports) / 2
		first.Reports, second.Reports = u.Reports[:h], u.Reports[h:]
		first.Returned, second.Returned = nil, u.Returned
	case len(u.Returned) > 1:
		h := len(u.Returned) / 2
		first.Returned, second.Returned = u.Returned[:h], u.Returned[h:]
	case u.Beat != nil && len(u.Beat.Holding) > 1:
		a, b := *u.Beat, cloudcrowd.Beat{Session: u.Beat.Session, Want: u.Beat.Want, Unable: u.Beat.Unable, CachedBytes: u.Beat.CachedBytes}
		h := len(a.Holding) / 2
		a.Holding, b.Holding = u.Beat.Holding[:h], u.Beat.Holding[h:]
		first.Beat, second.Beat = &a, &b
		first.Reports, second.Reports = nil, u.Reports
	case u.Beat != nil && u.Hello != nil:
		first.Beat, second.Beat = nil, u.Beat
		first.Reports, second.Reports = nil, u.Reports
	case len(u.Reports) == 1 && (u.Beat != nil || u.Hello != nil):
		first.Reports, second.Reports = nil, u.Reports
	default:
		return frames, err
	}
	if frames, err = appendUp(frames, &first); err != nil {
		return frames, err
	}
	return appendUp(frames, &second)
}

// SplitDown makes as many frames of a message as it takes, in an order in which they mean the same. A lease that alone does not fit a frame is left out
// and named in tooLarge, so that one task's oversized payload does not hold up the others.
func SplitDown(d *cloudcrowd.Down) (frames [][]byte, tooLarge []cloudcrowd.AttemptID, err error) {
	return appendDown(nil, nil, d)
}

func appendDown(frames [][]byte, large []cloudcrowd.AttemptID, d *cloudcrowd.Down) ([][]byte, []cloudcrowd.AttemptID, error) {
	frame, err := EncodeDown(d)
	if err == nil {
		return append(frames, frame), large, nil
	}
	if cloudcrowd.CodeOf(err) != cloudcrowd.TooLarge {
		return frames, large, err
	}
	first, second := *d, cloudcrowd.Down{Refused: d.Refused}
	first.Refused = ""
	switch {
	case len(d.Leases) > 1:
		h := len(d.Leases) / 2
		first.Leases, second.Leases = d.Leases[:h], d.Leases[h:]
		second.Cancels, first.Cancels = d.Cancels, nil // a cancel follows the lease it ends
	case len(d.Acks) > 1:
		h := len(d.Acks) / 2
		first.Acks, second.Acks = d.Acks[:h], d.Acks[h:]
		second.Leases, first.Leases = d.Leases, nil
		second.Cancels, first.Cancels = d.Cancels, nil
	case len(d.Cancels) > 1:
		h := len(d.Cancels) / 2
		first.Cancels, second.Cancels = d.Cancels[:h], d.Cancels[h:]
	case len(d.Leases) == 1:
		rest := *d
		rest.Leases = nil
		return appendDown(frames, append(large, d.Leases[0].Attempt), &rest)
	default:
		return frames, large, err
	}
	if frames, large, err = appendDown(frames, large, &first); err != nil {
		return frames, large, err
	}
	return appendDown(frames, large, &second)
}

// Undeliverable reports leases that fit no frame as the worker would report a task it cannot run, so that they neither wait for their lease to expire nor
// are tried for ever.
func Undeliverable(ids []cloudcrowd.AttemptID) []cloudcrowd.Report {
	reports := make([]cloudcrowd.Report, len(ids))
	for i, id := range ids {
		reports[i] = cloudcrowd.Report{Attempt: id, Result: cloudcrowd.Result{
			Outcome: cloudcrowd.Broken,
			Reason:  "the task's arguments, stdin and inline input are too large for a message to a worker (1 MiB compressed, 4 MiB plain)",
		}}
	}
	return reports
}
