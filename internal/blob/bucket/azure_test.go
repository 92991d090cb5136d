package bucket

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/blob/blobtest"
)

// An address of Azure is opened with the account's key, which signs addresses that bear no part of it; what the service answers is explained.
func TestAzure(t *testing.T) {
	t.Parallel()
	answer := http.StatusOK
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "SharedKey testaccount:") {
			t.Error("the request is not signed")
		}
		w.Header().Set("Content-Type", "application/xml")
		switch {
		case answer == http.StatusForbidden:
			w.Header().Set("x-ms-error-code", "AuthenticationFailed")
		case answer == http.StatusNotFound:
			w.Header().Set("x-ms-error-code", "ContainerNotFound")
		}
		w.WriteHeader(answer)
		if answer == http.StatusOK {
			_, _ = w.Write([]byte(`<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="box"><Blobs/><NextMarker/></EnumerationResults>`))
		}
	}))
	t.Cleanup(service.Close)
	u, err := url.Parse(service.URL)
	if err != nil {
		t.Fatal(err)
	}
	address := "azblob://box?protocol=http&domain=" + u.Host
	s, err := Open(t.Context(), address, Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := blobtest.Bytes(100, 1)
	direct, err := s.Sign(t.Context(), blob.DigestOf(b), 0, -1, time.Minute)
	if err != nil || !strings.Contains(direct.URL, "/testaccount/box/blobs%2F"+string(blob.DigestOf(b))) && !strings.Contains(direct.URL, "/box/blobs/"+string(blob.DigestOf(b))) || !strings.Contains(direct.URL, "sig=") {
		t.Errorf("%q, %v", direct.URL, err)
	}
	for status, says := range map[int]string{http.StatusForbidden: "denied", http.StatusNotFound: "no bucket"} {
		answer = status
		_, err := Open(t.Context(), address, Options{})
		wantUnavailable(t, err)
		if err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%v does not say %q", err, says)
		}
	}
}
