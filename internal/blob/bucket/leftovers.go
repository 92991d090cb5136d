package bucket

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// leftoverAge is the age from which an upload in parts that was not completed is taken for one whose server died. The others may be under way, on this
// server or another.
const leftoverAge = 24 * time.Hour

// abortLeftovers ends uploads in parts that nobody will complete: S3 keeps, and bills, their parts until then. Google Cloud Storage and Azure drop
// theirs after a week by themselves. Where the service does not allow it, a lifecycle rule of the bucket does the same, so errors do not matter.
func (s *Store) abortLeftovers(ctx context.Context) {
	var client *s3.Client
	if !s.bucket.As(&client) {
		return
	}
	name := s.host
	in := &s3.ListMultipartUploadsInput{Bucket: &name, Prefix: &s.prefix}
	for {
		page, err := client.ListMultipartUploads(ctx, in)
		if err != nil {
			return
		}
		for _, u := range page.Uploads {
			if u.Initiated != nil && s.options.Now().Sub(*u.Initiated) > leftoverAge {
				_, _ = client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &name, Key: u.Key, UploadId: u.UploadId})
			}
		}
		if !aws.ToBool(page.IsTruncated) || page.NextKeyMarker == nil {
			return
		}
		in.KeyMarker, in.UploadIdMarker = page.NextKeyMarker, page.NextUploadIdMarker
	}
}
