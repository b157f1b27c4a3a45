// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package owners

import (
	"context"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

// Queue is the queue of a controller.
type Queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// Change says that an object makes other owners of a Tenant than before.
type Change struct {
	// Tenant is the cache's own, and must not be modified.
	Tenant *capsulev1beta2.Tenant
	// Before and After are whom the object makes owners.
	Before, After []capsulev1beta2.CoreOwnerSpec
}

// Loses reports whether somebody, or one of the ClusterRoles of somebody, is not among
// those any more. Another object may say that they still are.
func (c Change) Loses() bool {
	return slices.ContainsFunc(c.Before, func(was capsulev1beta2.CoreOwnerSpec) bool {
		return !slices.ContainsFunc(c.After, func(is capsulev1beta2.CoreOwnerSpec) bool {
			return is.UserSpec == was.UserSpec && !slices.ContainsFunc(was.ClusterRoles, func(role string) bool {
				return !slices.Contains(is.ClusterRoles, role)
			})
		})
	})
}

// Told is called for each Tenant whose owners an event changes, with the queue of the
// controller that watches.
type Told func(ctx context.Context, q Queue, c Change)

// Watch has a controller told of changes. What is there at the start is no change: its
// Tenants are asked for anyway, and so they are when they change themselves.
func (r *Resolver) Watch(b *builder.Builder, told Told) *builder.Builder {
	b = b.
		Watches(&capsulev1beta2.CapsuleConfiguration{}, r.handler(told, r.byConfiguration)).
		Watches(objects.Metadata(objects.ServiceAccountKind), r.handler(told, r.byAccount)).
		Watches(objects.Metadata(objects.NamespaceKind), r.handler(told, r.byNamespace))
	if r.withTenantOwners {
		b = b.Watches(&capsulev1beta2.TenantOwner{}, r.handler(told, r.byTenantOwner))
	}
	return b
}

// WatchUsers has a controller asked when other TenantOwners count among the capsule
// users than before.
func (r *Resolver) WatchUsers(b *builder.Builder, h handler.EventHandler) *builder.Builder {
	if !r.withTenantOwners {
		return b
	}
	return b.Watches(&capsulev1beta2.TenantOwner{}, h, builder.WithPredicates(predicate.Funcs{UpdateFunc: changesUser}))
}

// changesUser picks the updates of a TenantOwner after which it counts as somebody
// else, or does not count.
func changesUser(e event.UpdateEvent) bool {
	was, ok1 := e.ObjectOld.(*capsulev1beta2.TenantOwner)
	is, ok2 := e.ObjectNew.(*capsulev1beta2.TenantOwner)
	return !ok1 || !ok2 || was.Spec.UserSpec != is.Spec.UserSpec || tenant.IsAggregated(was) != tenant.IsAggregated(is)
}

// changes returns the changes that an event of an object makes, which was and is:
// either may be nil, and is the cache's own.
type changes func(ctx context.Context, was, is client.Object) ([]Change, error)

func (r *Resolver) handler(told Told, by changes) handler.EventHandler {
	tell := func(ctx context.Context, q Queue, was, is client.Object) {
		list, err := by(ctx, was, is)
		if err != nil {
			// The cache answers without fail once it is there.
			utilruntime.HandleErrorWithContext(ctx, err, "Owners changed, and whose they are is not known")
		}
		list = slices.DeleteFunc(list, func(c Change) bool { return equality.Semantic.DeepEqual(c.Before, c.After) })
		if err != nil || len(list) > 0 {
			r.revision.Add(1)
		}
		for _, c := range list {
			told(ctx, q, c)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q Queue) {
			if e.IsInInitialList {
				r.revision.Add(1)
				return
			}
			tell(ctx, q, nil, e.Object)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q Queue) {
			if changesSource(e.ObjectOld, e.ObjectNew) {
				tell(ctx, q, e.ObjectOld, e.ObjectNew)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q Queue) { tell(ctx, q, e.Object, nil) },
	}
}

// changesSource leaves out what says nothing about owners: every status that is
// written, and every sign of life of a namespace.
func changesSource(was, is client.Object) bool {
	return was.GetUID() != is.GetUID() || was.GetGeneration() != is.GetGeneration() ||
		!maps.Equal(was.GetLabels(), is.GetLabels()) ||
		tenant.PromotedFor(was) != tenant.PromotedFor(is) ||
		!equality.Semantic.DeepEqual(was.GetOwnerReferences(), is.GetOwnerReferences())
}

// byTenantOwner asks every Tenant whether it selects a TenantOwner.
func (r *Resolver) byTenantOwner(ctx context.Context, was, is client.Object) ([]Change, error) {
	before, _ := was.(*capsulev1beta2.TenantOwner)
	after, _ := is.(*capsulev1beta2.TenantOwner)
	tenants, err := r.tenants(ctx)
	if err != nil {
		return nil, err
	}
	var list []Change
	for i := range tenants {
		selection := tenant.SelectionOf(&tenants[i])
		owned := func(owner *capsulev1beta2.TenantOwner) []capsulev1beta2.CoreOwnerSpec {
			if owner == nil || !selection.Matches(owner) {
				return nil
			}
			return []capsulev1beta2.CoreOwnerSpec{{UserSpec: owner.Spec.UserSpec, ClusterRoles: tenant.ClusterRoles(owner.Spec.CoreOwnerSpec)}}
		}
		list = append(list, Change{Tenant: &tenants[i], Before: owned(before), After: owned(after)})
	}
	return list, nil
}

// byConfiguration asks every Tenant about its administrators, and about the service
// accounts that want to be its owners.
func (r *Resolver) byConfiguration(ctx context.Context, was, is client.Object) ([]Change, error) {
	before, after := r.spec(was), r.spec(is)
	if before == nil && after == nil {
		return nil, nil
	}
	tenants, err := r.tenants(ctx)
	if err != nil {
		return nil, err
	}
	asking, err := r.asking(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Change, 0, len(tenants))
	for i := range tenants {
		t := &tenants[i]
		var promoted []tenant.Promoted
		if a := asking[t.UID]; a != nil {
			promoted = a.promoted
		}
		owned := func(config *capsulev1beta2.CapsuleConfigurationSpec) []capsulev1beta2.CoreOwnerSpec {
			return append(tenant.PromotedOwners(t, tenant.Sources{Config: config, Promoted: promoted}), tenant.Administrators(config)...)
		}
		list = append(list, Change{Tenant: t, Before: owned(before), After: owned(after)})
	}
	return list, nil
}

// spec returns what a configuration says, if it is the one that counts.
func (r *Resolver) spec(object client.Object) *capsulev1beta2.CapsuleConfigurationSpec {
	if config, ok := object.(*capsulev1beta2.CapsuleConfiguration); ok && config.Name == r.configuration {
		return &config.Spec
	}
	return nil
}

// byAccount asks the Tenant that a service account lives in.
func (r *Resolver) byAccount(ctx context.Context, was, is client.Object) ([]Change, error) {
	object := is
	if object == nil {
		object = was
	}
	t, err := r.tenantOf(ctx, object.GetNamespace())
	if err != nil || t == nil {
		return nil, err
	}
	config, err := r.Configuration(ctx, r.cached)
	if err != nil {
		return nil, err
	}
	owned := func(object client.Object) []capsulev1beta2.CoreOwnerSpec {
		if object == nil || !tenant.IsPromoted(object) {
			return nil
		}
		return promotedBy(t, config, []account{accountOf(object)})
	}
	return []Change{{Tenant: t, Before: owned(was), After: owned(is)}}, nil
}

// byNamespace asks the Tenants whose a namespace was, and is, about the service
// accounts in it.
func (r *Resolver) byNamespace(ctx context.Context, was, is client.Object) ([]Change, error) {
	object := is
	if object == nil {
		object = was
	}
	accounts, err := r.accounts(ctx, client.InNamespace(object.GetName()))
	if err != nil || len(accounts) == 0 {
		return nil, err
	}
	config, err := r.Configuration(ctx, r.cached)
	if err != nil {
		return nil, err
	}
	var before, after *capsulev1beta2.Tenant
	if was != nil {
		if before, err = objects.TenantOf(ctx, r.cached, was); err != nil {
			return nil, err
		}
	}
	if is != nil {
		if after, err = objects.TenantOf(ctx, r.cached, is); err != nil {
			return nil, err
		}
	}
	if before != nil && after != nil && before.UID == after.UID {
		return nil, nil
	}
	var list []Change
	if before != nil {
		list = append(list, Change{Tenant: before, Before: promotedBy(before, config, accounts)})
	}
	if after != nil {
		list = append(list, Change{Tenant: after, After: promotedBy(after, config, accounts)})
	}
	return list, nil
}

// promotedBy returns what service accounts in a Tenant's namespaces, which have the
// label, are by it, as if there were no others.
func promotedBy(t *capsulev1beta2.Tenant, config *capsulev1beta2.CapsuleConfigurationSpec, accounts []account) []capsulev1beta2.CoreOwnerSpec {
	s := tenant.Sources{Config: config}
	for _, a := range accounts {
		s.Promoted = append(s.Promoted, a.in(t))
	}
	return tenant.PromotedOwners(t, s)
}

// tenants returns all Tenants. They are the cache's own.
func (r *Resolver) tenants(ctx context.Context) ([]capsulev1beta2.Tenant, error) {
	var list capsulev1beta2.TenantList
	err := r.cached.List(ctx, &list, client.UnsafeDisableDeepCopy)
	return list.Items, err
}
