// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package lifecycle deletes the namespaces of a Tenant that is being deleted, and
// keeps the Tenant until they are gone: what it gives and imposes there stays until
// the namespaces themselves go, and its status says what they wait for.
//
// Invariants:
//   - A Tenant has the finalizer while it has namespaces, and no longer. That it has
//     none the API server says, not the cache.
//   - Only a namespace is deleted that belongs to this very Tenant, and only as it was
//     seen: one that is changed meanwhile is looked at again.
//   - Finalizers of others are theirs to remove.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/report"
	"tenancy.capsule.io/pkg/tenant"
)

// Name is the name of the controller, and of what it reports.
const Name = "lifecycle"

const (
	// workers is how many Tenants are reconciled at once.
	workers = 2
	// conflictDelay is how long to wait for the cache after somebody else has written.
	conflictDelay = time.Second
)

type reconciler struct {
	client.Client
	// live reads from the API server.
	live    client.Reader
	reports *report.Store
}

// Reconcile gives a Tenant the finalizer, or does what the finalizer is for.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	t := &capsulev1beta2.Tenant{}
	if err := r.Get(ctx, request.NamespacedName, t); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	namespaces, err := objects.NamespacesOf(ctx, r, t)
	if err != nil {
		return reconcile.Result{}, err
	}
	var errs []error
	switch {
	case t.DeletionTimestamp == nil && len(namespaces) > 0:
		errs = []error{r.write(ctx, t, controllerutil.AddFinalizer)}
	case t.DeletionTimestamp != nil && len(namespaces) > 0:
		errs = r.deleteAll(ctx, namespaces)
	default:
		errs = []error{r.release(ctx, t)}
	}
	// One by one: of joined errors IsConflict sees the first alone.
	stale := slices.ContainsFunc(errs, apierrors.IsConflict)
	err = errors.Join(slices.DeleteFunc(errs, apierrors.IsConflict)...)
	if stale && err == nil {
		return reconcile.Result{RequeueAfter: conflictDelay}, nil
	}
	r.reports.Set(tenant.RefOf(t), Name, "", err)
	return reconcile.Result{}, err
}

// write changes the finalizers, unless they are right.
func (r *reconciler) write(ctx context.Context, t *capsulev1beta2.Tenant, change func(client.Object, string) bool) error {
	changed := t.DeepCopy()
	if !change(changed, capsulev1beta2.Finalizer) {
		return nil
	}
	log.FromContext(ctx).V(2).Info("Write finalizers", "finalizers", changed.Finalizers)
	patch := client.MergeFromWithOptions(t, client.MergeFromWithOptimisticLock{})
	if err := r.Patch(ctx, changed, patch, client.FieldOwner(objects.FieldManager)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write finalizers: %w", err)
	}
	return nil
}

// deleteAll deletes namespaces that are not being deleted yet. It returns what failed.
func (r *reconciler) deleteAll(ctx context.Context, namespaces []metav1.PartialObjectMetadata) []error {
	var errs []error
	for i := range namespaces {
		namespace := &namespaces[i]
		if namespace.DeletionTimestamp != nil {
			continue
		}
		log.FromContext(ctx).Info("Delete a namespace of a Tenant that is being deleted", "namespace", namespace.Name)
		object := objects.Metadata(objects.NamespaceKind)
		object.Name = namespace.Name
		err := r.Delete(ctx, object, client.Preconditions{UID: &namespace.UID, ResourceVersion: &namespace.ResourceVersion})
		if client.IgnoreNotFound(err) != nil {
			errs = append(errs, fmt.Errorf("delete namespace %s: %w", namespace.Name, err))
		}
	}
	return errs
}

// release takes the finalizer off a Tenant that has no namespaces.
func (r *reconciler) release(ctx context.Context, t *capsulev1beta2.Tenant) error {
	if !controllerutil.ContainsFinalizer(t, capsulev1beta2.Finalizer) {
		return nil
	}
	list := objects.MetadataList(objects.NamespaceKind)
	if err := r.live.List(ctx, list, client.MatchingLabels{capsulev1beta2.TenantLabel: t.Name}); err != nil {
		return fmt.Errorf("list namespaces: %w", err)
	}
	for i := range list.Items {
		if tenant.Owns(t, &list.Items[i]) {
			// Its event comes.
			return nil
		}
	}
	return r.write(ctx, t, controllerutil.RemoveFinalizer)
}

// Add registers the controller.
func Add(mgr ctrl.Manager, reports *report.Store) error {
	r := &reconciler{Client: mgr.GetClient(), live: mgr.GetAPIReader(), reports: reports}
	return ctrl.NewControllerManagedBy(mgr).
		Named(Name).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Watches(&capsulev1beta2.Tenant{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(predicate.Funcs{UpdateFunc: changedLife})).
		Watches(objects.Metadata(objects.NamespaceKind), handler.EnqueueRequestsFromMapFunc(itsTenant),
			builder.WithPredicates(predicate.Funcs{UpdateFunc: changedTenant})).
		Complete(r)
}

// changedLife picks the updates of a Tenant after which it has to have the finalizer,
// or need not have it.
func changedLife(e event.UpdateEvent) bool {
	was, is := e.ObjectOld, e.ObjectNew
	return was.GetUID() != is.GetUID() || (was.GetDeletionTimestamp() == nil) != (is.GetDeletionTimestamp() == nil) ||
		controllerutil.ContainsFinalizer(was, capsulev1beta2.Finalizer) != controllerutil.ContainsFinalizer(is, capsulev1beta2.Finalizer)
}

// changedTenant picks the updates of a namespace that put it into a tenant, or out of
// it, or make it another one.
func changedTenant(e event.UpdateEvent) bool {
	was, _ := tenant.Of(e.ObjectOld)
	is, _ := tenant.Of(e.ObjectNew)
	return was != is || e.ObjectOld.GetUID() != e.ObjectNew.GetUID()
}

func itsTenant(_ context.Context, namespace client.Object) []reconcile.Request {
	ref, ok := tenant.Of(namespace)
	if !ok {
		return nil
	}
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Name: ref.Name}}}
}
