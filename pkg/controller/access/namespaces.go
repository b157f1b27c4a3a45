// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/tenant"
)

// NamespaceReader is the ClusterRole that lets who is bound to it in a namespace
// get that namespace. It comes with the controller's manifests.
const NamespaceReader = "tenancy:namespace-reader"

// namespaceReconciler lets the owners of a Tenant get its namespaces, whatever
// ClusterRoles they have there. A RoleBinding in each namespace does it: names of
// namespaces in a ClusterRole would have to be taken out before somebody else can
// make a namespace of that name.
type namespaceReconciler struct {
	tenants tenantFinder
	owners  *owners.Resolver
	// reader reads namespaces, bindings the RoleBindings with our label.
	reader, bindings client.Reader
	writer           client.Writer
}

// Reconcile implements reconcile.Reconciler.
func (r *namespaceReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	namespace := objects.Metadata(objects.NamespaceKind)
	if err := r.reader.Get(ctx, req.NamespacedName, namespace); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	t, err := objects.TenantOf(ctx, r.tenants.reader, namespace)
	if err != nil {
		return ctrl.Result{}, err
	}
	var present rbacv1.RoleBindingList
	if err := r.bindings.List(ctx, &present, client.InNamespace(namespace.Name), client.MatchingLabels{Label: namespaceReader}); err != nil {
		return ctrl.Result{}, fmt.Errorf("list rolebindings: %w", err)
	}
	var subjects []rbacv1.Subject
	if t != nil {
		owners, err := r.owners.Of(ctx, t)
		if err != nil {
			return ctrl.Result{}, err
		}
		subjects = subjectsOfOwners(owners)
	}
	// What another Tenant, or another life of this one, left goes first. Where there
	// are no owners there is no binding: an empty list would leave the subjects that
	// somebody else has applied, too.
	var current *rbacv1.RoleBinding
	for i := range present.Items {
		binding := &present.Items[i]
		if len(subjects) > 0 && binding.Name == readerName(t) && binding.RoleRef == readerRef && controllerUID(binding) == t.UID {
			current = binding
			continue
		}
		if err := client.IgnoreNotFound(r.writer.Delete(ctx, binding, client.Preconditions{UID: &binding.UID})); err != nil {
			return ctrl.Result{}, fmt.Errorf("delete rolebinding %s: %w", binding.Name, err)
		}
	}
	// Nothing can be made in a namespace that is going away; what is there is its
	// owners' to the end.
	if len(subjects) == 0 || current == nil && namespace.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	if err := r.apply(ctx, t, namespace.Name, current, subjects); err != nil && !objects.IsNamespaceGone(err) {
		return retryConflict(fmt.Errorf("write rolebinding %s: %w", readerName(t), err))
	}
	return ctrl.Result{}, nil
}

// apply makes the RoleBinding say what it should, unless it does.
func (r *namespaceReconciler) apply(ctx context.Context, t *capsulev1beta2.Tenant, namespace string, current *rbacv1.RoleBinding, subjects []rbacv1.Subject) error {
	o := tenantOwner(t)
	labels := o.marked()
	labels[Label] = namespaceReader
	if current != nil && equality.Semantic.DeepEqual(current.Subjects, subjects) && current.Labels[capsulev1beta2.TenantLabel] == t.Name {
		return nil
	}
	if current == nil {
		// To create an object takes the API server half the time of applying it.
		err := r.writer.Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace, Name: readerName(t), Labels: labels,
				OwnerReferences: []metav1.OwnerReference{{
					APIVersion: o.gvk.GroupVersion().String(), Kind: o.gvk.Kind, Name: o.name, UID: o.uid, Controller: new(true),
				}},
			},
			RoleRef: readerRef, Subjects: subjects,
		}, client.FieldOwner(objects.FieldManager))
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	configuration := rbacv1ac.RoleBinding(readerName(t), namespace).WithLabels(labels).WithOwnerReferences(o.reference()).
		WithRoleRef(rbacv1ac.RoleRef().WithAPIGroup(readerRef.APIGroup).WithKind(readerRef.Kind).WithName(readerRef.Name))
	for _, subject := range subjects {
		configuration.WithSubjects(subjectApplyConfiguration(subject))
	}
	options := []client.ApplyOption{client.FieldOwner(objects.FieldManager)}
	if current != nil {
		configuration.WithResourceVersion(current.ResourceVersion)
		options = append(options, client.ForceOwnership)
	}
	return asForeign(r.writer.Apply(ctx, configuration, options...))
}

// subjectsOfOwners returns the owners whose names can be understood, in order.
func subjectsOfOwners(owners []capsulev1beta2.CoreOwnerSpec) []rbacv1.Subject {
	var subjects []rbacv1.Subject
	for _, o := range owners {
		if subject, err := tenant.Subject(o.UserSpec); err == nil {
			subjects = append(subjects, subject)
		}
	}
	slices.SortFunc(subjects, tenant.CompareSubjects)
	return subjects
}

var readerRef = rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: NamespaceReader}

func readerName(t *capsulev1beta2.Tenant) string { return tenantPrefix + t.Name }
