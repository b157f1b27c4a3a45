// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"context"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// Absence is what proves that a resource is not there, and what a source gives then.
type Absence struct {
	// Definitions reads the CustomResourceDefinitions, of which one is the resource's.
	Definitions Definitions
	Definition  string
	// NewList returns a list without items, NewBookmark what a bookmark carries.
	NewList, NewBookmark func(resourceVersion string) runtime.Object
}

// Definitions reads the metadata of CustomResourceDefinitions; it is part of
// metadata.ResourceInterface in k8s.io/client-go.
type Definitions interface {
	List(context.Context, metav1.ListOptions) (*metav1.PartialObjectMetadataList, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// OptionalSource is Source for a custom resource, which an API server may not have,
// and may come to have or lose at any time. While its definition does not exist the
// source is one without objects that stays as fresh as others are.
//
// That the API server answers 404 proves nothing: so it does while it serves
// another version, or has yet to learn of the definition from its peers. An empty
// list in that place would empty the caches of clients.
func OptionalSource[L runtime.Object](
	list func(context.Context, metav1.ListOptions) (L, error),
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error),
	absence Absence,
) cache.ListerWatcher {
	o := &optional{source: Source(nil, list, watch).(cache.ListerWatcherWithContext), absence: absence}
	o.ListWatch = &cache.ListWatch{ListWithContextFunc: o.list, WatchFuncWithContext: o.watch}
	return o
}

// optional is the source of a resource that may be absent.
type optional struct {
	*cache.ListWatch
	source  cache.ListerWatcherWithContext
	absence Absence
	// absent is what the last list has found. unreadable says that it is not so any
	// more, and that what is there could not be read: the empty list that was given
	// is not true.
	absent, unreadable atomic.Bool
}

// IsWatchListSemanticsUnSupported has a reflector begin with a list: it is the list
// that finds out whether the resource is there.
func (o *optional) IsWatchListSemanticsUnSupported() bool { return true }

func (o *optional) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	list, err := o.source.ListWithContext(ctx, options)
	switch {
	case err == nil:
		o.absent.Store(false)
		o.unreadable.Store(false)
		return list, nil
	// A resource that goes away between two pages is an error, and the list begins anew.
	case options.Continue != "", !apierrors.IsNotFound(err) && !o.absent.Load():
		return nil, err
	}
	definitions, definitionsErr := o.absence.Definitions.List(ctx, metav1.ListOptions{FieldSelector: o.selector()})
	switch {
	case definitionsErr != nil:
		return nil, definitionsErr
	case len(definitions.Items) > 0:
		o.unreadable.Store(o.absent.Load())
		return nil, err
	}
	o.absent.Store(true)
	o.unreadable.Store(false)
	return o.absence.NewList(definitions.ResourceVersion), nil
}

// selector selects the definition by its name, which is how the right to read it
// can be limited to this one.
func (o *optional) selector() string {
	return fields.OneTermEqualSelector(metav1.ObjectNameField, o.absence.Definition).String()
}

func (o *optional) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	if !o.absent.Load() {
		return o.source.WatchWithContext(ctx, options)
	}
	options.FieldSelector = o.selector()
	definitions, err := o.absence.Definitions.Watch(ctx, options)
	if err != nil {
		return nil, err
	}
	events := make(chan watch.Event)
	w := watch.NewProxyWatcher(events)
	go o.followAbsence(definitions, events, w.StopChan())
	return w, nil
}

// followAbsence hands on what a watch of the definition says of the resource.
func (o *optional) followAbsence(definitions watch.Interface, events chan<- watch.Event, stopped <-chan struct{}) {
	defer close(events)
	defer definitions.Stop()
	for {
		select {
		case event, open := <-definitions.ResultChan():
			if !open {
				return
			}
			select {
			case events <- o.translate(event):
			case <-stopped:
				return
			}
		case <-stopped:
			return
		}
	}
}

// translate returns an error, upon which a reflector lists, for a definition that
// is there.
func (o *optional) translate(event watch.Event) watch.Event {
	switch event.Type {
	case watch.Error:
		return event
	case watch.Bookmark:
		if definition, ok := event.Object.(metav1.Object); ok {
			event.Object = o.absence.NewBookmark(definition.GetResourceVersion())
			return event
		}
	}
	expired := apierrors.NewResourceExpired("the resource is defined: list it")
	return watch.Event{Type: watch.Error, Object: &expired.ErrStatus}
}
