// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"context"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

// Arrivals remembers for a while which namespaces came to be. A place
// that was reserved for a namespace which came and went already is free: neither
// the list of namespaces nor the reservation can tell.
type Arrivals struct {
	clock clock.PassiveClock

	mu sync.Mutex
	// seen holds when the API server says that they were created, by UID. Guarded by
	// mu.
	seen map[types.UID]time.Time
	// swept is when the old ones were dropped last. Guarded by mu.
	swept time.Time
}

// remembered is how long an arrival matters: a reservation is not older.
const remembered = 2 * reservationTTL

// NewArrivals returns an empty memory.
func NewArrivals(clock clock.PassiveClock) *Arrivals {
	return &Arrivals{clock: clock, seen: map[types.UID]time.Time{}}
}

// Watch remembers the namespaces that the cache hears of, until the context ends.
func (a *Arrivals) Watch(ctx context.Context, informers cache.Informers) error {
	informer, err := informers.GetInformer(ctx, objects.Metadata(objects.NamespaceKind))
	if err != nil {
		return fmt.Errorf("get informer of namespaces: %w", err)
	}
	saw := func(object any) {
		if namespace, ok := object.(metav1.Object); ok {
			a.Saw(namespace)
		}
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    saw,
		UpdateFunc: func(_, object any) { saw(object) },
	})
	if err != nil {
		return fmt.Errorf("watch namespaces: %w", err)
	}
	<-ctx.Done()
	return informer.RemoveEventHandler(registration)
}

// Saw remembers a namespace, if it is new and a tenant's.
func (a *Arrivals) Saw(namespace metav1.Object) {
	_, ok := tenant.Of(namespace)
	now, created := a.clock.Now(), namespace.GetCreationTimestamp().Time
	if !ok || now.Sub(created) > remembered {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen[namespace.GetUID()] = created
	if now.Sub(a.swept) < reservationTTL {
		return
	}
	a.swept = now
	for key, at := range a.seen {
		if now.Sub(at) > remembered {
			delete(a.seen, key)
		}
	}
}

// saw reports whether a namespace with that UID came to be lately.
func (a *Arrivals) saw(uid types.UID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.seen[uid]
	return ok
}
