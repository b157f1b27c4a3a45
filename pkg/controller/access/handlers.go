// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta1 "tenancy.capsule.io/apis/capsule/v1beta1"
	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/tenant"
)

var (
	specChanges       = builder.WithPredicates(predicate.Funcs{UpdateFunc: changesSpec})
	membershipChanges = builder.WithPredicates(predicate.Funcs{UpdateFunc: changesMembership})
)

// changesSpec passes on what a user wrote; an object that was deleted and made
// again may have the generation of the earlier one.
func changesSpec(e event.UpdateEvent) bool {
	return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() || e.ObjectOld.GetUID() != e.ObjectNew.GetUID()
}

// changesMembership passes on what says whose a namespace is, and whether it is
// going away.
func changesMembership(e event.UpdateEvent) bool {
	was, is := e.ObjectOld, e.ObjectNew
	return was.GetUID() != is.GetUID() || (was.GetDeletionTimestamp() == nil) != (is.GetDeletionTimestamp() == nil) ||
		was.GetLabels()[capsulev1beta2.TenantLabel] != is.GetLabels()[capsulev1beta2.TenantLabel] ||
		!equality.Semantic.DeepEqual(was.GetOwnerReferences(), is.GetOwnerReferences())
}

// tenantFinder finds Tenants and what is theirs in the cache.
type tenantFinder struct{ reader client.Reader }

// namespacesHandler enqueues the namespaces of a Tenant.
func (f tenantFinder) namespacesHandler() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(f.namespacesOf)
}

func (f tenantFinder) namespacesOf(ctx context.Context, t client.Object) []reconcile.Request {
	namespaces, err := objects.NamespacesOf(ctx, f.reader, t)
	if err != nil {
		utilruntime.HandleErrorWithContext(ctx, err, "Namespaces of a tenant not found", "tenant", t.GetName())
	}
	requests := make([]reconcile.Request, 0, len(namespaces))
	for i := range namespaces {
		requests = append(requests, requestFor(namespaces[i].Name))
	}
	return requests
}

// ownersChanged asks for the namespaces of a Tenant that has other owners.
func (f tenantFinder) ownersChanged(ctx context.Context, q queue, c owners.Change) {
	for _, request := range f.namespacesOf(ctx, c.Tenant) {
		if c.Loses() {
			addFirst(q, request)
		} else {
			q.Add(request)
		}
	}
}

// ownersChanged asks for a Tenant that has other owners.
func ownersChanged(_ context.Context, q queue, c owners.Change) {
	if c.Loses() {
		addFirst(q, requestFor(c.Tenant.Name))
	} else {
		q.AddAfter(requestFor(c.Tenant.Name), gainDelay)
	}
}

// settingsOfTenantHandler enqueues the ProxySettings in the namespaces of a Tenant.
func (f tenantFinder) settingsOfTenantHandler() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, t client.Object) []reconcile.Request {
		namespaces, err := objects.NamespacesOf(ctx, f.reader, t)
		if err != nil {
			utilruntime.HandleErrorWithContext(ctx, err, "Namespaces of a tenant not found", "tenant", t.GetName())
		}
		var requests []reconcile.Request
		for i := range namespaces {
			requests = append(requests, f.settingsIn(ctx, namespaces[i].Name)...)
		}
		return requests
	})
}

// settingsInNamespaceHandler enqueues the ProxySettings in a namespace.
func (f tenantFinder) settingsInNamespaceHandler() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, namespace client.Object) []reconcile.Request {
		return f.settingsIn(ctx, namespace.GetName())
	})
}

func (f tenantFinder) settingsIn(ctx context.Context, namespace string) []reconcile.Request {
	var list capsulev1beta1.ProxySettingList
	if err := f.reader.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		utilruntime.HandleErrorWithContext(ctx, err, "ProxySettings not listed", "namespace", namespace)
	}
	requests := make([]reconcile.Request, 0, len(list.Items))
	for i := range list.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return requests
}

// settingHandler enqueues the Tenant whose access a ProxySetting is part of. It may
// lose by any change. If the namespace is gone, or another's, the event of the
// namespace brings back the Tenant that it was of.
func (r *tenantReconciler) settingHandler() handler.EventHandler {
	enqueue := func(ctx context.Context, setting client.Object, q queue) {
		namespace := objects.Metadata(objects.NamespaceKind)
		if err := client.IgnoreNotFound(r.reader.Get(ctx, client.ObjectKey{Name: setting.GetNamespace()}, namespace)); err != nil {
			utilruntime.HandleErrorWithContext(ctx, err, "Namespace of a ProxySetting not found", "namespace", setting.GetNamespace())
		}
		enqueueTenant(namespace, q)
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { enqueue(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			if changesSpec(e) {
				enqueue(ctx, e.ObjectNew, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { enqueue(ctx, e.Object, q) },
	}
}

// namespaceHandler enqueues the Tenants whose access the ProxySettings in a
// namespace may be, or have been, part of. Most namespaces have none when they are
// made.
func (r *tenantReconciler) namespaceHandler() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if len((tenantFinder{r.reader}).settingsIn(ctx, e.Object.GetName())) > 0 {
				enqueueTenant(e.Object, q)
			}
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			enqueueTenant(e.ObjectOld, q)
			enqueueTenant(e.ObjectNew, q)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { enqueueTenant(e.Object, q) },
	}
}

// enqueueTenant enqueues the Tenant that a namespace says it belongs to.
func enqueueTenant(namespace metav1.Object, q queue) {
	if ref, ok := tenant.Of(namespace); ok {
		addFirst(q, requestFor(ref.Name))
	}
}

// compiledHandler enqueues the owner, of a kind, of a compiled object: whoever
// changed it, it is put right.
func compiledHandler(kind string) handler.EventHandler {
	names := ownerNames(kind)
	return handler.EnqueueRequestsFromMapFunc(func(_ context.Context, object client.Object) []reconcile.Request {
		var requests []reconcile.Request
		for _, name := range names(object) {
			requests = append(requests, requestFor(name))
		}
		return requests
	})
}

// readerHandler enqueues the namespace of a RoleBinding for its owners.
func readerHandler() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(_ context.Context, binding client.Object) []reconcile.Request {
		if binding.GetLabels()[Label] != namespaceReader {
			return nil
		}
		return []reconcile.Request{requestFor(binding.GetNamespace())}
	})
}
