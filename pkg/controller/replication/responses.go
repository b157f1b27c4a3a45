// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"errors"
	"io"
	"net/http"
)

// maxResponse is how large an answer of the API server may be. Decoded, it takes up to
// twenty times the memory. Objects are hardly ever larger.
const maxResponse = 4 << 20

var errLargeResponse = errors.New("the answer of the API server is too large")

// limitedTransport has the bodies of responses end with errLargeResponse where they
// are too large.
type limitedTransport struct {
	http.RoundTripper

	limit int
}

func (t limitedTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.RoundTripper.RoundTrip(request)
	if err == nil && response.Body != nil {
		response.Body = &limitedBody{ReadCloser: response.Body, left: t.limit}
	}
	return response, err
}

type limitedBody struct {
	io.ReadCloser

	left int
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errLargeResponse
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	if b.left -= n; b.left < 0 {
		return 0, errLargeResponse
	}
	return n, err
}
