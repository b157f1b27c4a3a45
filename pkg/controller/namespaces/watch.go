// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"context"
	"slices"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
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
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/tenant"
)

const (
	// workers is how many namespaces are reconciled at once: enough to keep the API
	// server busy while requests travel.
	workers = 16
	// aggregateLabel is on the ClusterRoles with which an administrator lets the
	// controller bind more roles.
	aggregateLabel = "projectcapsule.dev/aggregate-to-controller"
	// aggregationDelay is how long the API server is given to take notice of what a
	// ClusterRole allows now.
	aggregationDelay = time.Second
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

func (r *reconciler) watch(mgr ctrl.Manager) error {
	b := ctrl.NewControllerManagedBy(mgr).
		Named(Name).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Watches(objects.Metadata(objects.NamespaceKind), &handler.EnqueueRequestForObject{},
			builder.WithPredicates(predicate.Funcs{UpdateFunc: r.changedNamespace})).
		Watches(&capsulev1beta2.Tenant{}, handler.EnqueueRequestsFromMapFunc(r.namespacesOf),
			builder.WithPredicates(predicate.Funcs{UpdateFunc: r.wantsOther})).
		Watches(&rbacv1.ClusterRole{}, r.failedNamespaces())
	for _, phase := range r.phases {
		for _, k := range phase {
			b = b.Watches(k.object, handler.EnqueueRequestsFromMapFunc(itsNamespace), builder.WithPredicates(r.unsettled(k)))
		}
	}
	return r.owners.Watch(b, func(ctx context.Context, q queue, c owners.Change) {
		for _, request := range r.namespacesOf(ctx, c.Tenant) {
			q.Add(request)
		}
	}).Complete(r)
}

// changedNamespace picks the updates of a namespace after which something is to be
// done there.
func (r *reconciler) changedNamespace(e event.UpdateEvent) bool {
	if changedHands(e) {
		return true
	}
	t, err := objects.TenantOf(context.Background(), r, e.ObjectNew)
	return err != nil || !carries(t, e.ObjectNew)
}

// changedHands picks the updates of a namespace after which it may be another
// tenant's, or another namespace.
func changedHands(e event.UpdateEvent) bool {
	was, is := e.ObjectOld, e.ObjectNew
	return was.GetUID() != is.GetUID() ||
		was.GetLabels()[capsulev1beta2.TenantLabel] != is.GetLabels()[capsulev1beta2.TenantLabel] ||
		(was.GetDeletionTimestamp() == nil) != (is.GetDeletionTimestamp() == nil) ||
		!slices.EqualFunc(was.GetOwnerReferences(), is.GetOwnerReferences(), func(a, b metav1.OwnerReference) bool {
			return equality.Semantic.DeepEqual(a, b)
		})
}

func itsNamespace(_ context.Context, object client.Object) []reconcile.Request {
	return requests(object.GetNamespace())
}

// unsettled leaves out the events after which an object is what it should be, which
// may be gone: most of them are the echo of what the controller wrote.
func (r *reconciler) unsettled(k *kind) predicate.Predicate {
	isUnsettled := func(object client.Object) bool {
		want := r.wantedAs(context.Background(), k, object)
		return want == nil || !k.isManaged(object) || !k.isRight(object, want)
	}
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return isUnsettled(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool { return isUnsettled(e.ObjectNew) },
		DeleteFunc: func(e event.DeleteEvent) bool { return r.wantedAs(context.Background(), k, e.Object) != nil },
	}
}

// wantsOther picks the updates of a Tenant after which its namespaces should have
// other objects.
func (r *reconciler) wantsOther(e event.UpdateEvent) bool {
	was, ok1 := e.ObjectOld.(*capsulev1beta2.Tenant)
	is, ok2 := e.ObjectNew.(*capsulev1beta2.Tenant)
	if !ok1 || !ok2 || was.UID != is.UID {
		return true
	}
	if !tenant.SameNamespaceMetadata(was, is) {
		return true
	}
	if was.Generation == is.Generation {
		return false
	}
	before, err1 := r.wantedBy(context.Background(), was)
	after, err2 := r.wantedBy(context.Background(), is)
	return err1 != nil || err2 != nil || !equality.Semantic.DeepEqual(before, after)
}

// namespacesOf returns requests for the namespaces of a Tenant, which may be gone.
func (r *reconciler) namespacesOf(ctx context.Context, t client.Object) []reconcile.Request {
	namespaces, err := objects.NamespacesOf(ctx, r, t)
	if err != nil {
		// The cache answers without fail once it is there.
		log.FromContext(ctx).Error(err, "Tenant changed, and its namespaces are not known", "tenant", t.GetName())
		return nil
	}
	names := make([]string, 0, len(namespaces))
	for i := range namespaces {
		names = append(names, namespaces[i].Name)
	}
	return requests(names...)
}

// failedNamespaces tries again where something failed, when a ClusterRole comes into
// being that may have been missing, or one with which the controller may bind more.
func (r *reconciler) failedNamespaces() handler.EventHandler {
	enqueue := func(q queue) {
		for _, request := range requests(r.reports.Namespaces(Name)...) {
			q.AddAfter(request, aggregationDelay)
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList {
				enqueue(q)
			}
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if e.ObjectNew.GetLabels()[aggregateLabel] == "true" {
				enqueue(q)
			}
		},
	}
}

func requests(namespaces ...string) []reconcile.Request {
	list := make([]reconcile.Request, 0, len(namespaces))
	for _, namespace := range namespaces {
		list = append(list, reconcile.Request{NamespacedName: types.NamespacedName{Name: namespace}})
	}
	return list
}
