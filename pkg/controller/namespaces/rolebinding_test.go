// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

var (
	alice = rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "alice"}
	bob   = rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "bob"}
	robot = rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "ci", Name: "robot"}
)

func owner(kind capsulev1beta2.OwnerKind, name string, roles ...string) capsulev1beta2.OwnerSpec {
	return capsulev1beta2.OwnerSpec{CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{
		UserSpec: capsulev1beta2.UserSpec{Kind: kind, Name: name}, ClusterRoles: roles,
	}}
}

// oil returns a Tenant; its UID is "oil-1".
func oil(owners []capsulev1beta2.OwnerSpec, additional ...capsulev1beta2.AdditionalRoleBinding) *capsulev1beta2.Tenant {
	return &capsulev1beta2.Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: "oil", UID: "oil-1", Generation: 1},
		Spec:       capsulev1beta2.TenantSpec{Owners: owners, AdditionalRoleBindings: additional},
	}
}

// tenantOwner returns a TenantOwner that names oil in its label.
func tenantOwner(name string, spec capsulev1beta2.CoreOwnerSpec) *capsulev1beta2.TenantOwner {
	return &capsulev1beta2.TenantOwner{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"projectcapsule.dev/tenant": "oil"}},
		Spec:       capsulev1beta2.TenantOwnerSpec{CoreOwnerSpec: spec},
	}
}

// binding returns a RoleBinding of oil's as it is written.
func binding(role string, subjects ...rbacv1.Subject) rbacv1.RoleBinding {
	hash := tenant.RoleBindingHash(role, subjects)
	return rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{
			Name: "capsule:managed:" + hash,
			Labels: map[string]string{
				"projectcapsule.dev/managed-by":   "controller",
				"projectcapsule.dev/tenant":       "oil",
				"capsule.clastix.io/role-binding": hash,
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "capsule.clastix.io/v1beta2", Kind: "Tenant", Name: "oil", UID: "oil-1", Controller: new(true),
			}},
		},
		RoleRef:  rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: role},
		Subjects: subjects,
	}
}

// with returns the binding after a change.
func with(b rbacv1.RoleBinding, change func(*rbacv1.RoleBinding)) rbacv1.RoleBinding {
	b = *b.DeepCopy()
	change(&b)
	return b
}

func labelled(b rbacv1.RoleBinding, labels, annotations map[string]string) rbacv1.RoleBinding {
	return with(b, func(b *rbacv1.RoleBinding) {
		maps.Copy(b.Labels, labels)
		b.Annotations = annotations
	})
}

