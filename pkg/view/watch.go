// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"context"
	"errors"
	"iter"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"

	"tenancy.capsule.io/pkg/internal/metrics"
)

// WatchOptions say what a watch begins with and what it is to hold.
type WatchOptions struct {
	// ResourceVersion is where the client is. Empty and "0" mean that it holds nothing.
	ResourceVersion string
	Selection
	// SendInitialEvents asks for the present objects first, or for none of them. If
	// it is nil they are sent to a client that holds nothing.
	SendInitialEvents *bool
	// AllowBookmarks is whether the client takes bookmarks.
	AllowBookmarks bool
}

// Watch returns the changes of what one of the subjects may get and that matches:
// changes of objects, and of access. It ends with the context, whose deadline it
// precedes with a bookmark, and when the client does not keep up.
//
// The error is for a resourceVersion that cannot be read. Everything else is told
// by one event of type ERROR, as by the API server: 504 for a revision that does
// not come, 410 for one that is forgotten.
func (v *View[P, S]) Watch(ctx context.Context, subjects []S, o WatchOptions) (watch.Interface, error) {
	revision, err := storage.APIObjectVersioner{}.ParseResourceVersion(o.ResourceVersion)
	if err != nil {
		return nil, err
	}
	initial := o.SendInitialEvents == nil && revision == 0 || o.SendInitialEvents != nil && *o.SendInitialEvents
	resume := !initial && revision > 0
	if err := v.waitFor(ctx, revision); err != nil {
		if resume {
			v.metrics.Resumed(metrics.ResumedTooLarge)
		}
		return failedWatch(err), nil
	}
	w := newWatcher(v, subjects, o)
	// What a watch begins with and what comes next meet here, without a gap.
	v.lock.Lock()
	defer v.lock.Unlock()
	begin := func(context.Context) bool { return true }
	content, access := v.snapshot.Load(), *v.access.Load()
	w.position = content.mark
	switch {
	case initial:
		begin = func(ctx context.Context) bool {
			return w.sendInitial(ctx, content, access, o.SendInitialEvents != nil)
		}
	case resume:
		start, known := v.history.resume(revision)
		if !known {
			v.metrics.Resumed(metrics.ResumedExpired)
			return failedWatch(tooOldError(revision)), nil
		}
		v.metrics.Resumed(metrics.ResumedAccepted)
		if len(start.replay) > 0 {
			access = start.replay[0].AccessBefore
		}
		w.unsureUntil, w.unsureSince = v.clock.Now().Add(ReplicaLag), start.since
		begin = func(ctx context.Context) bool { return w.resume(ctx, start, access) }
	}
	v.addLocked(w)
	go w.run(ctx, begin)
	return w, nil
}

// EndWatches ends every open watch: the view cannot say any more what holds.
// Clients come back, and are told to wait until it can.
func (v *View[P, S]) EndWatches() {
	v.lock.Lock()
	defer v.lock.Unlock()
	v.endAllLocked(metrics.EndedByStaleness, nil)
}

// Watches returns the number of open watches.
func (v *View[P, S]) Watches() int {
	v.lock.Lock()
	defer v.lock.Unlock()
	return len(v.open)
}

func (v *View[P, S]) addLocked(w *watcher[P, S]) {
	v.open.Insert(w)
	for _, subject := range w.subjects {
		if v.watchers[subject] == nil {
			v.watchers[subject] = sets.New[*watcher[P, S]]()
		}
		v.watchers[subject].Insert(w)
	}
}

// dispatchLocked offers an entry to the watchers of the subjects, each once.
func (v *View[P, S]) dispatchLocked(e *Entry[P, S], audience iter.Seq[S]) {
	if len(v.open) == 0 {
		return
	}
	for subject := range audience {
		for w := range v.watchers[subject] {
			if w.offered > e.Sequence {
				continue
			}
			e.sharing.watches.Add(1)
			if w.offered = e.Sequence + 1; !w.offer(e) {
				v.endLocked(w, metrics.EndedBySlowness, nil)
			}
		}
	}
}

// endLocked ends a watch, unless it has ended: with an event of type ERROR if
// there is an error.
func (v *View[P, S]) endLocked(w *watcher[P, S], cause metrics.EndCause, err error) {
	if !v.open.Has(w) {
		return
	}
	v.open.Delete(w)
	for _, subject := range w.subjects {
		if v.watchers[subject].Delete(w); len(v.watchers[subject]) == 0 {
			delete(v.watchers, subject)
		}
	}
	w.failure = err
	close(w.done)
	v.metrics.Ended(cause)
}

func (v *View[P, S]) endAllLocked(cause metrics.EndCause, err error) {
	for w := range v.open {
		v.endLocked(w, cause, err)
	}
}

// failedWatch returns a watch of one event of type ERROR. Once a request has been
// understood, this is how the API server tells errors of a watch, see
// newErrWatcher in k8s.io/apiserver/pkg/storage/cacher.
func failedWatch(err error) watch.Interface {
	events := make(chan watch.Event, 1)
	events <- errorEvent(err)
	close(events)
	return ended(events)
}

// ended is a watch that has nothing to stop.
type ended chan watch.Event

func (e ended) Stop()                          {}
func (e ended) ResultChan() <-chan watch.Event { return e }

func errorEvent(err error) watch.Event {
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		known = apierrors.NewInternalError(err)
	}
	status := known.Status()
	return watch.Event{Type: watch.Error, Object: &status}
}
