package bucket

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	gcaws "gocloud.dev/aws"
	gcblob "gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // azblob://
	"gocloud.dev/blob/memblob"
	"gocloud.dev/blob/s3blob"

	"cloudcrowd.dev/cloudcrowd"
)

// address is where a bucket is:
//
//	s3://BUCKET?region=…&endpoint=…&prefix=…      any S3-compatible service; with an endpoint the bucket is part of the path, unless use_path_style=false
//	gs://BUCKET?prefix=…                          Google Cloud Storage
//	azblob://CONTAINER?storage_account=…&prefix=… Azure Blob Storage
//	mem://                                        memory of this process, for tests
//
// Further parameters are those of gocloud.dev. Credentials never stand in it: they are found as the service's own tools find them.
type address struct {
	url    *url.URL
	query  url.Values // without what this package understands itself
	prefix string
}

const defaultPrefix = "blobs/"

// secretWords are parts of parameters that would carry a secret.
var secretWords = []string{"secret", "password", "token", "access_key", "accesskey", "account_key", "sig"}

func parse(text string) (address, error) {
	bad := func(hint, format string, args ...any) (address, error) {
		return address{}, cloudcrowd.Fieldf("blobs", format, args...).WithHint("%s", hint)
	}
	u, err := url.Parse(text)
	if err != nil {
		return bad(examples, "the address of the bucket cannot be read") // it is not repeated: it may hold a secret
	}
	if u.User != nil {
		return bad(credentials, "the address of a bucket holds no user or password")
	}
	a := address{url: u, query: u.Query(), prefix: defaultPrefix}
	switch {
	case u.Scheme != "s3" && u.Scheme != "gs" && u.Scheme != "azblob" && u.Scheme != "mem":
		return bad(examples, "%.20q is no kind of bucket", u.Scheme)
	case u.Host == "" && u.Scheme != "mem":
		return bad(examples, "the address names no bucket")
	case u.Path != "" && u.Path != "/" || u.Fragment != "":
		return bad("to keep blobs below a prefix add prefix=NAME/", "the address holds more than a bucket's name: %.80q", u.Path)
	}
	for name := range a.query {
		for _, word := range secretWords {
			if strings.Contains(strings.ToLower(name), word) {
				return bad(credentials, "the parameter %.40q does not belong in an address", name)
			}
		}
	}
	if a.query.Has("prefix") {
		a.prefix = a.query.Get("prefix")
		a.query.Del("prefix")
		if a.prefix != "" && !strings.HasSuffix(a.prefix, "/") {
			a.prefix += "/"
		}
	}
	return a, nil
}

const (
	examples    = "addresses are like s3://BUCKET?region=REGION, s3://BUCKET?endpoint=https://HOST, gs://BUCKET or azblob://CONTAINER?storage_account=NAME"
	credentials = "credentials are found as the service's own tools find them: environment, profile or the machine's role"
)

// name is the address without its parameters.
func (a address) name() string { return a.url.Scheme + "://" + a.url.Host + "/" + a.prefix }

func (a address) open(ctx context.Context, o Options) (*gcblob.Bucket, error) {
	switch a.url.Scheme {
	case "mem":
		return memblob.OpenBucket(nil), nil
	case "s3":
		return a.openS3(ctx, o)
	case "gs":
		if err := checkGoogle(ctx, a); err != nil {
			return nil, err
		}
	}
	u := *a.url
	u.RawQuery = a.query.Encode()
	b, err := gcblob.OpenBucket(ctx, u.String())
	if err != nil {
		return nil, cloudcrowd.Fieldf("blobs", "the bucket %s cannot be opened: %v", a.name(), clean(err)).WithHint("%s", examples)
	}
	return b, nil
}

// openS3 is what gocloud.dev's own opener does, with connections that notice when nothing moves any more, path style where an endpoint is given, and
// a region that endpoints of others do not care about.
func (a address) openS3(ctx context.Context, o Options) (*gcblob.Bucket, error) {
	q := a.query
	ours := q.Get("endpoint") == ""
	flag := func(name string, otherwise bool) (bool, error) {
		text := q.Get(name)
		q.Del(name)
		if text == "" {
			return otherwise, nil
		}
		b, err := strconv.ParseBool(text)
		if err != nil {
			return false, cloudcrowd.Fieldf("blobs", "the parameter %s must be true or false, not %.20q", name, text)
		}
		return b, nil
	}
	pathStyle, err1 := flag("use_path_style", !ours)
	plainHTTP, err2 := flag("disable_https", false)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	cfg, err := gcaws.V2ConfigFromURLParams(ctx, q)
	if err != nil {
		return nil, cloudcrowd.Fieldf("blobs", "the bucket %s cannot be opened: %v", a.name(), err).WithHint("%s", examples)
	}
	if cfg.Region == "" {
		if ours {
			return nil, cloudcrowd.Fieldf("blobs", "the region of the bucket %s is not known", a.name()).WithHint("add ?region=REGION to the address, or set AWS_REGION")
		}
		cfg.Region = "us-east-1"
	}
	if o.Transport != nil {
		cfg.HTTPClient = &http.Client{Transport: o.Transport}
	} else if c, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		cfg.HTTPClient = c.WithTransportOptions(func(t *http.Transport) {
			t.DialContext = stallingDialer(t.DialContext)
			t.MaxIdleConnsPerHost = 64
		})
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = pathStyle
		o.EndpointOptions.DisableHTTPS = plainHTTP
		o.DisableLogOutputChecksumValidationSkipped = true
	})
	return s3blob.OpenBucket(ctx, client, a.url.Host, &s3blob.Options{RequestChecksumCalculation: cfg.RequestChecksumCalculation})
}

// Place is the part of an address that says which blobs are meant, in one form whatever the order of its parameters: two addresses with the same place are
// the same store. It holds no secret. Errors are those of Open for a wrong address.
func Place(address string) (string, error) {
	a, err := parse(address)
	if err != nil {
		return "", err
	}
	q := url.Values{}
	for _, name := range []string{"endpoint", "storage_account", "domain", "localemu"} { // others say how to get there
		if v := strings.TrimSuffix(a.query.Get(name), "/"); v != "" {
			q.Set(name, v)
		}
	}
	if account := os.Getenv("AZURE_STORAGE_ACCOUNT"); a.url.Scheme == "azblob" && !q.Has("storage_account") && account != "" {
		q.Set("storage_account", account)
	}
	place := a.name()
	if len(q) > 0 {
		place += "?" + q.Encode()
	}
	return place, nil
}
