// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

// workers is how many volumes are reconciled at once.
const workers = 4

func (r *reconciler) watch(mgr ctrl.Manager) error {
	never := func(event.DeleteEvent) bool { return false }
	return ctrl.NewControllerManagedBy(mgr).
		Named(Name).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Watches(&corev1.PersistentVolume{}, &handler.EnqueueRequestForObject{},
			builder.WithPredicates(predicate.Funcs{UpdateFunc: changedClaim, DeleteFunc: never})).
		Watches(objects.Metadata(objects.NamespaceKind), handler.EnqueueRequestsFromMapFunc(r.volumesOfNamespace),
			builder.WithPredicates(predicate.Funcs{UpdateFunc: changedTenant, DeleteFunc: never})).
		// A Tenant may be seen after its first namespace and volume.
		Watches(&capsulev1beta2.Tenant{}, handler.EnqueueRequestsFromMapFunc(r.volumesOfTenant),
			builder.WithPredicates(predicate.Funcs{
				UpdateFunc: func(e event.UpdateEvent) bool { return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() },
				DeleteFunc: never,
			})).
		Complete(r)
}

// changedClaim picks the updates of a volume after which it may need another label.
func changedClaim(e event.UpdateEvent) bool {
	was, ok1 := e.ObjectOld.(*corev1.PersistentVolume)
	is, ok2 := e.ObjectNew.(*corev1.PersistentVolume)
	return !ok1 || !ok2 || was.UID != is.UID ||
		was.Labels[capsulev1beta2.TenantLabel] != is.Labels[capsulev1beta2.TenantLabel] ||
		isClaimed(was) != isClaimed(is) ||
		!equality.Semantic.DeepEqual(was.Spec.ClaimRef, is.Spec.ClaimRef)
}

// changedTenant picks the updates of a namespace that put it into a tenant.
func changedTenant(e event.UpdateEvent) bool {
	was, _ := tenant.Of(e.ObjectOld)
	is, ok := tenant.Of(e.ObjectNew)
	return ok && was != is
}

// volumesOfNamespace returns requests for the volumes whose claims are, or were, in a
// namespace of that name.
func (r *reconciler) volumesOfNamespace(ctx context.Context, namespace client.Object) []reconcile.Request {
	if _, ok := tenant.Of(namespace); !ok {
		return nil
	}
	var volumes corev1.PersistentVolumeList
	if err := r.List(ctx, &volumes, client.MatchingFields{objects.ClaimNamespaceOfVolume: namespace.GetName()}, client.UnsafeDisableDeepCopy); err != nil {
		// The cache answers without fail once it is there.
		log.FromContext(ctx).Error(err, "Namespace changed, and its volumes are not known", "namespace", namespace.GetName())
		return nil
	}
	requests := make([]reconcile.Request, 0, len(volumes.Items))
	for i := range volumes.Items {
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Name: volumes.Items[i].Name}})
	}
	return requests
}

// volumesOfTenant returns requests for the volumes of a Tenant's namespaces.
func (r *reconciler) volumesOfTenant(ctx context.Context, t client.Object) []reconcile.Request {
	namespaces, err := objects.NamespacesOf(ctx, r, t)
	if err != nil {
		log.FromContext(ctx).Error(err, "Tenant changed, and its namespaces are not known", "tenant", t.GetName())
		return nil
	}
	var requests []reconcile.Request
	for i := range namespaces {
		requests = append(requests, r.volumesOfNamespace(ctx, &namespaces[i])...)
	}
	return requests
}
