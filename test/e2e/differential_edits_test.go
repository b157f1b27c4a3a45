// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
)

const differentialLabel = "differential-test"

// edit makes one random edit of RBAC, or of an object, and says which, and the
// rules that it may have put in or out of force.
func (d *differential) edit(t *testing.T) (string, []rbacv1.PolicyRule) {
	t.Helper()
	start := time.Now()
	defer func() { d.editing += time.Since(start) }()
	// Some namespaces see most edits, so that roles and bindings meet.
	ns := differentialName(min(d.random.IntN(differentialNamespaces), d.random.IntN(differentialNamespaces), d.random.IntN(differentialNamespaces)))
	switch n := d.random.IntN(100); {
	case n < 25:
		return d.editRoleBinding(t, ns)
	case n < 54:
		return d.editClusterRoleBinding(t)
	case n < 88:
		return d.editClusterRole(t)
	case n < 95:
		return d.editRole(t, ns)
	case n < 98:
		return d.recreateObject(t, pick(d, d.kinds[1:]...))
	default:
		return d.recreateNamespace(t, ns)
	}
}

func (d *differential) meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{differentialLabel: "true"}}
}

// remove reports whether an edit of an existing object is to delete it.
func (d *differential) remove() bool { return d.random.IntN(3) == 0 }

func (d *differential) editRoleBinding(t *testing.T, ns string) (string, []rbacv1.PolicyRule) {
	t.Helper()
	client := d.admin.RbacV1().RoleBindings(ns)
	name := fmt.Sprintf("rb-%d", d.random.IntN(3))
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: d.clusterRoleName()}
	if d.random.IntN(2) == 0 {
		ref.Kind, ref.Name = "Role", d.roleName()
	}
	wanted := &rbacv1.RoleBinding{ObjectMeta: d.meta(ns, name), RoleRef: ref, Subjects: d.subjects()}
	rules := d.rulesOf(t, ns, ref)
	what := put(t, "RoleBinding "+ns+"/"+name, d.remove(), wanted, client, func(present *rbacv1.RoleBinding) bool {
		rules = append(rules, d.rulesOf(t, ns, present.RoleRef)...)
		// A roleRef cannot be changed.
		wanted.ResourceVersion = present.ResourceVersion
		return present.RoleRef == ref
	})
	return what, rules
}

func (d *differential) editClusterRoleBinding(t *testing.T) (string, []rbacv1.PolicyRule) {
	t.Helper()
	name := fmt.Sprintf("crb-%d", d.random.IntN(8))
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: d.clusterRoleName()}
	wanted := &rbacv1.ClusterRoleBinding{ObjectMeta: d.meta("", name), RoleRef: ref, Subjects: d.subjects()}
	rules := d.rulesOf(t, "", ref)
	what := put(t, "ClusterRoleBinding "+name, d.remove(), wanted, d.admin.RbacV1().ClusterRoleBindings(), func(present *rbacv1.ClusterRoleBinding) bool {
		rules = append(rules, d.rulesOf(t, "", present.RoleRef)...)
		wanted.ResourceVersion = present.ResourceVersion
		return present.RoleRef == ref
	})
	return what, rules
}

func (d *differential) editClusterRole(t *testing.T) (string, []rbacv1.PolicyRule) {
	t.Helper()
	wanted := &rbacv1.ClusterRole{ObjectMeta: d.meta("", pick(d, "diff-a", "diff-b", "diff-c", "diff-d")), Rules: d.rules()}
	rules := wanted.Rules
	what := put(t, "ClusterRole "+wanted.Name, d.remove(), wanted, d.admin.RbacV1().ClusterRoles(), func(present *rbacv1.ClusterRole) bool {
		rules = slices.Concat(rules, present.Rules)
		wanted.ResourceVersion = present.ResourceVersion
		return true
	})
	return what, rules
}

func (d *differential) editRole(t *testing.T, ns string) (string, []rbacv1.PolicyRule) {
	t.Helper()
	wanted := &rbacv1.Role{ObjectMeta: d.meta(ns, d.roleName()), Rules: d.rules()}
	rules := wanted.Rules
	what := put(t, "Role "+ns+"/"+wanted.Name, d.remove(), wanted, d.admin.RbacV1().Roles(ns), func(present *rbacv1.Role) bool {
		rules = slices.Concat(rules, present.Rules)
		wanted.ResourceVersion = present.ResourceVersion
		return true
	})
	return what, rules
}

