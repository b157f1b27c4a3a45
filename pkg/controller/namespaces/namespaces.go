// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package namespaces makes in each namespace of a Tenant what the Tenant wants there:
// labels and annotations, NetworkPolicies, LimitRanges, ResourceQuotas and
// NamespacePolicies, and RoleBindings of its owners and whom else it names.
//
// Invariants:
//   - Which Tenant a namespace belongs to is asked of the namespace, and whether
//     that Tenant lives, of the Tenant: never of a status.
//   - What is as it should be is not written. What is new is written before what is
//     left over goes, so that a change leaves no gap; what is left over goes even if
//     something new could not be written, but for what says the same by another
//     name.
//   - What limits a namespace is there before its owners can use it: while something
//     of it is missing and cannot be made, for whatever reason, an object of somebody
//     else by its name included, there are no new RoleBindings. Those that are there
//     stay, are changed, and go when they are not wanted.
//   - In a namespace that is being deleted nothing is touched: owners need their
//     roles to clear what blocks it.
//   - Objects of others are left alone, whatever their names.
package namespaces

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/lru"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/controller/report"
	"tenancy.capsule.io/pkg/tenant"
)

// Name is the name of the controller, and of what it reports.
const Name = "namespaces"

const (
	// refusalDelay is how long to wait, at least, after somebody else has to act.
	refusalDelay = 2 * time.Minute
	// staleDelay is how long the cache is given to learn of what somebody else wrote.
	staleDelay = time.Second
)

// rememberedTenants is for how many Tenants it is kept computed what they want.
const rememberedTenants = 4096

type reconciler struct {
	objects.Applier
	owners  *owners.Resolver
	reports *report.Store
	// phases are the kinds in the order in which they are written.
	phases [][]*kind
	// wanted holds, by revision, what Tenants want; callers must not modify it.
	wanted *lru.Cache
}

// wants is what a Tenant wants in each of its namespaces, by kind and name.
type wants map[*kind]map[string]client.Object

// revision is one state of the spec of a Tenant, and of who else owns it.
type revision struct {
	uid        types.UID
	generation int64
	owners     string
}

func newReconciler(c client.Client, live client.Reader, owners *owners.Resolver, reports *report.Store) *reconciler {
	return &reconciler{
		Applier: objects.Applier{Client: c, Live: live},
		owners:  owners,
		reports: reports,
		phases:  kinds(),
		wanted:  lru.New(rememberedTenants),
	}
}

// Reconcile makes one namespace have what it should.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	namespace, err := r.namespace(ctx, request.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	if namespace == nil || namespace.DeletionTimestamp != nil {
		r.reports.ForgetNamespace(request.Name, tenant.Ref{})
		return reconcile.Result{}, nil
	}
	t, err := objects.TenantOf(ctx, r, namespace)
	if err != nil {
		return reconcile.Result{}, err
	}
	var ref tenant.Ref
	var wanted wants
	if t != nil {
		ref = tenant.RefOf(t)
		if wanted, err = r.wantedBy(ctx, t); err != nil {
			return reconcile.Result{}, err
		}
	}
	r.reports.ForgetNamespace(namespace.Name, ref)
	var leftovers, unmade []change
	var refusals, failures []error
	var waits error
	stale, limited := false, true
	// First of all: it says what pods may be, where pod security is enforced.
	if err := r.mark(ctx, t, namespace); err != nil {
		limited = false
		if stale = apierrors.IsConflict(err); !stale {
			failures = append(failures, err)
		}
	}
	for _, phase := range r.phases {
		var missing []change
		for _, k := range phase {
			present, err := k.present(ctx, r, namespace.Name)
			if err != nil {
				return reconcile.Result{}, err
			}
			needed, old := k.changes(present, wanted[k])
			missing, leftovers = append(missing, needed...), append(leftovers, old...)
		}
		if !limited {
			var waiting []change
			if missing, waiting = known(missing); len(waiting) > 0 {
				waits = fmt.Errorf("new %ss wait for that", waiting[0].kind.gvk.Kind)
				unmade = append(unmade, waiting...)
			}
		}
		for i, err := range r.write(ctx, namespace.Name, missing) {
			if objects.IsNamespaceGone(err) {
				// Its own event says so, too. Another one may have its name by now.
				return reconcile.Result{}, nil
			}
			if err == nil {
				continue
			}
			limited = limited && missing[i].stays()
			unmade = append(unmade, missing[i])
			_, refused := errors.AsType[*refusal](err)
			switch {
			case refused:
				refusals = append(refusals, err)
			case apierrors.IsConflict(err):
				stale = true
			default:
				failures = append(failures, err)
			}
		}
	}
	for _, c := range unmade {
		leftovers = slices.DeleteFunc(leftovers, c.standsIn)
	}
	failures = append(failures, r.prune(ctx, leftovers))
	refused, failed := errors.Join(refusals...), errors.Join(failures...)
	if t != nil {
		reported := errors.Join(refused, failed)
		if reported != nil {
			reported = errors.Join(reported, waits)
		}
		r.reports.Set(ref, Name, namespace.Name, reported)
	}
	switch {
	case failed != nil:
		return reconcile.Result{}, failed
	case stale:
		return reconcile.Result{RequeueAfter: staleDelay}, nil
	case refused != nil:
		log.FromContext(ctx).V(2).Info("Refused until somebody acts", "reason", refused.Error())
		return reconcile.Result{RequeueAfter: wait.Jitter(refusalDelay, 1)}, nil
	default:
		return reconcile.Result{}, nil
	}
}

