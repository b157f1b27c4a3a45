// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package rewrite

import (
	"bytes"
	"io"
	"sync"
)

// Events reads the rewritten events of a watch: as much of an event as there is room for,
// and never the beginning of the next one. It ends with io.EOF where the watch does, and
// with an error in place of an event that cannot be rewritten. While there is no event it
// holds next to nothing, for most watches are waiting.
type Events struct {
	// await waits until there is an event, and next appends it to a buffer.
	await func() error
	next  func(*bytes.Buffer) error
	// event is what is left of one, or nil.
	event *bytes.Buffer
	err   error
}

// Read implements io.Reader.
func (e *Events) Read(p []byte) (int, error) {
	for e.event == nil {
		if e.err == nil {
			e.err = e.await()
		}
		if e.err != nil {
			return 0, e.err
		}
		e.read()
	}
	n, err := e.event.Read(p)
	if e.event.Len() == 0 {
		if e.event.Cap() <= maxKept {
			e.event.Reset()
			eventBuffers.Put(e.event)
		}
		e.event = nil
	}
	return n, err
}

// read reads an event.
func (e *Events) read() {
	event := eventBuffers.Get().(*bytes.Buffer) //nolint:forcetypeassert // New and Put have no other
	if e.err = e.next(event); e.err == nil {
		e.event = event
	}
}

// maxKept is the size up to which a buffer is used for other answers and events.
const maxKept = 64 << 10

var eventBuffers = sync.Pool{New: func() any { return &bytes.Buffer{} }}

var _ io.Reader = &Events{}
