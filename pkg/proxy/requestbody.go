// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// requestBody is the body of a request on its way to the API server. That may answer before
// it has read all of it: with a refusal, mostly. Clients that see one may send no more, and
// wait for the end of the answer. The answer of ReverseProxy ends after it has closed the API
// server's, and that waits, by HTTP/2, for what reads the request. So that they do not wait
// for each other, who reads the request is stopped first.
type requestBody struct {
	io.ReadCloser
	// stop has who reads, or is about to, stop.
	stop func()
	// ended says that all of it was read.
	ended atomic.Bool
	// broken is the error by which reading ended, or nil.
	broken atomic.Pointer[error]
}

// lingering is how long a client may send what nobody reads, after its answer. A connection
// that is closed while something comes is reset, and the answer may be lost with it. It is that
// of net/http.
const lingering = 500 * time.Millisecond

type requestBodyKey struct{}

// withRequestBody has the reading of a request's body end with the answer, and not where that
// begins, as the server of HTTP/1 would have it. What it returns takes the place of both.
func withRequestBody(w http.ResponseWriter, req *http.Request) (http.ResponseWriter, *http.Request) {
	if req.Body == nil || req.Body == http.NoBody || req.ContentLength == 0 {
		return w, req
	}
	b := &requestBody{ReadCloser: req.Body}
	req = req.WithContext(context.WithValue(req.Context(), requestBodyKey{}, b))
	req.Body = b
	if req.ProtoMajor >= 2 {
		// It only says that nobody reads any more.
		b.stop = func() { _ = b.ReadCloser.Close() }
		return w, req
	}
	stream := http.NewResponseController(w)
	// Both fail for what is none of a server's, which has no connection to keep.
	_ = stream.EnableFullDuplex()
	began := false
	b.stop = func() {
		if began {
			_ = stream.Flush()
		}
		_ = stream.SetReadDeadline(time.Now().Add(lingering))
	}
	return onStatus(w, func(code int) {
		began = began || code >= http.StatusOK
		// What was not read of it is no request. The server, which knows that otherwise,
		// leaves it to who reads while the answer is on its way.
		if code >= http.StatusOK && !b.ended.Load() {
			w.Header().Set("Connection", "close")
		}
	}), req
}

// withoutRequestBody returns a context for what the proxy asks by itself while it serves a
// request: with the answer to that, the request is not over.
func withoutRequestBody(ctx context.Context) context.Context {
	return context.WithValue(ctx, requestBodyKey{}, nil)
}

// requestBodyOf returns the body of a request with a context, or nil.
func requestBodyOf(ctx context.Context) *requestBody {
	b, _ := ctx.Value(requestBodyKey{}).(*requestBody)
	return b
}

// Read implements io.Reader.
func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case errors.Is(err, io.EOF):
		b.ended.Store(true)
	case err != nil:
		b.broken.CompareAndSwap(nil, &err)
	}
	return n, err
}

// err returns the error by which reading ended, or nil.
func (b *requestBody) err() error {
	if b == nil {
		return nil
	}
	if err := b.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// endTogether has the reading of the request that came in end before the answer's, unless both
// become a stream of another protocol.
func endTogether(ctx context.Context, resp *http.Response) {
	if b := requestBodyOf(ctx); b != nil && resp.StatusCode != http.StatusSwitchingProtocols {
		resp.Body = answerBody{resp.Body, b}
	}
}

// answerBody is the body of an answer, with which the request is over.
type answerBody struct {
	io.ReadCloser
	request *requestBody
}

// Close implements io.Closer.
func (b answerBody) Close() error {
	if !b.request.ended.Load() {
		b.request.stop()
	}
	return b.ReadCloser.Close()
}
