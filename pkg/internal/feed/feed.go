// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// MaxLag is how long a feed may stay silent. The API server sends a bookmark a
// minute, see the cacher in k8s.io/apiserver; three missed ones are a fault.
const MaxLag = 3 * time.Minute

// Object is what can be fed.
type Object interface {
	runtime.Object
	metav1.Object
}

// Sink takes the objects of one resource in the order of their revisions. Its
// methods are called by one goroutine; the objects are the sink's.
type Sink[T Object] interface {
	// Replace takes all objects that exist at resourceVersion.
	Replace(objects []T, resourceVersion string)
	// Upsert takes an object that was created or updated.
	Upsert(object T)
	// Delete takes an object that was deleted, with the revision of its deletion.
	Delete(object T)
	// Bookmark says that the sink holds all that happened up to resourceVersion.
	Bookmark(resourceVersion string)
}

// Feed fills a sink and keeps it current.
type Feed struct {
	name      string
	clock     clock.PassiveClock
	reflector *cache.Reflector
	// contact is when the stream last proved itself, in Unix nanoseconds; 0 before
	// the sink is filled.
	contact atomic.Int64
}

// New returns a feed of the objects that list and watch give. The first list
// is a consistent read: what a cache of the API server holds may be older than
// what an earlier life of this process has seen.
func New[T Object](name string, list func(context.Context, metav1.ListOptions) (runtime.Object, error), watch func(context.Context, metav1.ListOptions) (watch.Interface, error), sink Sink[T], clock clock.PassiveClock) *Feed {
	f := &Feed{name: name, clock: clock}
	var example T
	f.reflector = cache.NewReflectorWithOptions(
		&cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
				if options.ResourceVersion == "0" {
					options.ResourceVersion = ""
				}
				return list(ctx, options)
			},
			WatchFuncWithContext: watch,
		},
		example,
		&store[T]{feed: f, sink: sink},
		cache.ReflectorOptions{Name: name},
	)
	return f
}

// Name returns the name of the feed, which is that of its resource.
func (f *Feed) Name() string { return f.name }

// Run feeds the sink until the context is done.
func (f *Feed) Run(ctx context.Context) { f.reflector.RunWithContext(ctx) }

// Lag returns how long the feed has been silent; false before it has filled the sink.
func (f *Feed) Lag() (time.Duration, bool) {
	contact := f.contact.Load()
	if contact == 0 {
		return 0, false
	}
	return f.clock.Since(time.Unix(0, contact)), true
}

// Check returns nil if the sink is filled and fresh, and otherwise an error that
// says which it is not.
func (f *Feed) Check() error {
	switch lag, filled := f.Lag(); {
	case !filled:
		return fmt.Errorf("%s: not read yet", f.name)
	case lag > MaxLag:
		return fmt.Errorf("%s: no sign of life from the API server for %s", f.name, lag.Round(time.Second))
	default:
		return nil
	}
}

func (f *Feed) touch() { f.contact.Store(f.clock.Now().UnixNano()) }

// Lister adapts the List method of a typed client to New.
func Lister[L runtime.Object](list func(context.Context, metav1.ListOptions) (L, error)) func(context.Context, metav1.ListOptions) (runtime.Object, error) {
	return func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return list(ctx, options)
	}
}
