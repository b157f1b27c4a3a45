// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	// gainDelay is how long additions wait for more of their kind. What is lost does
	// not wait.
	gainDelay = 100 * time.Millisecond
	// lossPriority is ahead of everything else that is to be compiled.
	lossPriority = 100
)

// queue is a controller's.
type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// interests know which owners select which objects, so that the event of an object
// costs what it changes. They are told before an owner lists the objects: an event
// that comes earlier is in that list, one that comes later finds the owner.
type interests struct {
	lock sync.RWMutex
	// of is by kind and name of the owner; lock protects it, the slices are not
	// modified.
	of map[*kind]map[string][]*selection
}

func newInterests() *interests { return &interests{of: map[*kind]map[string][]*selection{}} }

// set replaces what an owner selects by name. What is given without names does not
// depend on the objects.
func (i *interests) set(o owner, groups []group) {
	selections := map[*kind][]*selection{}
	for _, g := range groups {
		for _, q := range g.requests {
			if !q.selection.all && !slices.Contains(selections[q.kind], q.selection) {
				selections[q.kind] = append(selections[q.kind], q.selection)
			}
		}
	}
	i.lock.Lock()
	defer i.lock.Unlock()
	for _, owners := range i.of {
		delete(owners, o.name)
	}
	for k, s := range selections {
		if i.of[k] == nil {
			i.of[k] = map[string][]*selection{}
		}
		i.of[k][o.name] = s
	}
}

// changed tells the owners for whom it makes a difference that an object of a kind
// was before and is after. Either may be nil.
func (i *interests) changed(k *kind, before, after client.Object, gained, lost func(owner string)) {
	i.lock.RLock()
	defer i.lock.RUnlock()
	for name, selections := range i.of[k] {
		// One owner may select an object in several ways.
		for _, s := range selections {
			was, is := before != nil && s.selects(before), after != nil && s.selects(after)
			switch {
			case was && !is:
				lost(name)
			case !was && is:
				gained(name)
			}
		}
	}
}

// handler enqueues the owners whom events of a kind concern.
func (i *interests) handler(k *kind) handler.EventHandler {
	changed := func(before, after client.Object, q queue) {
		i.changed(k, before, after,
			func(owner string) { q.AddAfter(requestFor(owner), gainDelay) },
			func(owner string) { addFirst(q, requestFor(owner)) })
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { changed(nil, e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			// Most updates of nodes are heartbeats.
			if e.ObjectOld.GetUID() != e.ObjectNew.GetUID() || !maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels()) {
				changed(e.ObjectOld, e.ObjectNew, q)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { changed(e.Object, nil, q) },
	}
}

// addFirst enqueues what must not wait behind the rest.
func addFirst(q queue, r reconcile.Request) {
	if q, ok := q.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		q.AddWithOpts(priorityqueue.AddOpts{Priority: new(lossPriority)}, r)
		return
	}
	q.Add(r)
}

func requestFor(name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}
}
