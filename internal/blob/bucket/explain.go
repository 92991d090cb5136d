package bucket

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/aws/smithy-go"
	"gocloud.dev/gcerrors"
	"google.golang.org/api/googleapi"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
)

// answer is what a service said: the status and its own word for the error, as far as it is known.
func answer(err error) (status int, word string) {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		word = e.ErrorCode()
	}
	if e, ok := errors.AsType[statusError](err); ok {
		status = e.HTTPStatusCode()
	}
	if e, ok := errors.AsType[*googleapi.Error](err); ok {
		status = e.Code
		if len(e.Errors) > 0 {
			word = e.Errors[0].Reason
		}
	}
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
		status, word = e.StatusCode, e.ErrorCode
	}
	return status, word
}

// statusError is what errors of the S3 client are that came with an answer.
type statusError interface {
	error
	HTTPStatusCode() int
}

// noBucket are the services' words for a bucket that is not there.
var noBucket = map[string]bool{"NoSuchBucket": true, "ContainerNotFound": true, "ContainerBeingDeleted": true}

// explain turns an error of the service into one of the contract. d is the blob that was asked for, "" if the question was about the bucket. What goes
// wrong between server and bucket is no fault of who asked the server: it may pass, so its code is Unavailable.
func (s *Store) explain(ctx context.Context, d cloudcrowd.Digest, err error) error {
	if _, explained := errors.AsType[*cloudcrowd.Error](err); explained {
		return err
	}
	if _, damaged := errors.AsType[*blob.CorruptError](err); damaged {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e := &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Err: clean(err)}
	status, word := answer(err)
	code := gcerrors.Code(err)
	_, offline := errors.AsType[net.Error](err)
	switch {
	case noBucket[word] || code == gcerrors.NotFound && d == "" && status != http.StatusForbidden:
		e.Msg, e.Hint = "there is no bucket "+s.name, "make the bucket, or correct --blobs (name, region, endpoint)"
	case status == http.StatusUnauthorized || status == http.StatusForbidden || code == gcerrors.PermissionDenied:
		e.Msg, e.Hint = "access to the bucket "+s.name+" was denied", "check the credentials this server finds (environment, profile or the machine's role): they must list, read, write and delete below the prefix"
	case code == gcerrors.NotFound:
		return blob.NotFound(d)
	case status == http.StatusMovedPermanently || status == http.StatusTemporaryRedirect || word == "AuthorizationHeaderMalformed":
		e.Msg, e.Hint = "the bucket "+s.name+" is in another region", "correct the region in --blobs"
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable || code == gcerrors.ResourceExhausted:
		e.Msg, e.Hint = "the bucket "+s.name+" takes no more requests now", "it passes by itself; if it stays, raise the service's limits"
	case status >= 500:
		e.Msg, e.Hint = "the service of the bucket "+s.name+" failed", "see the service's own status; the server goes on by itself"
	case strings.Contains(err.Error(), "get credentials") || strings.Contains(err.Error(), "acquire a token"):
		e.Msg, e.Hint = "no credentials for the bucket "+s.name+" were found", credentials
	case offline || status == 0:
		e.Msg, e.Hint = "the bucket "+s.name+" cannot be reached", "check the network and the endpoint; the server goes on by itself"
	default:
		e.Msg, e.Hint = "the bucket "+s.name+" refused a request", "see the server's log for the service's answer"
	}
	return e
}

// clean takes the address out of an error, which may carry a signature, and what the libraries say about themselves. Nothing else of it is lost.
func clean(err error) error {
	said := err
	if many, ok := said.(interface{ Unwrap() []error }); ok && len(many.Unwrap()) > 0 {
		said = many.Unwrap()[0]
	}
	if e, ok := errors.AsType[*url.Error](said); ok {
		said = e.Err
	}
	return cause{err, strings.Join(strings.Fields(said.Error()), " ")}
}

// cause is an error in other words, in one line.
type cause struct {
	error
	text string
}

func (c cause) Error() string { return c.text }

func (c cause) Unwrap() error { return c.error }