// known returns the changes of objects that are there, and those that make new ones.
func known(changes []change) (present, unknown []change) {
	for _, c := range changes {
		if c.is != nil {
			present = append(present, c)
		} else {
			unknown = append(unknown, c)
		}
	}
	return present, unknown
}

// namespace returns the metadata of a namespace, or nil if there is none. It is the
// cache's own.
func (r *reconciler) namespace(ctx context.Context, name string) (*metav1.PartialObjectMetadata, error) {
	namespace := objects.Metadata(objects.NamespaceKind)
	if err := r.Get(ctx, client.ObjectKey{Name: name}, namespace, client.UnsafeDisableDeepCopy); err != nil {
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get namespace %s: %w", name, err)
		}
		return nil, nil
	}
	return namespace, nil
}

// wantedBy returns what a Tenant wants.
func (r *reconciler) wantedBy(ctx context.Context, t *capsulev1beta2.Tenant) (wants, error) {
	owners, err := r.owners.Of(ctx, t)
	if err != nil {
		return nil, err
	}
	key := revision{t.UID, t.Generation, fmt.Sprintf("%q", owners)}
	if known, ok := r.wanted.Get(key); ok {
		return known.(wants), nil //nolint:forcetypeassert // nothing else is put in
	}
	wanted := wants{}
	for _, phase := range r.phases {
		for _, k := range phase {
			wanted[k] = k.wanted(t, owners)
		}
	}
	r.wanted.Add(key, wanted)
	return wanted, nil
}

// write writes what is missing or not as it should be. One object that fails does
// not keep the others of its phase from being written. It returns the error of each.
func (r *reconciler) write(ctx context.Context, namespace string, changes []change) []error {
	return objects.InParallel(changes, func(c change) error {
		err := r.writeOne(ctx, namespace, c)
		if objects.IsNamespaceGone(err) {
			return err
		}
		return c.kind.explained(err, c.want)
	})
}

func (r *reconciler) writeOne(ctx context.Context, namespace string, c change) error {
	log.FromContext(ctx).V(4).Info("Write", "kind", c.kind.gvk.Kind, "object", c.want.GetName(), "new", c.is == nil)
	want := c.want.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy has the type of the original
	want.SetNamespace(namespace)
	switch {
	case c.is == nil:
	case c.kind.canBecome(c.is, c.want):
		return c.kind.change(ctx, r.Applier, c.is, want)
	default:
		if err := r.DeleteExactly(ctx, c.is); err != nil {
			return fmt.Errorf("delete what cannot be changed: %w", err)
		}
	}
	return c.kind.create(ctx, r.Applier, want)
}

// prune deletes what nothing wants.
func (r *reconciler) prune(ctx context.Context, leftovers []change) error {
	return errors.Join(objects.InParallel(leftovers, func(c change) error {
		log.FromContext(ctx).V(4).Info("Delete", "kind", c.kind.gvk.Kind, "object", c.is.GetName())
		if err := r.DeleteExactly(ctx, c.is); err != nil {
			return fmt.Errorf("delete %s %s: %w", c.kind.gvk.Kind, c.is.GetName(), err)
		}
		return nil
	})...)
}

// wantedAs returns the object that should be where this one is, if any.
func (r *reconciler) wantedAs(ctx context.Context, k *kind, object client.Object) client.Object {
	namespace, err := r.namespace(ctx, object.GetNamespace())
	if err != nil || namespace == nil {
		return nil
	}
	t, err := objects.TenantOf(ctx, r, namespace)
	if err != nil || t == nil {
		return nil
	}
	wanted, err := r.wantedBy(ctx, t)
	if err != nil {
		return nil
	}
	return wanted[k][object.GetName()]
}

// Add registers the controller.
func Add(mgr ctrl.Manager, owners *owners.Resolver, reports *report.Store) error {
	return newReconciler(mgr.GetClient(), mgr.GetAPIReader(), owners, reports).watch(mgr)
}
