// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"context"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/tenant"
)

const (
	// workers is how many Tenants are reconciled at once. A status with many
	// namespaces takes the API server tens of milliseconds of a processor: nobody
	// waits for it, and several at once would be in the way of those who do wait.
	workers = 1
	// batch is how long changes other than of the Tenant itself wait for more of
	// their kind.
	batch = time.Second
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

func (r *reconciler) watch(mgr ctrl.Manager) error {
	b := ctrl.NewControllerManagedBy(mgr).
		Named(Name).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Watches(&capsulev1beta2.Tenant{}, tenantHandler()).
		Watches(objects.Metadata(objects.NamespaceKind), namespaceHandler()).
		Watches(objects.Metadata(objects.ServiceAccountKind), r.accountHandler()).
		WatchesRawSource(r.reports.Source(batch))
	for i := range classKinds {
		b = b.Watches(objects.Metadata(classKinds[i].kind), r.classHandler(&classKinds[i]))
	}
	return r.owners.Watch(b, func(_ context.Context, q queue, c owners.Change) {
		q.AddAfter(request(c.Tenant.Name), batch)
	}).Complete(r)
}

// tenantHandler asks at once for a Tenant that is new, gone or changed, and later
// for one whose status is not what it was: it may not be what was written last.
func tenantHandler() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { q.Add(request(e.Object.GetName())) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { q.Add(request(e.Object.GetName())) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			was, ok1 := e.ObjectOld.(*capsulev1beta2.Tenant)
			is, ok2 := e.ObjectNew.(*capsulev1beta2.Tenant)
			switch {
			case !ok1 || !ok2:
			case was.UID != is.UID, was.Generation != is.Generation, (was.DeletionTimestamp == nil) != (is.DeletionTimestamp == nil):
				q.Add(request(is.Name))
			case changedStatus(&was.Status, &is.Status):
				q.AddAfter(request(is.Name), batch)
			}
		},
	}
}

// changedStatus reports whether the status differs in anything but the places that
// the webhook has reserved.
func changedStatus(was, is *capsulev1beta2.TenantStatus) bool {
	a, b := *was, *is
	a.NamespaceReservations, b.NamespaceReservations = nil, nil
	return !equality.Semantic.DeepEqual(a, b)
}

// namespaceHandler asks for the Tenants whose a namespace is, or was.
func namespaceHandler() handler.EventHandler {
	ask := func(q queue, namespace client.Object) {
		if ref, ok := tenant.Of(namespace); ok {
			q.AddAfter(request(ref.Name), batch)
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { ask(q, e.Object) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { ask(q, e.Object) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			was, is := e.ObjectOld, e.ObjectNew
			before, _ := tenant.Of(was)
			after, _ := tenant.Of(is)
			if before != after || !sameMetadata(was, is) || was.GetUID() != is.GetUID() || (was.GetDeletionTimestamp() == nil) != (is.GetDeletionTimestamp() == nil) {
				ask(q, was)
				ask(q, is)
			}
		},
	}
}

// accountHandler asks for the Tenant in whose namespace a service account has, or had,
// the label of owners: it may have it to no effect, which changes no owners.
func (r *reconciler) accountHandler() handler.EventHandler {
	ask := func(ctx context.Context, q queue, account client.Object) {
		namespace := objects.Metadata(objects.NamespaceKind)
		if err := r.Get(ctx, client.ObjectKey{Name: account.GetNamespace()}, namespace, client.UnsafeDisableDeepCopy); err != nil {
			// The namespace's own event asks.
			return
		}
		if ref, ok := tenant.Of(namespace); ok {
			q.AddAfter(request(ref.Name), batch)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { ask(ctx, q, e.Object) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { ask(ctx, q, e.ObjectNew) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { ask(ctx, q, e.Object) },
	}
}

// sameMetadata reports whether two states of a namespace carry the same of what its
// Tenant wants it to.
func sameMetadata(was, is client.Object) bool {
	labels, annotations := objects.Own(was)
	otherLabels, otherAnnotations := objects.Own(is)
	return maps.Equal(labels, otherLabels) && maps.Equal(annotations, otherAnnotations)
}

// classHandler asks for the Tenants that may use a class now and could not before, or
// the other way round.
func (r *reconciler) classHandler(k *classKind) handler.EventHandler {
	ask := func(ctx context.Context, q queue, was, is client.Object) {
		var tenants capsulev1beta2.TenantList
		if err := r.List(ctx, &tenants, client.UnsafeDisableDeepCopy); err != nil {
			// The cache answers without fail once it is there.
			log.FromContext(ctx).Error(err, "Class changed, and the tenants are not known", "kind", k.kind.Kind)
			return
		}
		for i := range tenants.Items {
			allowed := k.allowedBy(&tenants.Items[i])
			if (was != nil && allowed.Matches(was)) != (is != nil && allowed.Matches(is)) {
				q.AddAfter(request(tenants.Items[i].Name), batch)
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			// At the start every Tenant is asked for anyway.
			if !e.IsInInitialList {
				ask(ctx, q, nil, e.Object)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { ask(ctx, q, e.ObjectOld, e.ObjectNew) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { ask(ctx, q, e.Object, nil) },
	}
}

func request(name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}
}
