package store

import "cloudcrowd.dev/cloudcrowd"

// CheckClaim refuses a claim that no correct caller makes: code Invalid.
func CheckClaim(owner string, seen int64) error {
	if owner == "" {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "a claim needs the id of a server")
	}
	if seen < 0 {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "epoch %d is negative", seen)
	}
	return nil
}

// CheckServer refuses a server without an id: code Invalid.
func CheckServer(s Server) error {
	if s.ID == "" {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "a server needs an id")
	}
	return nil
}