func TestRoleBindings(t *testing.T) {
	const user, group, account = capsulev1beta2.UserOwner, capsulev1beta2.GroupOwner, capsulev1beta2.ServiceAccountOwner
	devs := rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "devs"}
	none := owner(user, "alice")
	none.ClusterRoles = []string{}
	named := owner(user, "alice", "admin")
	named.Labels, named.Annotations = map[string]string{"team": "a"}, map[string]string{"note": "a"}
	additional := func(role string, labels, annotations map[string]string, subjects ...rbacv1.Subject) capsulev1beta2.AdditionalRoleBinding {
		return capsulev1beta2.AdditionalRoleBinding{ClusterRoleName: role, Subjects: subjects, Labels: labels, Annotations: annotations}
	}
	for name, test := range map[string]struct {
		given   *capsulev1beta2.Tenant
		sources tenant.Sources
		want    []rbacv1.RoleBinding
	}{
		"owners by other means, with the metadata of the spec": {
			given: oil([]capsulev1beta2.OwnerSpec{named}),
			sources: tenant.Sources{TenantOwners: []*capsulev1beta2.TenantOwner{
				tenantOwner("a", owner(user, "alice", "edit").CoreOwnerSpec), tenantOwner("b", owner(user, "bob", "view").CoreOwnerSpec),
			}},
			want: []rbacv1.RoleBinding{
				labelled(binding("admin", alice), map[string]string{"team": "a"}, map[string]string{"note": "a"}),
				labelled(binding("edit", alice), map[string]string{"team": "a"}, map[string]string{"note": "a"}),
				binding("view", bob),
			},
		},
		"nobody": {given: oil(nil)},
		"default roles": {
			given: oil([]capsulev1beta2.OwnerSpec{owner(user, "alice")}),
			want:  []rbacv1.RoleBinding{binding("admin", alice), binding("capsule-namespace-deleter", alice)},
		},
		"no roles": {given: oil([]capsulev1beta2.OwnerSpec{none})},
		"owners of all kinds": {
			given: oil([]capsulev1beta2.OwnerSpec{
				owner(user, "alice", "edit"), owner(group, "devs", "edit", "view"), owner(account, "system:serviceaccount:ci:robot", "edit"),
			}),
			want: []rbacv1.RoleBinding{binding("edit", alice), binding("edit", devs), binding("view", devs), binding("edit", robot)},
		},
		"an owner that cannot be understood": {
			given: oil([]capsulev1beta2.OwnerSpec{owner(account, "robot", "edit"), owner(user, "alice", "edit")}),
			want:  []rbacv1.RoleBinding{binding("edit", alice)},
		},
		"metadata of an owner": {
			given: oil([]capsulev1beta2.OwnerSpec{named}),
			want:  []rbacv1.RoleBinding{labelled(binding("admin", alice), map[string]string{"team": "a"}, map[string]string{"note": "a"})},
		},
		"an additional one": {
			given: oil(nil, additional("view", map[string]string{"team": "a", "projectcapsule.dev/tenant": "gas"}, map[string]string{"note": "b"}, alice, robot)),
			want:  []rbacv1.RoleBinding{labelled(binding("view", alice, robot), map[string]string{"team": "a"}, map[string]string{"note": "b"})},
		},
		"a subject without its API group has another name": {
			given: oil(nil, additional("view", nil, nil, rbacv1.Subject{Kind: "User", Name: "alice"})),
			want: []rbacv1.RoleBinding{with(binding("view", rbacv1.Subject{Kind: "User", Name: "alice"}), func(b *rbacv1.RoleBinding) {
				b.Subjects = []rbacv1.Subject{alice}
			})},
		},
		"the order of subjects has another name": {
			given: oil(nil, additional("view", nil, nil, alice, bob), additional("view", nil, nil, bob, alice)),
			want:  []rbacv1.RoleBinding{binding("view", alice, bob), binding("view", bob, alice)},
		},
		"the same several times": {
			given: oil([]capsulev1beta2.OwnerSpec{named},
				additional("admin", map[string]string{"team": "b"}, nil, alice),
				additional("admin", map[string]string{"stage": "prod"}, map[string]string{"other": "c"}, alice)),
			want: []rbacv1.RoleBinding{labelled(binding("admin", alice),
				map[string]string{"team": "b", "stage": "prod"}, map[string]string{"note": "a", "other": "c"})},
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := test.given.DeepCopy()
			got := dereferenced(RoleBindings(test.given, tenant.Owners(test.given, test.sources)))
			byName := cmpopts.SortSlices(func(a, b rbacv1.RoleBinding) bool { return a.Name < b.Name })
			if diff := cmp.Diff(test.want, got, byName, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("RoleBindings (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, test.given); diff != "" {
				t.Errorf("the Tenant was changed:\n%s", diff)
			}
		})
	}
}

func dereferenced(bindings []*rbacv1.RoleBinding) []rbacv1.RoleBinding {
	var list []rbacv1.RoleBinding
	for _, b := range bindings {
		list = append(list, *b)
	}
	return list
}

