//go:build nogcs

package bucket

import (
	"context"

	"cloudcrowd.dev/cloudcrowd"
)

// checkGoogle says that this program was built without the driver, which is most of the size of all of them.
func checkGoogle(context.Context, address) error {
	return cloudcrowd.Fieldf("blobs", "this program was built without Google Cloud Storage").WithHint("build it without the tag nogcs")
}
