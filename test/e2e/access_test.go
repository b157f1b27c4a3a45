// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// putRole makes a ClusterRole, for the time of a test, allow to get native objects:
// those of the names, or all if there are none.
func (k kind) putRole(t *testing.T, role string, names ...string) {
	t.Helper()
	client := system.Admin(t).RbacV1().ClusterRoles()
	wanted := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: role},
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{k.native.Group}, Resources: []string{k.native.Resource}, Verbs: []string{"get"}, ResourceNames: names,
		}},
	}
	_, err := client.Update(t.Context(), wanted, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = client.Create(t.Context(), wanted, metav1.CreateOptions{})
		t.Cleanup(func() { _ = client.Delete(context.WithoutCancel(t.Context()), role, metav1.DeleteOptions{}) })
	}
	require.NoError(t, err)
}

// bindRole binds a ClusterRole to the user of the same name, for the time of a test.
func bindRole(t *testing.T, role string) {
	t.Helper()
	client := system.Admin(t).RbacV1().ClusterRoleBindings()
	_, err := client.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{user(role)},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Delete(context.WithoutCancel(t.Context()), role, metav1.DeleteOptions{}) })
}

func unbindRole(t *testing.T, role string) {
	t.Helper()
	require.NoError(t, system.Admin(t).RbacV1().ClusterRoleBindings().Delete(t.Context(), role, metav1.DeleteOptions{}))
}

// awaitDeleted waits until a native object is gone.
func (k kind) awaitDeleted(t *testing.T, name string) {
	t.Helper()
	client := k.client(t)
	require.NoError(t, wait.PollUntilContextTimeout(t.Context(), tick, streaming, true, func(ctx context.Context) (bool, error) {
		_, err := client.Get(ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	}), "%s %s was not deleted", k, name)
}

// TestRoleBindingShowsNoClusterScopedObject binds, in a namespace, a role that
// allows to get everything of a name: that shows the namespace of the name, and
// nothing else that bears it.
func TestRoleBindingShowsNoClusterScopedObject(t *testing.T) {
	t.Parallel()
	const name = "bound-within"
	rule := rbacv1.PolicyRule{APIGroups: []string{rbacv1.APIGroupAll}, Resources: []string{rbacv1.ResourceAll}, Verbs: []string{rbacv1.VerbAll}}
	named := rule
	named.ResourceNames = []string{name}
	createNamespace(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	for _, k := range kinds() {
		if k.String() != "namespaces" {
			k.await(t, k.create(t, k.object(name, nil)))
		}
	}
	rbac := system.Admin(t).RbacV1()
	for role, rules := range map[string][]rbacv1.PolicyRule{name + "-every": {rule}, name + "-named": {named}} {
		for _, roleKind := range []string{"Role", "ClusterRole"} {
			viewer := role + "-by-" + roleKind
			meta := metav1.ObjectMeta{Name: viewer}
			var err error
			if roleKind == "Role" {
				_, err = rbac.Roles(name).Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{})
			} else {
				_, err = rbac.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{})
				t.Cleanup(func() {
					_ = rbac.ClusterRoles().Delete(context.WithoutCancel(t.Context()), viewer, metav1.DeleteOptions{})
				})
			}
			require.NoError(t, err)
			_, err = rbac.RoleBindings(name).Create(t.Context(), &rbacv1.RoleBinding{
				ObjectMeta: meta, Subjects: []rbacv1.Subject{user(viewer)},
				RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: roleKind, Name: viewer},
			}, metav1.CreateOptions{})
			require.NoError(t, err)
			config := system.Config(t, viewer)
			require.Eventually(t, func() bool {
				return ask(t, config, http.MethodGet, viewPath+"/"+name, "", "").Code == http.StatusOK
			}, eventually, tick, "the binding of %s does not count", viewer)
			for _, k := range kinds() {
				if k.String() == "namespaces" {
					continue
				}
				require.Equal(t, http.StatusNotFound, ask(t, config, http.MethodGet, k.viewPath()+"/"+name, "", "").Code, "%s of %s", k, viewer)
				listed := ask(t, config, http.MethodGet, k.viewPath(), partialsList, "")
				require.Equal(t, http.StatusOK, listed.Code)
				require.NotContains(t, string(listed.Body), `"name"`, "%s of %s", k, viewer)
			}
		}
	}
}
