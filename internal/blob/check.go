package blob

import "cloudcrowd.dev/cloudcrowd"

// The answers every implementation gives in the same words.

// CheckDigest answers code Invalid to what is no digest, so that it never becomes part of a path.
func CheckDigest(d cloudcrowd.Digest) error {
	if !d.Valid() {
		return cloudcrowd.Fieldf("digest", "%.80q is not a digest; it is 64 lower-case hexadecimal characters", string(d))
	}
	return nil
}

// NotFound is the answer for a blob that is not there.
func NotFound(d cloudcrowd.Digest) error {
	return cloudcrowd.Errorf(cloudcrowd.NotFound, "there is no blob %s", d)
}

// Mismatch is the answer to bytes that do not have the digest they came with.
func Mismatch(want, have cloudcrowd.Digest) error {
	return cloudcrowd.Errorf(cloudcrowd.DigestMismatch, "the bytes have the digest %s, not %s", have, want).
		WithHint("send the file again; it changed or was damaged on the way")
}

// CheckSize compares the number of bytes that came with the announced one, if any.
func CheckSize(announced, came int64) error {
	switch {
	case announced < 0 || announced == came:
		return nil
	case came > announced:
		return cloudcrowd.Errorf(cloudcrowd.TooLarge, "more bytes came than the %d announced", announced)
	}
	return cloudcrowd.Errorf(cloudcrowd.DigestMismatch, "only %d of the %d bytes announced came", came, announced).
		WithHint("send the file again; the transfer was cut short")
}

// Span checks a reader's range against the blob's size and returns its end.
func Span(size, off, length int64) (end int64, err error) {
	if off < 0 || off > size || length > size-off {
		return 0, cloudcrowd.Errorf(cloudcrowd.Invalid, "the range of %d bytes from %d lies outside the blob's %d bytes", length, off, size)
	}
	if length < 0 {
		return size, nil
	}
	return off + length, nil
}