// rulesOf returns the rules of a role, none if there is no such role.
func (d *differential) rulesOf(t *testing.T, ns string, ref rbacv1.RoleRef) []rbacv1.PolicyRule {
	t.Helper()
	var rules []rbacv1.PolicyRule
	var err error
	if ref.Kind == "Role" {
		var role *rbacv1.Role
		role, err = d.admin.RbacV1().Roles(ns).Get(t.Context(), ref.Name, metav1.GetOptions{})
		rules = role.Rules
	} else {
		var role *rbacv1.ClusterRole
		role, err = d.admin.RbacV1().ClusterRoles().Get(t.Context(), ref.Name, metav1.GetOptions{})
		rules = role.Rules
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	require.NoError(t, err)
	return rules
}

// recreateNamespace deletes a namespace with all that is in it, and makes one of
// the same name, to which nothing that was granted in the first one applies.
func (d *differential) recreateNamespace(t *testing.T, ns string) (string, []rbacv1.PolicyRule) {
	t.Helper()
	d.recreate(t, d.kinds[0], ns)
	return "Namespace " + ns + " recreated", []rbacv1.PolicyRule{{Resources: []string{"namespaces"}}}
}

// recreateObject makes another object of a name: what was granted was the name.
func (d *differential) recreateObject(t *testing.T, k *comparedKind) (string, []rbacv1.PolicyRule) {
	t.Helper()
	name := differentialName(d.random.IntN(k.objects))
	d.recreate(t, k, name)
	return k.nativeKind + " " + name + " recreated", []rbacv1.PolicyRule{{Resources: []string{k.String()}}}
}

func (d *differential) recreate(t *testing.T, k *comparedKind, name string) {
	t.Helper()
	require.NoError(t, k.stored.Delete(t.Context(), name, metav1.DeleteOptions{}))
	require.NoError(t, wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := k.stored.Get(ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	}), "%s %s was not deleted", k, name)
	_, err := k.client(t).Create(t.Context(), k.object(name, nil), metav1.CreateOptions{})
	require.NoError(t, err)
}

// client is what the typed clients of the RBAC kinds have in common.
type client[T any] interface {
	Get(context.Context, string, metav1.GetOptions) (T, error)
	Create(context.Context, T, metav1.CreateOptions) (T, error)
	Update(context.Context, T, metav1.UpdateOptions) (T, error)
	Delete(context.Context, string, metav1.DeleteOptions) error
}

// put creates the wanted object, or deletes the present one, or updates it if the
// present one, which meet is called with, allows that, or replaces it.
func put[T metav1.Object](t *testing.T, what string, remove bool, wanted T, c client[T], meet func(present T) (update bool)) string {
	t.Helper()
	ctx, name := t.Context(), wanted.GetName()
	present, err := c.Get(ctx, name, metav1.GetOptions{})
	update := err == nil && meet(present)
	switch {
	case apierrors.IsNotFound(err):
		_, err = c.Create(ctx, wanted, metav1.CreateOptions{})
		what += " created"
	case err != nil:
	case remove:
		err = c.Delete(ctx, name, metav1.DeleteOptions{})
		what += " deleted"
	case update:
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
	return pick(d, "diff-a", "diff-a", "diff-b", "diff-b", "diff-c", "diff-c", "diff-d", "diff-d", "view", "diff-missing")
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
				"system:serviceaccounts", "system:serviceaccounts:"+differentialName(1), "group-without-members")})
		default:
			i := d.random.IntN(8)
			subjects = append(subjects, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: differentialName(i % 4), Name: fmt.Sprintf("sa-%d", i)})
		}
	}
	return subjects
}

// rules returns up to three rules, most of which speak of what is viewed.
func (d *differential) rules() []rbacv1.PolicyRule {
	var rules []rbacv1.PolicyRule
	for range d.random.IntN(4) {
		rules = append(rules, d.rule())
	}
	return rules
}

// rule returns a rule that speaks of one kind, or of several by lists or wildcards,
// or of something beside them that must not count.
func (d *differential) rule() rbacv1.PolicyRule {
	groups, resources := sets.New[string](), sets.New[string]()
	for range pick(d, 1, 1, 1, 2, 4) {
		k := pick(d, d.kinds...)
		// Those of which too little has changed so far are spoken of more.
		if few := d.ineffective(); len(few) > 0 && d.random.IntN(2) == 0 {
			k = pick(d, few...)
		}
		groups.Insert(pick(d, k.native.Group, k.native.Group, k.native.Group, k.native.Group, k.native.Group, "apps", rbacv1.APIGroupAll))
		resources.Insert(pick(d, k.String(), k.String(), k.String(), k.String(), k.String(), k.String(), k.String()+"/status", "pods", "*/status"))
	}
	if d.random.IntN(12) == 0 {
		resources.Insert(rbacv1.ResourceAll)
	}
	rule := rbacv1.PolicyRule{
		Verbs:     some(d, 1, 2, "get", "get", "get", "get", "get", "list", "watch", "update", rbacv1.VerbAll),
		APIGroups: sets.List(groups), Resources: sets.List(resources),
	}
	if d.random.IntN(6) > 0 {
		names := []string{"absent"}
		for range 1 + d.random.IntN(4) {
			names = append(names, differentialName(d.random.IntN(pick(d, differentialNamespaces, differentialObjects))))
		}
		rule.ResourceNames = names
	}
	return rule
}
