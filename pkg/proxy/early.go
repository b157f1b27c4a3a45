// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"io"
	"net/http"
)

// An API server may answer before it has read a request: a refusal, mostly. Clients of
// HTTP/2 that see one send no more, and wait for the end of the answer. The answer of
// ReverseProxy ends after it has closed the API server's, and that waits, by HTTP/2, for
// what reads the request. So that they do not wait for each other, the request's body is
// closed first.

type requestBodyKey struct{}

// withRequestBody has the body of a request be closed with its answer's, and be read until
// then: the server of HTTP/1 would end it where the answer begins.
func withRequestBody(w http.ResponseWriter, req *http.Request) *http.Request {
	// It fails for HTTP/2, which knows nothing else.
	_ = http.NewResponseController(w).EnableFullDuplex()
	// Closing one of HTTP/1 waits for who reads it. There a request has a known end, or
	// the connection ends with it.
	if req.ProtoMajor < 2 || req.ContentLength == 0 {
		return req
	}
	return req.WithContext(context.WithValue(req.Context(), requestBodyKey{}, req.Body))
}

// withoutRequestBody returns a context for what the proxy asks by itself while it serves a
// request: with the answer to that, the request is not over.
func withoutRequestBody(ctx context.Context) context.Context {
	return context.WithValue(ctx, requestBodyKey{}, nil)
}

// closeTogether has the body of the request that came in be closed before the answer's.
func closeTogether(ctx context.Context, resp *http.Response) {
	if body, ok := ctx.Value(requestBodyKey{}).(io.Closer); ok {
		resp.Body = answerBody{resp.Body, body}
	}
}

// answerBody is the body of an answer, with which the request is over.
type answerBody struct {
	io.ReadCloser
	request io.Closer
}

// Close implements io.Closer.
func (b answerBody) Close() error {
	// It only says that nobody reads any more.
	_ = b.request.Close()
	return b.ReadCloser.Close()
}
