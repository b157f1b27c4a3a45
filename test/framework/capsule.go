// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller"
)

// ClientOf returns a client for the kinds of Kubernetes and of Tenants.
func ClientOf(tb testing.TB, config *rest.Config) client.WithWatch {
	tb.Helper()
	scheme, err := controller.NewScheme()
	require.NoError(tb, err)
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	require.NoError(tb, err)
	return c
}

// CreateTenant makes a Tenant, and returns it when the controller has seen it. When the
// test is over it is deleted, with all that belongs to it.
func (s *System) CreateTenant(tb testing.TB, name string, spec capsulev1beta2.TenantSpec) *capsulev1beta2.Tenant {
	tb.Helper()
	tenant := &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
	require.NoError(tb, ClientOf(tb, s.AdminConfig(tb)).Create(tb.Context(), tenant))
	tb.Cleanup(func() { s.DeleteTenant(tb, name) })
	// Webhooks answer from a cache.
	s.AwaitKnown(tb, tenant)
	return tenant
}

// AwaitKnown waits until the controller has seen the present spec of a Tenant.
func (s *System) AwaitKnown(tb testing.TB, tenant *capsulev1beta2.Tenant) {
	tb.Helper()
	c, key := ClientOf(tb, s.AdminConfig(tb)), client.ObjectKeyFromObject(tenant)
	AwaitWithin(tb, Eventually, "observed generation of tenant "+tenant.Name, tenant.Generation, func(ctx context.Context) (int64, error) {
		var is capsulev1beta2.Tenant
		err := c.Get(ctx, key, &is)
		return is.Status.ObservedGeneration, err
	})
}

// DeleteTenant deletes a Tenant, if there is one, and waits until it is gone and all
// that belongs to it.
func (s *System) DeleteTenant(tb testing.TB, name string) {
	tb.Helper()
	c, ctx := ClientOf(tb, s.AdminConfig(tb)), context.WithoutCancel(tb.Context())
	tenant := &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name}}
	require.NoError(tb, client.IgnoreNotFound(c.Delete(ctx, tenant)))
	s.AwaitGone(tb, tenant)
	AwaitWithin(tb, Gone, "end of the namespaces of tenant "+name, []string{}, func(ctx context.Context) ([]string, error) {
		return NamespacesOf(ctx, c, name)
	})
	AwaitWithin(tb, Gone, "end of the compiled access of tenant "+name, []string{}, func(ctx context.Context) ([]string, error) {
		return CompiledFor(ctx, c, name)
	})
}

// AwaitGone waits until an object is no more.
func (s *System) AwaitGone(tb testing.TB, object client.Object) {
	tb.Helper()
	c, key := ClientOf(tb, s.AdminConfig(tb)), client.ObjectKeyFromObject(object)
	uid := object.GetUID()
	AwaitWithin(tb, Gone, fmt.Sprintf("deletion of %T %s", object, key), true, func(ctx context.Context) (bool, error) {
		err := c.Get(ctx, key, object)
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return err == nil && uid != "" && object.GetUID() != uid, err
	})
}

// AwaitAccess waits until the API server allows, or refuses, a user something.
func (s *System) AwaitAccess(tb testing.TB, user string, groups []string, want bool, attributes authorizationv1.ResourceAttributes) {
	tb.Helper()
	reviews := s.Admin(tb).AuthorizationV1().SubjectAccessReviews()
	groups = append(slices.Clone(groups), "system:authenticated")
	AwaitWithin(tb, Eventually, fmt.Sprintf("whether %s may %+v", user, attributes), want, func(ctx context.Context) (bool, error) {
		review, err := reviews.Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: user, Groups: groups, ResourceAttributes: &attributes},
		}, metav1.CreateOptions{})
		if err != nil {
			return false, err
		}
		return review.Status.Allowed, nil
	})
}

// NamespacesOf returns the names of the namespaces that say they are the tenant's.
func NamespacesOf(ctx context.Context, c client.Client, tenant string) ([]string, error) {
	var list corev1.NamespaceList
	err := c.List(ctx, &list, client.MatchingLabels{capsulev1beta2.TenantLabel: tenant})
	names := make([]string, 0, len(list.Items))
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names, err
}

// CompiledFor returns the names of the cluster-wide roles and bindings of a tenant.
func CompiledFor(ctx context.Context, c client.Client, tenant string) ([]string, error) {
	names := []string{}
	var roles rbacv1.ClusterRoleList
	var bindings rbacv1.ClusterRoleBindingList
	of := client.MatchingLabels{capsulev1beta2.TenantLabel: tenant}
	err := errors.Join(c.List(ctx, &roles, of), c.List(ctx, &bindings, of))
	for i := range roles.Items {
		names = append(names, "ClusterRole "+roles.Items[i].Name)
	}
	for i := range bindings.Items {
		names = append(names, "ClusterRoleBinding "+bindings.Items[i].Name)
	}
	return names, err
}