func TestChanges(t *testing.T) {
	const missing, leftover, nothing = "missing", "leftover", "nothing"
	want := labelled(binding("admin", alice), map[string]string{"team": "a"}, nil)
	applied := func(b rbacv1.RoleBinding) rbacv1.RoleBinding {
		return with(b, func(b *rbacv1.RoleBinding) {
			b.ManagedFields = []metav1.ManagedFieldsEntry{{
				Manager: "tenancy-controller", Operation: metav1.ManagedFieldsOperationApply,
				FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{"f:team":{},"f:old":{}},"f:annotations":{"f:old":{}}}}`),
			}}
		})
	}
	for name, test := range map[string]struct {
		is      rbacv1.RoleBinding
		want    string
		cannot  bool
		foreign bool
	}{
		"as it should be":     {is: want, want: nothing},
		"applied by us":       {is: applied(want), want: nothing},
		"other subjects":      {is: with(want, func(b *rbacv1.RoleBinding) { b.Subjects = []rbacv1.Subject{bob} }), want: missing},
		"more subjects":       {is: with(want, func(b *rbacv1.RoleBinding) { b.Subjects = []rbacv1.Subject{alice, bob} }), want: missing},
		"another role":        {is: with(want, func(b *rbacv1.RoleBinding) { b.RoleRef.Name = "edit" }), want: missing, cannot: true},
		"a Role":              {is: with(want, func(b *rbacv1.RoleBinding) { b.RoleRef.Kind = "Role" }), want: missing, cannot: true},
		"a label is gone":     {is: with(want, func(b *rbacv1.RoleBinding) { delete(b.Labels, "team") }), want: missing},
		"a label is other":    {is: labelled(want, map[string]string{"team": "b"}, nil), want: missing},
		"a label of others":   {is: applied(labelled(want, map[string]string{"theirs": "x"}, nil)), want: nothing},
		"a label of ours":     {is: applied(labelled(want, map[string]string{"old": "x"}, nil)), want: missing},
		"an annotation":       {is: applied(labelled(want, nil, map[string]string{"theirs": "x"})), want: nothing},
		"an annotation, ours": {is: applied(labelled(want, nil, map[string]string{"old": "x"})), want: missing},
		"no owner":            {is: with(want, func(b *rbacv1.RoleBinding) { b.OwnerReferences = nil }), want: missing},
		"an earlier life's":   {is: with(want, func(b *rbacv1.RoleBinding) { b.OwnerReferences[0].UID = "oil-0" }), want: missing, cannot: true},
		"as Capsule makes it": {
			is: with(want, func(b *rbacv1.RoleBinding) { b.OwnerReferences[0].BlockOwnerDeletion = new(true) }), want: nothing,
		},
		"Capsule's label":   {is: labelled(want, map[string]string{"capsule.clastix.io/tenant": "oil"}, nil), want: nothing},
		"not wanted":        {is: binding("edit", alice), want: leftover},
		"an old name":       {is: with(want, func(b *rbacv1.RoleBinding) { b.Name = "capsule-oil-0-admin" }), want: leftover},
		"not a tenant's":    {is: with(binding("edit", alice), func(b *rbacv1.RoleBinding) { delete(b.Labels, capsulev1beta2.ManagedTenantLabel) }), want: leftover},
		"somebody's":        {is: with(binding("edit", alice), func(b *rbacv1.RoleBinding) { b.Name = "mine" }), foreign: true},
		"without our label": {is: with(want, func(b *rbacv1.RoleBinding) { delete(b.Labels, capsulev1beta2.RoleBindingLabel) }), foreign: true},
		"a stranger's": {is: with(want, func(b *rbacv1.RoleBinding) {
			delete(b.Labels, capsulev1beta2.ManagedTenantLabel)
			b.OwnerReferences[0].APIVersion = "example.com/v1"
		}), foreign: true},
	} {
		t.Run(name, func(t *testing.T) {
			k := roleBindings()
			if k.isManaged(&test.is) == test.foreign {
				t.Fatalf("want it to be somebody else's: %v", test.foreign)
			}
			if test.foreign {
				return
			}
			wanted := map[string]client.Object{want.Name: &want}
			write, remove := k.changes(map[string]client.Object{test.is.Name: &test.is}, wanted)
			got := nothing
			switch {
			case len(remove) == 1 && len(write) == 1 && write[0].is == nil:
				got = leftover
			case len(remove) == 0 && len(write) == 1 && write[0].is != nil:
				got = missing
				if k.canBecome(write[0].is, write[0].want) == test.cannot {
					t.Errorf("want it to be possible to change: %v", !test.cannot)
				}
			case len(remove)+len(write) > 0:
				t.Fatalf("want %s, got %d writes and %d deletions", test.want, len(write), len(remove))
			}
			if got != test.want {
				t.Errorf("want %s, got %s", test.want, got)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	want := binding("edit", alice)
	bindings := rbacv1.Resource("rolebindings")
	for name, test := range map[string]struct {
		given    error
		want     string
		wantGone bool
	}{
		"nothing": {},
		"escalation": {
			given: apierrors.NewForbidden(bindings, want.Name, errors.New(`user "c" is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`)),
			want: `ClusterRole "edit" may not be bound by the controller: to allow it, give the verb bind on clusterroles ` +
				`with this resourceName in a ClusterRole that is labelled projectcapsule.dev/aggregate-to-controller=true`,
		},
		"no such role": {
			given: apierrors.NewNotFound(rbacv1.Resource("clusterroles"), "edit"),
			want:  `ClusterRole "edit" does not exist, and the controller may only bind what exists: create it`,
		},
		"other": {
			given: errors.New("boom"),
			want:  "write RoleBinding " + want.Name + ` of ClusterRole "edit": boom`,
		},
		"terminating": {
			given: &apierrors.StatusError{ErrStatus: metav1.Status{
				Reason:  metav1.StatusReasonForbidden,
				Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}},
			}},
			wantGone: true,
		},
		"no namespace": {given: apierrors.NewNotFound(corev1.Resource("namespaces"), "oil-prod"), wantGone: true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := objects.IsNamespaceGone(test.given); got != test.wantGone {
				t.Errorf("want gone %v, got %v", test.wantGone, got)
			}
			if test.wantGone {
				return
			}
			if got := fmt.Sprint(roleBindings().explained(test.given, &want)); got != orNil(test.want) {
				t.Errorf("want %q, got %q", test.want, got)
			}
		})
	}
}

// orNil is how no error is printed.
func orNil(want string) string {
	if want == "" {
		return "<nil>"
	}
	return want
}
