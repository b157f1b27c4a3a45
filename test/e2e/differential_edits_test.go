// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

const differentialLabel = "differential-test"

// edit makes one random edit of RBAC, or of a namespace, and says which.
func (d *differential) edit(t *testing.T) string {
	t.Helper()
	start := time.Now()
	defer func() { d.editing += time.Since(start) }()
	// Some namespaces see most edits, so that roles and bindings meet.
	ns := namespaceName(min(d.random.IntN(differentialNamespaces), d.random.IntN(differentialNamespaces), d.random.IntN(differentialNamespaces)))
	switch n := d.random.IntN(100); {
	case n < 30:
		return d.editRoleBinding(t, ns)
	case n < 55:
		return d.editClusterRoleBinding(t)
	case n < 87:
		return d.editClusterRole(t)
	case n < 98:
		return d.editRole(t, ns)
	default:
		return d.recreateNamespace(t, ns)
	}
}

func (d *differential) meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{differentialLabel: "true"}}
}

// remove reports whether an edit of an existing object is to delete it.
func (d *differential) remove() bool { return d.random.IntN(3) == 0 }

func (d *differential) editRoleBinding(t *testing.T, ns string) string {
	t.Helper()
	client := d.admin.RbacV1().RoleBindings(ns)
	name := fmt.Sprintf("rb-%d", d.random.IntN(3))
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: d.clusterRoleName()}
	if d.random.IntN(2) == 0 {
		ref.Kind, ref.Name = "Role", d.roleName()
	}
	wanted := &rbacv1.RoleBinding{ObjectMeta: d.meta(ns, name), RoleRef: ref, Subjects: d.subjects()}
	return put(t, "RoleBinding "+ns+"/"+name, d.remove(), wanted, client, func(present *rbacv1.RoleBinding) bool {
		// A roleRef cannot be changed.
		wanted.ResourceVersion = present.ResourceVersion
		return present.RoleRef == ref
	})
}

func (d *differential) editClusterRoleBinding(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("crb-%d", d.random.IntN(8))
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: d.clusterRoleName()}
	wanted := &rbacv1.ClusterRoleBinding{ObjectMeta: d.meta("", name), RoleRef: ref, Subjects: d.subjects()}
	return put(t, "ClusterRoleBinding "+name, d.remove(), wanted, d.admin.RbacV1().ClusterRoleBindings(), func(present *rbacv1.ClusterRoleBinding) bool {
		wanted.ResourceVersion = present.ResourceVersion
		return present.RoleRef == ref
	})
}

func (d *differential) editClusterRole(t *testing.T) string {
	t.Helper()
	wanted := &rbacv1.ClusterRole{ObjectMeta: d.meta("", pick(d, "diff-a", "diff-b", "diff-c", "diff-d")), Rules: d.rules()}
	return put(t, "ClusterRole "+wanted.Name, d.remove(), wanted, d.admin.RbacV1().ClusterRoles(), func(present *rbacv1.ClusterRole) bool {
		wanted.ResourceVersion = present.ResourceVersion
		return true
	})
}

func (d *differential) editRole(t *testing.T, ns string) string {
	t.Helper()
	wanted := &rbacv1.Role{ObjectMeta: d.meta(ns, d.roleName()), Rules: d.rules()}
	return put(t, "Role "+ns+"/"+wanted.Name, d.remove(), wanted, d.admin.RbacV1().Roles(ns), func(present *rbacv1.Role) bool {
		wanted.ResourceVersion = present.ResourceVersion
		return true
	})
}

// recreateNamespace deletes a namespace with all that is in it, and makes one of
// the same name, to which nothing that was granted in the first one applies.
func (d *differential) recreateNamespace(t *testing.T, ns string) string {
	t.Helper()
	namespaces := d.admin.CoreV1().Namespaces()
	require.NoError(t, namespaces.Delete(t.Context(), ns, metav1.DeleteOptions{}))
	require.NoError(t, wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := namespaces.Get(ctx, ns, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	}), "namespace %s was not deleted", ns)
	d.createNamespace(t, ns)
	return "Namespace " + ns + " recreated"
}

// client is what the typed clients of the RBAC kinds have in common.
type client[T any] interface {
	Get(context.Context, string, metav1.GetOptions) (T, error)
	Create(context.Context, T, metav1.CreateOptions) (T, error)
	Update(context.Context, T, metav1.UpdateOptions) (T, error)
	Delete(context.Context, string, metav1.DeleteOptions) error
}

// put creates the wanted object, or deletes the present one, or updates it if
// update allows that, or deletes it and creates the wanted one.
func put[T metav1.Object](t *testing.T, what string, remove bool, wanted T, c client[T], update func(present T) bool) string {
	t.Helper()
	ctx, name := t.Context(), wanted.GetName()
	present, err := c.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = c.Create(ctx, wanted, metav1.CreateOptions{})
		what += " created"
	case err != nil:
	case remove:
		err = c.Delete(ctx, name, metav1.DeleteOptions{})
		what += " deleted"
	case update(present):
		_, err = c.Update(ctx, wanted, metav1.UpdateOptions{})
		what += " updated"
	default:
		if err = c.Delete(ctx, name, metav1.DeleteOptions{}); err == nil {
			wanted.SetResourceVersion("")
			_, err = c.Create(ctx, wanted, metav1.CreateOptions{})
		}
		what += " replaced"
	}
	require.NoError(t, err, what)
	return what
}

// clusterRoleName returns what bindings refer to: roles that edits change, one
// that they do not, and one that never exists.
func (d *differential) clusterRoleName() string {
	return pick(d, "diff-a", "diff-b", "diff-c", "diff-d", "view", "diff-missing")
}

func (d *differential) roleName() string { return pick(d, "role-a", "role-b", "view") }

// subjects returns up to three subjects, some of which match nobody.
func (d *differential) subjects() []rbacv1.Subject {
	var subjects []rbacv1.Subject
	for range 1 + d.random.IntN(3) {
		switch d.random.IntN(4) {
		case 0, 1:
			subjects = append(subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: pick(d, d.identities...).user})
		case 2:
			subjects = append(subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: pick(d,
				fmt.Sprintf("group-%d", d.random.IntN(8)), fmt.Sprintf("group-%d", d.random.IntN(8)),
				"system:serviceaccounts", "system:serviceaccounts:"+namespaceName(1), "group-without-members")})
		default:
			i := d.random.IntN(8)
			subjects = append(subjects, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespaceName(i % 4), Name: fmt.Sprintf("sa-%d", i)})
		}
	}
	return subjects
}

// rules returns up to three rules, most of which speak of namespaces.
func (d *differential) rules() []rbacv1.PolicyRule {
	var rules []rbacv1.PolicyRule
	for range d.random.IntN(4) {
		rule := rbacv1.PolicyRule{
			Verbs:     some(d, 1, 2, "get", "get", "get", "get", "list", "watch", "update", "*"),
			APIGroups: some(d, 1, 2, "", "", "", "apps", "*"),
			Resources: some(d, 1, 3, "namespaces", "namespaces", "namespaces", "pods", "namespaces/status", "*", "*/status"),
		}
		if d.random.IntN(6) > 0 {
			var names []string
			for range 1 + d.random.IntN(4) {
				names = append(names, namespaceName(d.random.IntN(differentialNamespaces)))
			}
			rule.ResourceNames = append(names, "absent")
		}
		rules = append(rules, rule)
	}
	return rules
}
