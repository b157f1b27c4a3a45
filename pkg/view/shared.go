// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"weak"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// sharing lets the watches that are told of one object encode it once. It does
// not keep the encodings: they are there while one of the watches is at them.
type sharing[P Object] struct {
	// watches is how many the entry was offered to so far.
	watches atomic.Int32
	lock    sync.Mutex
	current weak.Pointer[sharedObject[P]] // lock protects it
}

// objectFor returns the object as one of the watches is to be told of it.
func (s *sharing[P]) objectFor(object P, shallowCopy func(P) P) runtime.Object {
	if s == nil || s.watches.Load() < 2 {
		return shallowCopy(object)
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	shared := s.current.Value()
	if shared == nil {
		shared = &sharedObject[P]{Object: object, object: object, shallowCopy: shallowCopy, encodings: map[runtime.Identifier]*encodedOnce{}}
		s.current = weak.Make(shared)
	}
	return shared
}

// sharedObject is an object of which each encoding is made once, as by the caching
// object of k8s.io/apiserver/pkg/storage/cacher. It may be used concurrently, but
// not changed: the setters of metadata are the object's own.
type sharedObject[P Object] struct {
	metav1.Object
	object      P
	shallowCopy func(P) P
	lock        sync.Mutex
	encodings   map[runtime.Identifier]*encodedOnce // lock protects it
}

var _ runtime.CacheableObject = &sharedObject[Object]{}

var errNotEncoded = errors.New("the object was not encoded")

type encodedOnce struct {
	once sync.Once
	data []byte
	err  error
}

// CacheEncode writes what encode makes of the object, which is asked once for an
// identifier.
func (s *sharedObject[P]) CacheEncode(id runtime.Identifier, encode func(runtime.Object, io.Writer) error, w io.Writer) error {
	e := s.encoding(id)
	e.once.Do(func() {
		e.err = errNotEncoded // to the others, if this panics
		var buffer bytes.Buffer
		e.err = encode(s.GetObject(), &buffer)
		e.data = buffer.Bytes()
	})
	if e.err != nil {
		return e.err
	}
	if splice, ok := w.(runtime.Splice); ok {
		splice.Splice(e.data)
		return nil
	}
	_, err := w.Write(e.data)
	return err
}

func (s *sharedObject[P]) encoding(id runtime.Identifier) *encodedOnce {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.encodings[id] == nil {
		s.encodings[id] = &encodedOnce{}
	}
	return s.encodings[id]
}

// GetObject returns a copy of the object's root, which the caller may change.
func (s *sharedObject[P]) GetObject() runtime.Object { return s.shallowCopy(s.object) }

// GetObjectKind returns the kind of the object, which is not to be changed.
func (s *sharedObject[P]) GetObjectKind() schema.ObjectKind { return s.object.GetObjectKind() }

// DeepCopyObject returns a copy of the object alone.
func (s *sharedObject[P]) DeepCopyObject() runtime.Object { return s.object.DeepCopyObject() }
