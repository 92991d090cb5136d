// Package api serves the HTTP API: REST resources, blobs and the live event feed, described by openapi.json.
package api
