package store

import "cloudcrowd.dev/cloudcrowd"

// Admit decides a Join; it writes nothing. invite is the one the secret belongs to, known the device's registration; nil if there is none.
// When fresh, the caller stores the worker and counts one use of the invite. A device that is registered for the invite's owner is let in whatever
// has become of the invite since: it proves itself by its key, and a worker restarted with its first join link must come back.
func Admit(invite *cloudcrowd.Invite, known *cloudcrowd.Worker, w cloudcrowd.Worker, now cloudcrowd.Time) (joined cloudcrowd.Worker, fresh bool, err error) {
	refuse := func(why string) (cloudcrowd.Worker, bool, error) {
		return cloudcrowd.Worker{}, false, cloudcrowd.Errorf(cloudcrowd.Forbidden, "the join link %s", why).
			WithHint("ask the owner of the account for a new join link")
	}
	switch {
	case invite == nil:
		return refuse("is not known here")
	case known != nil && known.Owner == invite.Owner:
		return *known, false, nil
	case invite.Revoked:
		return refuse("was revoked")
	case invite.ExpiresAt != 0 && now >= invite.ExpiresAt:
		return refuse("has expired")
	case invite.MaxUses != 0 && invite.Uses >= invite.MaxUses:
		return refuse("has been used as often as it allows")
	case known != nil:
		return cloudcrowd.Worker{}, false, cloudcrowd.Errorf(cloudcrowd.Conflict, "this device already works for another account").
			WithHint("use another data directory for the worker, so that it makes a new device key")
	}
	w.Owner, w.Invite, w.Revoked = invite.Owner, invite.ID, false
	if w.RegisteredAt == 0 {
		w.RegisteredAt = now
	}
	return w, true, nil
}
