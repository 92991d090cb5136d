package bucket

import (
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// Two addresses have the same place if they mean the same blobs, however they get there.
func TestPlace(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"s3://b?region=eu-west-1":    "s3://b/blobs/",
		"s3://b?prefix=x":            "s3://b/x/",
		"s3://b?prefix=x/&region=eu": "s3://b/x/",
		"s3://b?region=r&endpoint=https://h:9/&use_path_style=true": "s3://b/blobs/?endpoint=https%3A%2F%2Fh%3A9",
		"s3://b?endpoint=https://h:9":                               "s3://b/blobs/?endpoint=https%3A%2F%2Fh%3A9",
		"gs://b":                                                    "gs://b/blobs/",
		"azblob://c?storage_account=a&protocol=https":               "azblob://c/blobs/?storage_account=a",
		"azblob://c?storage_account=other":                          "azblob://c/blobs/?storage_account=other",
	} {
		if got, err := Place(address); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", address, got, err, want)
		}
	}
	if _, err := Place("s3://key:secret@b"); cloudcrowd.CodeOf(err) != cloudcrowd.Invalid {
		t.Error(err)
	}
}
