// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
)

// store is the reflector's view of a sink. managedFields go before anything is
// kept: they are two fifths of an object's JSON and no part of a view.
type store[T Object] struct {
	feed *Feed
	sink Sink[T]
}

var (
	_ cache.ReflectorStore         = &store[Object]{}
	_ cache.ReflectorBookmarkStore = &store[Object]{}
	_ cache.TransformingStore      = &store[Object]{}
)

func (s *store[T]) Add(obj any) error    { return s.take(obj, s.sink.Upsert) }
func (s *store[T]) Update(obj any) error { return s.take(obj, s.sink.Upsert) }
func (s *store[T]) Delete(obj any) error { return s.take(obj, s.sink.Delete) }

// take hands an object to the sink. The reflector reports an error and goes on; a
// sink that missed something has to be filled anew.
func (s *store[T]) take(obj any, sink func(T)) error {
	object, err := strip[T](obj)
	if err == nil {
		err = s.checkRevision(object.GetResourceVersion())
	}
	if err != nil {
		s.feed.fail()
		return err
	}
	sink(object)
	s.feed.touch()
	return nil
}

// Replace returns an error for what it cannot hand to the sink; the reflector then
// lists again.
func (s *store[T]) Replace(list []any, resourceVersion string) error {
	if err := s.checkRevision(resourceVersion); err != nil {
		return err
	}
	objects := make([]T, 0, len(list))
	for _, obj := range list {
		object, err := strip[T](obj)
		if err != nil {
			return err
		}
		objects = append(objects, object)
	}
	s.sink.Replace(objects, resourceVersion)
	s.feed.touch()
	return nil
}

func (s *store[T]) Bookmark(resourceVersion string) error {
	if err := s.checkRevision(resourceVersion); err != nil {
		s.feed.fail()
		return err
	}
	s.sink.Bookmark(resourceVersion)
	s.feed.touch()
	return nil
}

func (s *store[T]) checkRevision(resourceVersion string) error {
	if sink, ok := s.sink.(RevisionSink); ok {
		return sink.CheckRevision(resourceVersion)
	}
	return nil
}

// Resync has nothing to do: the feed has no resync period.
func (s *store[T]) Resync() error { return nil }

// Transformer is applied by the reflector to what it collects for Replace.
func (s *store[T]) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) { return strip[T](obj) }
}

func strip[T Object](obj any) (T, error) {
	object, ok := obj.(T)
	if !ok {
		return object, fmt.Errorf("unexpected object of type %T", obj)
	}
	object.SetManagedFields(nil)
	// Items of native lists carry no kind either.
	object.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return object, nil
}
