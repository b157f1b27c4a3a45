// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package namespaces binds the owners of a Tenant, and whom else it names, to their
// ClusterRoles in each of its namespaces.
//
// Invariants:
//   - Which Tenant a namespace belongs to is asked of the namespace, and whether
//     that Tenant lives, of the Tenant: never of a status.
//   - A RoleBinding that is as it should be is not written. What is new is written
//     before what is left over goes, so that a change leaves no gap; what is left
//     over goes even if something new could not be written.
//   - In a namespace that is being deleted nothing is touched: owners need their
//     roles to clear what blocks it.
//   - RoleBindings of others are left alone, whatever their names.
package namespaces

import (
	"context"
	"errors"
	"fmt"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
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

// refusalDelay is how long to wait, at least, after somebody else has to act.
const refusalDelay = 2 * time.Minute

// rememberedTenants is for how many Tenants their RoleBindings are kept computed.
const rememberedTenants = 4096

type reconciler struct {
	objects.Applier
	owners  *owners.Resolver
	reports *report.Store
	// wanted holds, by revision, the RoleBindings of Tenants; callers must not
	// modify them.
	wanted *lru.Cache
}

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
		wanted:  lru.New(rememberedTenants),
	}
}

// Reconcile makes the RoleBindings of one namespace what they should be.
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
	present, err := r.present(ctx, namespace.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	if t == nil {
		r.reports.ForgetNamespace(namespace.Name, tenant.Ref{})
		_, leftovers := changes(present, nil)
		return reconcile.Result{}, r.prune(ctx, leftovers)
	}
	wanted, err := r.wantedBy(ctx, t)
	if err != nil {
		return reconcile.Result{}, err
	}
	missing, leftovers := changes(present, wanted)
	refused, failed := r.write(ctx, namespace.Name, missing)
	failed = errors.Join(failed, r.prune(ctx, leftovers))
	r.reports.ForgetNamespace(namespace.Name, tenant.RefOf(t))
	r.reports.Set(tenant.RefOf(t), Name, namespace.Name, errors.Join(refused, failed))
	if refused != nil && failed == nil {
		log.FromContext(ctx).V(2).Info("RoleBindings are refused until somebody acts", "reason", refused.Error())
		return reconcile.Result{RequeueAfter: wait.Jitter(refusalDelay, 1)}, nil
	}
	return reconcile.Result{}, failed
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

// present returns the managed RoleBindings of a namespace by name. They are the
// cache's own.
func (r *reconciler) present(ctx context.Context, namespace string) (map[string]*rbacv1.RoleBinding, error) {
	var list rbacv1.RoleBindingList
	if err := r.List(ctx, &list, client.InNamespace(namespace), client.HasLabels{capsulev1beta2.RoleBindingLabel}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list RoleBindings of namespace %s: %w", namespace, err)
	}
	present := make(map[string]*rbacv1.RoleBinding, len(list.Items))
	for i := range list.Items {
		if isManaged(&list.Items[i]) {
			present[list.Items[i].Name] = &list.Items[i]
		}
	}
	return present, nil
}

// wantedBy returns the RoleBindings of a Tenant by name.
func (r *reconciler) wantedBy(ctx context.Context, t *capsulev1beta2.Tenant) (map[string]*rbacv1.RoleBinding, error) {
	owners, err := r.owners.Of(ctx, t)
	if err != nil {
		return nil, err
	}
	key := revision{t.UID, t.Generation, fmt.Sprintf("%q", owners)}
	if known, ok := r.wanted.Get(key); ok {
		return known.(map[string]*rbacv1.RoleBinding), nil //nolint:forcetypeassert // nothing else is put in
	}
	wanted := map[string]*rbacv1.RoleBinding{}
	for _, binding := range RoleBindings(t, owners) {
		wanted[binding.Name] = &binding
	}
	r.wanted.Add(key, wanted)
	return wanted, nil
}

// write applies what is missing or not as it should be. One RoleBinding that fails
// does not keep the others from being written. It returns what will be refused until
// somebody does something about it, and what else failed.
func (r *reconciler) write(ctx context.Context, namespace string, changes []change) (refused, failed error) {
	var refusals, failures []error
	for _, err := range inParallel(changes, func(c change) error {
		err := r.apply(ctx, namespace, c)
		if objects.IsNamespaceGone(err) {
			// The namespace's own event says so, too.
			return nil
		}
		return explain(err, c.want)
	}) {
		if _, ok := errors.AsType[*refusal](err); ok {
			refusals = append(refusals, err)
		} else {
			failures = append(failures, err)
		}
	}
	return errors.Join(refusals...), errors.Join(failures...)
}

func (r *reconciler) apply(ctx context.Context, namespace string, c change) error {
	log.FromContext(ctx).V(2).Info("Write RoleBinding", "roleBinding", c.want.Name, "clusterRole", c.want.RoleRef.Name, "new", c.is == nil)
	configuration := applyConfiguration(c.want, namespace)
	switch {
	case c.is == nil:
	case canBecome(c.is, c.want):
		return r.ApplyKnown(ctx, configuration, roleBindingKind, c.is)
	default:
		if err := r.DeleteExactly(ctx, c.is); err != nil {
			return fmt.Errorf("delete what cannot be changed: %w", err)
		}
	}
	binding := c.want.DeepCopy()
	binding.Namespace = namespace
	return r.Make(ctx, binding, configuration, roleBindingKind)
}

// prune deletes what nothing wants.
func (r *reconciler) prune(ctx context.Context, leftovers []change) error {
	return errors.Join(inParallel(leftovers, func(c change) error {
		log.FromContext(ctx).V(2).Info("Delete RoleBinding", "roleBinding", c.is.Name, "clusterRole", c.is.RoleRef.Name)
		if err := r.DeleteExactly(ctx, c.is); err != nil {
			return fmt.Errorf("delete RoleBinding %s: %w", c.is.Name, err)
		}
		return nil
	})...)
}

// wantedAs returns the RoleBinding that should be where this one is, if any.
func (r *reconciler) wantedAs(ctx context.Context, binding client.Object) *rbacv1.RoleBinding {
	namespace, err := r.namespace(ctx, binding.GetNamespace())
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
	return wanted[binding.GetName()]
}

// Add registers the controller.
func Add(mgr ctrl.Manager, owners *owners.Resolver, reports *report.Store) error {
	return newReconciler(mgr.GetClient(), mgr.GetAPIReader(), owners, reports).watch(mgr)
}
