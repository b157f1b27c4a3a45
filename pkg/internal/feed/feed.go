// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// MaxLag is how long a feed may stay silent. The API server sends a bookmark a
// minute, see the cacher in k8s.io/apiserver; three missed ones are a fault.
const MaxLag = 3 * time.Minute

// checkPeriod is how often Run looks for silence.
const checkPeriod = 10 * time.Second

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

// RevisionSink is a Sink that puts revisions in order. What carries a revision
// that it cannot read is not handed to it: the feed reads everything anew.
type RevisionSink interface {
	CheckRevision(resourceVersion string) error
}

// Feed fills a sink and keeps it current.
type Feed struct {
	name         string
	clock        clock.WithTicker
	newReflector func() *cache.Reflector
	// optional is set if the source is one of OptionalSource.
	optional *optional
	// contact is when the stream last proved itself, nil before the sink is filled.
	contact atomic.Pointer[time.Time]
	// faulty is set from a fault until the reflector that had it has ended, failed
	// wakes Run for it.
	faulty atomic.Bool
	failed chan struct{}
}

// New returns a feed of what source gives, see Source and OptionalSource.
func New[T Object](name string, source cache.ListerWatcher, sink Sink[T], clock clock.WithTicker) *Feed {
	f := &Feed{name: name, clock: clock, failed: make(chan struct{}, 1)}
	f.optional, _ = source.(*optional)
	var example T
	f.newReflector = func() *cache.Reflector {
		return cache.NewReflectorWithOptions(source, example, &store[T]{feed: f, sink: sink}, cache.ReflectorOptions{Name: name})
	}
	return f
}

// Source returns what a feed reads: the methods of a typed client. The first list
// is a consistent read, where a reflector would take any content: what
// a cache of the API server holds may be older than what an earlier life of this
// process has seen.
func Source[L runtime.Object](
	client any,
	list func(context.Context, metav1.ListOptions) (L, error),
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error),
) cache.ListerWatcher {
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			if options.ResourceVersion == "0" {
				options.ResourceVersion = ""
			}
			return list(ctx, options)
		},
		WatchFuncWithContext: watch,
	}, client)
}

// Name returns the name of the feed, which is that of its resource.
func (f *Feed) Name() string { return f.name }

// Optional reports whether the resource may be absent.
func (f *Feed) Optional() bool { return f.optional != nil }

// Run feeds the sink until the context is done.
func (f *Feed) Run(ctx context.Context) {
	for ctx.Err() == nil {
		f.runReflector(ctx)
	}
}

// runReflector runs one reflector until the context is done, or until the feed
// has to be read anew. A reflector gives up a watch that breaks, not one that is
// silent: an API server whose etcd was restored accepts a watch at a revision that
// it has not reached and sends nothing until it does.
func (f *Feed) runReflector(ctx context.Context) {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() { f.newReflector().RunWithContext(reading) })
	if f.awaitFault(ctx) {
		klog.FromContext(ctx).Info("Reading everything anew", "feed", f.name, "reason", f.Check())
		f.faulty.Store(true)
		f.contact.Store(nil)
	}
	cancel()
	running.Wait()
	if ctx.Err() == nil {
		f.contact.Store(nil)
		f.faulty.Store(false)
	}
}

// awaitFault returns true when the feed has to be read anew, and false when the
// context is done.
func (f *Feed) awaitFault(ctx context.Context) bool {
	ticker := f.clock.NewTicker(checkPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C():
		case <-f.failed:
		}
		if lag, filled := f.Lag(); f.faulty.Load() || filled && lag > MaxLag {
			return true
		}
	}
}

// Lag returns how long the feed has been silent; false before it has filled the sink.
func (f *Feed) Lag() (time.Duration, bool) {
	contact := f.contact.Load()
	if contact == nil {
		return 0, false
	}
	return f.clock.Since(*contact), true
}

// Check returns nil if the sink is filled and fresh, and otherwise an error that
// says which it is not.
func (f *Feed) Check() error {
	switch lag, filled := f.Lag(); {
	case !filled:
		return fmt.Errorf("%s: not read yet", f.name)
	case lag > MaxLag:
		return fmt.Errorf("%s: no sign of life from the API server for %s", f.name, lag.Round(time.Second))
	case f.optional != nil && f.optional.unreadable.Load():
		// No more: users are told of it.
		return fmt.Errorf("%s: it is defined, and cannot be read", f.name)
	default:
		return nil
	}
}

// touch notes a sign of life. After a fault there is none until everything has
// been read anew: what comes meanwhile does not make up for what was missed.
func (f *Feed) touch() {
	if f.faulty.Load() {
		return
	}
	now := f.clock.Now()
	f.contact.Store(&now)
}

// fail makes the feed stale at once and asks Run to read everything anew.
func (f *Feed) fail() {
	f.faulty.Store(true)
	f.contact.Store(nil)
	select {
	case f.failed <- struct{}{}:
	default:
	}
}
