// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net/http"
	"net/http/httputil"
	"sync"
)

// forwarder is an http.Handler that sends requests on. It flushes what it is answered as it
// comes, if its length is not known.
type forwarder struct{ answers, streams httputil.ReverseProxy }

// newForwarder returns one that does what p says.
func newForwarder(p httputil.ReverseProxy) *forwarder {
	p.ErrorLog = errorLog
	f := &forwarder{p, p}
	f.answers.BufferPool = newBuffers(pieces)
	f.streams.BufferPool = newBuffers(streamPieces)
	return f
}

// ServeHTTP implements http.Handler.
func (f *forwarder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w, req = withRequestBody(w, req)
	if isStream(req, requestInfoOf(req)) {
		f.streams.ServeHTTP(w, req)
		return
	}
	f.answers.ServeHTTP(w, req)
}

// buffers is an httputil.BufferPool.
type buffers struct{ pool sync.Pool }

// newBuffers returns one of buffers of a size.
func newBuffers(size int) *buffers {
	return &buffers{sync.Pool{New: func() any { return new(make([]byte, size)) }}}
}

// Get implements httputil.BufferPool.
func (b *buffers) Get() []byte { return *b.pool.Get().(*[]byte) } //nolint:forcetypeassert // New and Put have no other

// Put implements httputil.BufferPool.
func (b *buffers) Put(buffer []byte) { b.pool.Put(&buffer) }
