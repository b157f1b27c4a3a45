// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// probePeriod is how often it is asked whether a resource is there.
const probePeriod = 5 * time.Second

// Absence is what a source gives while its resource is not there.
type Absence struct {
	// NewList returns a list without items, NewBookmark what a bookmark carries.
	NewList, NewBookmark func(resourceVersion string) runtime.Object
	// Revision returns the present revision, by a consistent read.
	Revision func(context.Context) (string, error)
	Clock    clock.WithTicker
}

// OptionalSource is Source for a resource that the API server may not have, that
// of a CustomResourceDefinition, and may come to have or lose at any time. While it
// is not there, which the API server says by 404, the source is one without
// objects that stays as fresh as others are.
func OptionalSource[L runtime.Object](
	list func(context.Context, metav1.ListOptions) (L, error),
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error),
	absence Absence,
) cache.ListerWatcher {
	o := &optional{source: Source(nil, list, watch).(cache.ListerWatcherWithContext), absence: absence}
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{ListWithContextFunc: o.list, WatchFuncWithContext: o.watch}, listOnly{})
}

// listOnly tells a reflector to begin with a list: it is the list that finds out
// whether the resource is there.
type listOnly struct{}

func (listOnly) IsWatchListSemanticsUnSupported() bool { return true }

// optional is the source of a resource that may be absent. Like every source it
// serves one reflector, which calls it from one goroutine.
type optional struct {
	source  cache.ListerWatcherWithContext
	absence Absence
	// absent is what the last list has found.
	absent bool
}

func (o *optional) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	list, err := o.source.ListWithContext(ctx, options)
	// A resource that goes away between two pages is an error, and the list begins anew.
	if apierrors.IsNotFound(err) && options.Continue == "" {
		// The revision has to be older than the answer that nothing is there: what
		// is created in between must not be taken for known.
		revision, revisionErr := o.absence.Revision(ctx)
		if revisionErr != nil {
			return nil, revisionErr
		}
		if list, err = o.source.ListWithContext(ctx, options); apierrors.IsNotFound(err) {
			o.absent = true
			return o.absence.NewList(revision), nil
		}
	}
	if err == nil {
		o.absent = false
	}
	return list, err
}

func (o *optional) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	if !o.absent {
		return o.source.WatchWithContext(ctx, options)
	}
	events := make(chan watch.Event)
	w := watch.NewProxyWatcher(events)
	go o.awaitPresence(ctx, events, w.StopChan())
	return w, nil
}

// awaitPresence sends bookmarks while the resource is absent, and an error, upon
// which the reflector lists, when it is there. A watch from the last bookmark on
// would not do: an API server that learns of the resource later than another one
// says 404 when the other one has stored objects already.
func (o *optional) awaitPresence(ctx context.Context, events chan<- watch.Event, stopped <-chan struct{}) {
	defer close(events)
	ticker := o.absence.Clock.NewTicker(probePeriod)
	defer ticker.Stop()
	for {
		event, err := o.probe(ctx)
		if err != nil {
			klog.FromContext(ctx).V(2).Info("Could not ask whether an optional resource is there", "err", err)
		} else {
			select {
			case events <- event:
			case <-stopped:
				return
			}
		}
		select {
		case <-ticker.C():
		case <-stopped:
			return
		case <-ctx.Done():
			return
		}
	}
}

// probe returns a bookmark if the resource is absent, an error event if it is there.
func (o *optional) probe(ctx context.Context) (watch.Event, error) {
	revision, err := o.absence.Revision(ctx)
	if err != nil {
		return watch.Event{}, err
	}
	switch _, err := o.source.ListWithContext(ctx, metav1.ListOptions{Limit: 1}); {
	case apierrors.IsNotFound(err):
		return watch.Event{Type: watch.Bookmark, Object: o.absence.NewBookmark(revision)}, nil
	case err != nil:
		return watch.Event{}, err
	default:
		expired := apierrors.NewResourceExpired("the resource is there: list it")
		return watch.Event{Type: watch.Error, Object: &expired.ErrStatus}, nil
	}
}
