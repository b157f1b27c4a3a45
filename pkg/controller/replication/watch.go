// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"context"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
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
	ctrlsource "sigs.k8s.io/controller-runtime/pkg/source"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

const (
	// workers is how many subjects of a kind are reconciled at once.
	workers = 4
	// batch is how long what changes around subjects waits for more of its kind.
	batch = 250 * time.Millisecond
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

func (r *reconciler) watch(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named(r.kind.controller).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		WatchesRawSource(ctrlsource.Func(func(_ context.Context, q queue) error {
			r.turns.ask = func(request reconcile.Request) { q.Add(request) }
			return nil
		})).
		Watches(r.kind.newObject(), &handler.EnqueueRequestForObject{},
			builder.WithPredicates(predicate.Funcs{UpdateFunc: asksForOther})).
		Watches(r.kind.newObject(), handler.Funcs{UpdateFunc: r.dependants}).
		Watches(objects.Metadata(objects.NamespaceKind), r.aroundNamespace()).
		Watches(&capsulev1beta2.Tenant{}, r.aroundTenant()).
		Watches(&capsulev1beta2.CapsuleConfiguration{}, handler.Funcs{
			CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
				if !e.IsInInitialList && e.Object.GetName() == r.configuration {
					r.enqueue(ctx, q)
				}
			},
			UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
				if e.ObjectNew.GetName() == r.configuration && changedImpersonation(e) {
					r.enqueue(ctx, q)
				}
			},
			DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
				if e.Object.GetName() == r.configuration {
					r.enqueue(ctx, q)
				}
			},
		}).
		Complete(r)
}

// asksForOther picks the updates of a subject after which something else may be
// wanted, or somebody wants it to be looked at.
func asksForOther(e event.UpdateEvent) bool {
	was, is := e.ObjectOld, e.ObjectNew
	return was.GetUID() != is.GetUID() || was.GetGeneration() != is.GetGeneration() ||
		(was.GetDeletionTimestamp() == nil) != (is.GetDeletionTimestamp() == nil) ||
		was.GetAnnotations()[capsulev1beta2.ReconcileAnnotation] != is.GetAnnotations()[capsulev1beta2.ReconcileAnnotation]
}

func changedImpersonation(e event.UpdateEvent) bool {
	was, ok1 := e.ObjectOld.(*capsulev1beta2.CapsuleConfiguration)
	is, ok2 := e.ObjectNew.(*capsulev1beta2.CapsuleConfiguration)
	return !ok1 || !ok2 || !equality.Semantic.DeepEqual(was.Spec.Impersonation, is.Spec.Impersonation)
}

// dependants asks for the subjects that wait for one that has become ready.
func (r *reconciler) dependants(ctx context.Context, e event.UpdateEvent, q queue) {
	if r.kind.subject(e.ObjectOld).isReady() || !r.kind.subject(e.ObjectNew).isReady() {
		return
	}
	r.each(ctx, func(s *subject) {
		for _, dependency := range s.spec.DependsOn {
			if dependency.Name == e.ObjectNew.GetName() {
				q.Add(requestFor(s))
			}
		}
	}, client.InNamespace(e.ObjectNew.GetNamespace()))
}

// aroundNamespace asks for the subjects of the tenant that a namespace is of, or was.
// At the start every subject is asked for anyway.
func (r *reconciler) aroundNamespace() handler.EventHandler {
	enqueue := func(ctx context.Context, q queue, namespaces ...client.Object) {
		var last tenant.Ref
		for _, namespace := range namespaces {
			if ref, ok := tenant.Of(namespace); ok && ref != last {
				r.enqueueFor(ctx, q, &metav1.ObjectMeta{Name: ref.Name, UID: ref.UID})
				last = ref
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList {
				enqueue(ctx, q, e.Object)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			if changed(e) {
				enqueue(ctx, q, e.ObjectOld, e.ObjectNew)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { enqueue(ctx, q, e.Object) },
	}
}

// aroundTenant asks for the subjects of a Tenant.
func (r *reconciler) aroundTenant() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList {
				r.enqueueFor(ctx, q, e.Object)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			if changed(e) {
				r.enqueueFor(ctx, q, e.ObjectNew)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { r.enqueueFor(ctx, q, e.Object) },
	}
}

// changed reports whether selectors may select a namespace or a Tenant otherwise, or
// templates make something else of it.
func changed(e event.UpdateEvent) bool {
	was, is := e.ObjectOld, e.ObjectNew
	wasOf, _ := tenant.Of(was)
	isOf, _ := tenant.Of(is)
	return was.GetUID() != is.GetUID() || wasOf != isOf || !maps.Equal(was.GetLabels(), is.GetLabels()) ||
		(was.GetDeletionTimestamp() == nil) != (is.GetDeletionTimestamp() == nil)
}

// enqueueFor asks for the subjects that may be about a Tenant: those in its
// namespaces, and those that are in none.
func (r *reconciler) enqueueFor(ctx context.Context, q queue, t metav1.Object) {
	if _, ok := r.kind.newObject().(*capsulev1beta2.GlobalTenantResource); ok {
		r.enqueue(ctx, q)
		return
	}
	namespaces, err := objects.NamespacesOf(ctx, r, t)
	if err != nil {
		// The cache answers without fail once it is there.
		log.FromContext(ctx).Error(err, "Tenant changed, and its namespaces are not known", "tenant", t.GetName())
		return
	}
	for i := range namespaces {
		r.enqueue(ctx, q, client.InNamespace(namespaces[i].Name))
	}
}

// enqueue asks for subjects, once for several changes.
func (r *reconciler) enqueue(ctx context.Context, q queue, options ...client.ListOption) {
	r.each(ctx, func(s *subject) { q.AddAfter(requestFor(s), batch) }, options...)
}

func (r *reconciler) each(ctx context.Context, do func(s *subject), options ...client.ListOption) {
	list := r.kind.newList()
	if err := r.List(ctx, list, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		log.FromContext(ctx).Error(err, "Something changed, and whom it concerns is not known", "kind", r.kind.gvk.Kind)
		return
	}
	_ = meta.EachListItem(list, func(object runtime.Object) error {
		if object, ok := object.(client.Object); ok {
			do(r.kind.subject(object))
		}
		return nil
	})
}

func requestFor(s *subject) reconcile.Request {
	return reconcile.Request{NamespacedName: client.ObjectKeyFromObject(s)}
}
