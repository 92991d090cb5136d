//go:build !nogcs

package bucket

import (
	"context"
	"os"

	_ "gocloud.dev/blob/gcsblob" // gs://
	"gocloud.dev/gcp"

	"cloudcrowd.dev/cloudcrowd"
)

// checkGoogle looks for credentials first, because the driver says on standard output that it found none, and goes on.
func checkGoogle(ctx context.Context, a address) error {
	if os.Getenv("STORAGE_EMULATOR_HOST") != "" || a.query.Get("anonymous") != "" {
		return nil
	}
	if _, err := gcp.DefaultCredentials(ctx); err != nil {
		return &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "no credentials for Google Cloud Storage were found", Err: err,
			Hint: "set GOOGLE_APPLICATION_CREDENTIALS, run `gcloud auth application-default login`, or give the machine a service account"}
	}
	return nil
}
