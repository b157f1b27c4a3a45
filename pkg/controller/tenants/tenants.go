// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package tenants says in the status of each Tenant what became of it, in events
// what an administrator should know, and in metrics how it is.
//
// Invariants:
//   - The status is computed from the Tenant, the cached objects and the reports of
//     other reconcilers, and only told: nobody decides by it.
//   - It is written when it differs from what is there, as a whole, at most once for a
//     batch of changes, and the less often the longer it takes: its lists are as long
//     as the tenant is large.
//   - The namespaceReservations in it are the webhook's and are never touched.
//   - An event is recorded when what it says has changed, not when it was looked at.
package tenants

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/controller/report"
	"tenancy.capsule.io/pkg/controller/usage"
	"tenancy.capsule.io/pkg/tenant"
)

// Name is the name of the controller.
const Name = "tenants"

// Kind is the kind of Tenants.
var Kind = capsulev1beta2.SchemeGroupVersion.WithKind(tenant.Kind)

type reconciler struct {
	objects.Applier
	owners   *owners.Resolver
	reports  *report.Store
	recorder events.EventRecorder
	metrics  *collector
	usage    *usage.Collector
	clock    clock.PassiveClock
	pace     *pace
}

// Reconcile writes the status of one Tenant.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	t := &capsulev1beta2.Tenant{}
	if err := r.Get(ctx, request.NamespacedName, t, client.UnsafeDisableDeepCopy); err != nil {
		if client.IgnoreNotFound(err) != nil {
			return reconcile.Result{}, fmt.Errorf("get tenant: %w", err)
		}
		r.reports.Forget(request.Name, "")
		r.metrics.forget(request.Name)
		r.usage.Set(request.Name, Name, nil)
		return reconcile.Result{}, nil
	}
	r.reports.Forget(t.Name, t.UID)
	found, err := r.look(ctx, t)
	if err != nil {
		return reconcile.Result{}, err
	}
	wanted := status(t, found)
	if !isRight(&t.Status, wanted) {
		if rest := r.pace.rest(t.UID); rest > 0 && t.Status.ObservedGeneration == t.Generation {
			return reconcile.Result{RequeueAfter: rest}, nil
		}
		log.FromContext(ctx).V(2).Info("Write status", "size", wanted.Size)
		begun := r.clock.Now()
		if err := r.ApplyStatus(ctx, Kind, t, wanted); err != nil {
			return reconcile.Result{}, fmt.Errorf("write status: %w", err)
		}
		r.pace.wrote(t.UID, begun)
		r.tell(t, wanted)
	}
	r.metrics.set(t, wanted)
	r.usage.Set(t.Name, Name, usageOf(t, wanted))
	return reconcile.Result{}, nil
}

// look collects what the status is about.
func (r *reconciler) look(ctx context.Context, t *capsulev1beta2.Tenant) (observation, error) {
	found := observation{reports: r.reports.Of(tenant.RefOf(t)), classes: map[schema.GroupVersionKind][]metav1.PartialObjectMetadata{}, now: r.clock.Now()}
	var err error
	if found.owners, err = r.owners.Of(ctx, t); err != nil {
		return found, err
	}
	if found.promotions, err = r.owners.PromotionsOf(ctx, t); err != nil {
		return found, err
	}
	if found.namespaces, err = objects.NamespacesOf(ctx, r, t); err != nil {
		return found, err
	}
	for i := range classKinds {
		kind := classKinds[i].kind
		list := objects.MetadataList(kind)
		if err := r.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return found, fmt.Errorf("list %s: %w", kind.Kind, err)
		}
		found.classes[kind] = list.Items
	}
	return found, nil
}

// Add registers the controller, which shows what others report about Tenants.
func Add(mgr ctrl.Manager, owners *owners.Resolver, reports *report.Store) error {
	collector, err := register(metrics.Registry)
	if err != nil {
		return err
	}
	used, err := usage.Register(metrics.Registry)
	if err != nil {
		return err
	}
	r := &reconciler{
		Applier:  objects.Applier{Client: mgr.GetClient(), Live: mgr.GetAPIReader()},
		owners:   owners,
		reports:  reports,
		recorder: mgr.GetEventRecorder(objects.FieldManager),
		metrics:  collector,
		usage:    used,
		clock:    clock.RealClock{},
		pace:     newPace(clock.RealClock{}),
	}
	return r.watch(mgr)
}
