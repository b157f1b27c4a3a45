// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

// turnAfter is when a subject that waits for its turn looks again by itself, if it was
// not asked to before.
const turnAfter = time.Minute

// turns let one subject of a tenant be reconciled at a time: a tenant may have any
// number of them, and the workers are there for all tenants. It may be used
// concurrently.
type turns struct {
	// ask has a subject reconciled. It is set before the first turn is taken.
	ask func(reconcile.Request)

	// lock protects what is below.
	lock sync.Mutex
	// taken are the tenants the turn of which is taken, and waiting holds who waits
	// for it, in order.
	taken   sets.Set[string]
	waiting map[string][]reconcile.Request
}

func newTurns() *turns {
	return &turns{ask: func(reconcile.Request) {}, taken: sets.New[string](), waiting: map[string][]reconcile.Request{}}
}

// take reports whether it is the turn of a subject. If so, end has to be called. If
// not, the subject will be asked for.
func (t *turns) take(of string, request reconcile.Request) bool {
	t.lock.Lock()
	defer t.lock.Unlock()
	i := slices.Index(t.waiting[of], request)
	switch isFree := !t.taken.Has(of); {
	case isFree && i >= 0:
		t.setWaiting(of, slices.Delete(t.waiting[of], i, i+1))
		fallthrough
	case isFree:
		t.taken.Insert(of)
		return true
	case i < 0:
		t.setWaiting(of, append(t.waiting[of], request))
	}
	return false
}

// end ends a turn, and asks for who has waited longest.
func (t *turns) end(of string) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.taken.Delete(of)
	if waiting := t.waiting[of]; len(waiting) > 0 {
		t.setWaiting(of, waiting[1:])
		t.ask(waiting[0])
	}
}

func (t *turns) setWaiting(of string, waiting []reconcile.Request) {
	if len(waiting) == 0 {
		delete(t.waiting, of)
		return
	}
	t.waiting[of] = waiting
}

// whose returns the name of the tenant that a TenantResource is of. Others, and those
// of no tenant, wait for nobody.
func (r *reconciler) whose(ctx context.Context, request reconcile.Request) string {
	if request.Namespace == "" {
		return ""
	}
	home := objects.Metadata(objects.NamespaceKind)
	if err := r.Get(ctx, client.ObjectKey{Name: request.Namespace}, home, client.UnsafeDisableDeepCopy); err != nil {
		return ""
	}
	of, _ := tenant.Of(home)
	return of.Name
}
