// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package tenantowners says in the status of each TenantOwner which Tenants its
// subject owns, by whatever makes it an owner, and in a metric how it is.
//
// Invariant: the status is only told, nobody decides by it.
package tenantowners

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/tenant"
)

// Name is the name of the controller.
const Name = "tenantowners"

// InvalidFieldReason is the reason of a Ready condition that is False because the
// subject cannot be understood.
const InvalidFieldReason = "InvalidField"

// batch is how long changes other than of the TenantOwner itself wait for more of
// their kind.
const batch = 250 * time.Millisecond

type reconciler struct {
	objects.Applier
	owners  *owners.Resolver
	metrics *collector
	clock   clock.PassiveClock
}

// Reconcile writes the status of one TenantOwner.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	owner := &capsulev1beta2.TenantOwner{}
	if err := r.Get(ctx, request.NamespacedName, owner, client.UnsafeDisableDeepCopy); err != nil {
		if client.IgnoreNotFound(err) != nil {
			return reconcile.Result{}, fmt.Errorf("get TenantOwner: %w", err)
		}
		r.metrics.forget(request.Name)
		return reconcile.Result{}, nil
	}
	tenants, err := r.owners.Owned(ctx, owner.Spec.UserSpec)
	if err != nil {
		return reconcile.Result{}, err
	}
	wanted := status(owner, tenants, r.clock.Now())
	if !isRight(&owner.Status, wanted) {
		log.FromContext(ctx).V(2).Info("Write status", "tenants", len(wanted.Tenants))
		if err := r.ApplyStatus(ctx, owners.Kind, owner, wanted); err != nil {
			return reconcile.Result{}, fmt.Errorf("write status: %w", err)
		}
	}
	r.metrics.set(owner.Name, wanted.Conditions)
	return reconcile.Result{}, nil
}

// status returns what the status of a TenantOwner should be, as far as it is ours.
// One whose subject cannot be understood owns nothing by it.
func status(owner *capsulev1beta2.TenantOwner, tenants []string, now time.Time) *capsulev1beta2.TenantOwnerStatus {
	ready := metav1.Condition{
		Type: capsulev1beta2.ReadyCondition, Status: metav1.ConditionTrue, Reason: capsulev1beta2.SucceededReason,
		Message: "the tenants that select it know it", ObservedGeneration: owner.Generation, LastTransitionTime: metav1.NewTime(now),
	}
	if _, err := tenant.Subject(owner.Spec.UserSpec); err != nil {
		ready.Status, ready.Reason = metav1.ConditionFalse, InvalidFieldReason
		ready.Message = field.Invalid(field.NewPath("spec", "name"), owner.Spec.Name, err.Error()).Error()
		tenants = nil
	}
	if was := meta.FindStatusCondition(owner.Status.Conditions, ready.Type); was != nil && was.Status == ready.Status {
		ready.LastTransitionTime = was.LastTransitionTime
	}
	slices.Sort(tenants)
	return &capsulev1beta2.TenantOwnerStatus{
		ObservedGeneration: owner.Generation, Tenants: tenants, Conditions: []metav1.Condition{ready},
	}
}

// isRight reports whether there is nothing to write. What others wrote into the
// status is none of our business.
func isRight(is, wanted *capsulev1beta2.TenantOwnerStatus) bool {
	present := *is
	present.Conditions = nil
	for _, condition := range wanted.Conditions {
		if c := meta.FindStatusCondition(is.Conditions, condition.Type); c != nil {
			present.Conditions = append(present.Conditions, *c)
		}
	}
	return equality.Semantic.DeepEqual(&present, wanted)
}

// Add registers the controller, in a cluster that knows TenantOwners.
func Add(mgr ctrl.Manager, resolver *owners.Resolver) error {
	if !resolver.HasTenantOwners() {
		klog.Background().Info("There are no TenantOwners to reconcile", "controller", Name)
		return nil
	}
	collector, err := register(metrics.Registry)
	if err != nil {
		return err
	}
	r := &reconciler{
		Applier: objects.Applier{Client: mgr.GetClient(), Live: mgr.GetAPIReader()},
		owners:  resolver, metrics: collector, clock: clock.RealClock{},
	}
	b := ctrl.NewControllerManagedBy(mgr).
		Named(Name).
		Watches(&capsulev1beta2.TenantOwner{}, &handler.EnqueueRequestForObject{}).
		Watches(&capsulev1beta2.Tenant{}, r.tenantHandler())
	return resolver.Watch(b, func(ctx context.Context, q owners.Queue, c owners.Change) {
		r.ask(ctx, q, subjects(c.Before), subjects(c.After))
	}).Complete(r)
}

// tenantHandler asks for the TenantOwners whose subjects own a Tenant now and did not
// before, or the other way round.
func (r *reconciler) tenantHandler() handler.EventHandler {
	owned := func(ctx context.Context, object client.Object) users {
		t, ok := object.(*capsulev1beta2.Tenant)
		if !ok {
			return nil
		}
		list, err := r.owners.Of(ctx, t)
		if err != nil {
			// The cache answers without fail once it is there.
			utilruntime.HandleErrorWithContext(ctx, err, "Tenant changed, and its owners are not known", "tenant", t.Name)
		}
		return subjects(list)
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q owners.Queue) {
			// At the start every TenantOwner is asked for anyway.
			if !e.IsInInitialList {
				r.ask(ctx, q, nil, owned(ctx, e.Object))
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q owners.Queue) {
			if e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() || e.ObjectOld.GetUID() != e.ObjectNew.GetUID() {
				r.ask(ctx, q, owned(ctx, e.ObjectOld), owned(ctx, e.ObjectNew))
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q owners.Queue) {
			r.ask(ctx, q, owned(ctx, e.Object), nil)
		},
	}
}

type users = sets.Set[capsulev1beta2.UserSpec]

func subjects(owners []capsulev1beta2.CoreOwnerSpec) users {
	set := users{}
	for _, owner := range owners {
		set.Insert(owner.UserSpec)
	}
	return set
}

// ask asks for the TenantOwners of those who are in one of the sets only.
func (r *reconciler) ask(ctx context.Context, q owners.Queue, before, after users) {
	changed := before.SymmetricDifference(after)
	if changed.Len() == 0 {
		return
	}
	all, err := r.owners.TenantOwners(ctx)
	if err != nil {
		utilruntime.HandleErrorWithContext(ctx, err, "Owners changed, and who has a TenantOwner is not known")
	}
	for _, owner := range all {
		if changed.Has(owner.Spec.UserSpec) {
			q.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: owner.Name}}, batch)
		}
	}
}

// register adds a collector to a registry, or returns the one that is there.
func register(registry prometheus.Registerer) (*collector, error) {
	c := newCollector()
	err := registry.Register(c)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if existing, ok := already.ExistingCollector.(*collector); ok {
			return existing, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return c, nil
}
