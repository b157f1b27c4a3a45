// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"math/bits"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// TestRightsKeepTheirPlaces pins the numbers: they are in the names of roles in
// clusters. A number here may be added, never changed.
func TestRightsKeepTheirPlaces(t *testing.T) {
	want := map[string]rights{
		"get the Tenant": 0x1,
		"Nodes List":     0x2, "Nodes Update": 0x4, "Nodes Delete": 0x8,
		"PersistentVolumes List": 0x10, "PersistentVolumes Update": 0x20, "PersistentVolumes Delete": 0x40,
		"StorageClasses List": 0x80, "StorageClasses Update": 0x100, "StorageClasses Delete": 0x200,
		"IngressClasses List": 0x400, "IngressClasses Update": 0x800, "IngressClasses Delete": 0x1000,
		"PriorityClasses List": 0x2000, "PriorityClasses Update": 0x4000, "PriorityClasses Delete": 0x8000,
		"RuntimeClasses List": 0x10000, "RuntimeClasses Update": 0x20000, "RuntimeClasses Delete": 0x40000,
		"Tenant List": 0x80000, "Tenant Update": 0x100000, "Tenant Delete": 0x200000,
	}
	got := map[string]rights{"get the Tenant": getTenant}
	for _, service := range []capsulev1beta2.ProxyServiceKind{
		"Nodes", "PersistentVolumes", "StorageClasses", "IngressClasses", "PriorityClasses", "RuntimeClasses", "Tenant",
	} {
		for _, operation := range []capsulev1beta2.ProxyOperation{"List", "Update", "Delete"} {
			got[string(service)+" "+string(operation)] = right(service, operation)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rights (-want +got):\n%s", diff)
	}
	var all rights
	for name, r := range got {
		if bits.OnesCount32(uint32(r)) != 1 || all&r != 0 {
			t.Errorf("%s is %b, which is not one bit of its own", name, r)
		}
		all |= r
	}
	if len(services)*len(operations)+1 != len(want) {
		t.Errorf("there are other kinds or operations than these")
	}
}

func TestUnknownRightsAreNone(t *testing.T) {
	for service, operation := range map[capsulev1beta2.ProxyServiceKind]capsulev1beta2.ProxyOperation{
		"Secrets": "List", "Nodes": "Create", "nodes": "List", "": "",
	} {
		if r := right(service, operation); r != 0 {
			t.Errorf("%s of %s is the right %x", operation, service, r)
		}
		if rights(1<<32-1).has(service, operation) {
			t.Errorf("who has every right has %s of %s", operation, service)
		}
	}
}

func TestSubjectRights(t *testing.T) {
	user := func(name string) rbacv1.Subject {
		return rbacv1.Subject{APIGroup: "rbac.authorization.k8s.io", Kind: "User", Name: name}
	}
	const listNodes, updateNodes, deleteNodes, listVolumes, listTenant = 0x2, 0x4, 0x8, 0x10, 0x80000
	for name, test := range map[string]struct {
		tenant   string
		settings string
		readOnly bool
		want     map[rbacv1.Subject]rights
		// wantRefused are what the status of a ProxySetting reports.
		wantRefused []capsulev1beta2.RefusedOperation
	}{
		"nobody": {want: map[rbacv1.Subject]rights{}},
		"an owner may get the Tenant": {
			tenant: `{owners: [{kind: User, name: alice}]}`,
			want:   map[rbacv1.Subject]rights{user("alice"): getTenant},
		},
		"an owner has what its proxySettings say": {
			tenant: `{owners: [{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [List, Delete]}, {kind: PersistentVolumes, operations: [List]}]}]}`,
			want:   map[rbacv1.Subject]rights{user("alice"): getTenant | listNodes | deleteNodes | listVolumes},
		},
		"Update and Delete do not include List": {
			tenant: `{owners: [{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [Update, Delete]}]}]}`,
			want:   map[rbacv1.Subject]rights{user("alice"): getTenant | updateNodes | deleteNodes},
		},
		"an owner that is listed twice has both": {
			tenant: `{owners: [
				{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [List]}]},
				{kind: User, name: alice, proxySettings: [{kind: PersistentVolumes, operations: [List]}, {kind: Nodes, operations: [Delete]}]}]}`,
			want: map[rbacv1.Subject]rights{user("alice"): getTenant | listNodes | deleteNodes | listVolumes},
		},
		"Update and Delete of the Tenant are never given": {
			tenant: `{owners: [{kind: User, name: alice, proxySettings: [{kind: Tenant, operations: [List, Update, Delete]}]}]}`,
			want:   map[rbacv1.Subject]rights{user("alice"): getTenant | listTenant},
		},
		"--compile-write-operations=false": {
			tenant:   `{owners: [{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [List, Update, Delete]}]}]}`,
			readOnly: true,
			want:     map[rbacv1.Subject]rights{user("alice"): getTenant | listNodes},
		},
		"users, groups and service accounts": {
			tenant: `{owners: [{kind: User, name: x}, {kind: Group, name: x}, {kind: ServiceAccount, name: "system:serviceaccount:x:x"}]}`,
			want: map[rbacv1.Subject]rights{
				user("x"): getTenant,
				{APIGroup: "rbac.authorization.k8s.io", Kind: "Group", Name: "x"}: getTenant,
				{Kind: "ServiceAccount", Namespace: "x", Name: "x"}:               getTenant,
			},
		},
		"an owner whose name cannot be understood has nothing, and nothing to give": {
			tenant:   `{owners: [{kind: ServiceAccount, name: robot, proxySettings: [{kind: Nodes, operations: [List]}]}, {kind: User, name: alice}]}`,
			settings: `[{kind: User, name: bob, proxySettings: [{kind: Nodes, operations: [List]}]}]`,
			want:     map[rbacv1.Subject]rights{user("alice"): getTenant},
			wantRefused: []capsulev1beta2.RefusedOperation{
				{Subject: capsulev1beta2.UserSpec{Kind: "User", Name: "bob"}, Kind: "Nodes", Operation: "List"},
			},
		},
		"a ProxySetting gives what an owner holds": {
			tenant:   `{owners: [{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [List]}, {kind: PersistentVolumes, operations: [List]}]}]}`,
			settings: `[{kind: User, name: bob, proxySettings: [{kind: Nodes, operations: [List]}]}]`,
			want: map[rbacv1.Subject]rights{
				user("alice"): getTenant | listNodes | listVolumes,
				user("bob"):   listNodes,
			},
		},
		"a ProxySetting gives no more than owners hold, List included": {
			tenant: `{owners: [{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [List]}]}]}`,
			settings: `[
				{kind: User, name: bob, proxySettings: [{kind: Nodes, operations: [List, Update, Update]}, {kind: PersistentVolumes, operations: [List]}]},
				{kind: User, name: carol, proxySettings: [{kind: Tenant, operations: [List]}]},
				{kind: User, name: bob, proxySettings: [{kind: Nodes, operations: [Update]}]}]`,
			want: map[rbacv1.Subject]rights{user("alice"): getTenant | listNodes, user("bob"): listNodes},
			wantRefused: []capsulev1beta2.RefusedOperation{
				{Subject: capsulev1beta2.UserSpec{Kind: "User", Name: "bob"}, Kind: "Nodes", Operation: "Update"},
				{Subject: capsulev1beta2.UserSpec{Kind: "User", Name: "bob"}, Kind: "PersistentVolumes", Operation: "List"},
				{Subject: capsulev1beta2.UserSpec{Kind: "User", Name: "carol"}, Kind: "Tenant", Operation: "List"},
			},
		},
		"a ProxySetting of a Tenant without owners gives nothing": {
			settings: `[{kind: User, name: bob, proxySettings: [{kind: Nodes, operations: [List]}]}]`,
			want:     map[rbacv1.Subject]rights{},
			wantRefused: []capsulev1beta2.RefusedOperation{
				{Subject: capsulev1beta2.UserSpec{Kind: "User", Name: "bob"}, Kind: "Nodes", Operation: "List"},
			},
		},
		"a ProxySetting does not let its subjects get the Tenant": {
			tenant:   `{owners: [{kind: User, name: alice, proxySettings: [{kind: Tenant, operations: [List]}]}]}`,
			settings: `[{kind: User, name: bob}, {kind: User, name: carol, proxySettings: [{kind: Tenant, operations: [List]}]}]`,
			want:     map[rbacv1.Subject]rights{user("alice"): getTenant | listTenant, user("carol"): listTenant},
		},
		"an owner may be the subject of a ProxySetting": {
			tenant: `{owners: [
				{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [List]}]},
				{kind: User, name: carol, proxySettings: [{kind: PersistentVolumes, operations: [List]}]}]}`,
			settings: `[{kind: User, name: carol, proxySettings: [{kind: Nodes, operations: [List]}]}]`,
			want: map[rbacv1.Subject]rights{
				user("alice"): getTenant | listNodes,
				user("carol"): getTenant | listVolumes | listNodes,
			},
		},
		"a subject of a ProxySetting whose name cannot be understood has nothing": {
			tenant:   `{owners: [{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [List]}]}]}`,
			settings: `[{kind: ServiceAccount, name: bob, proxySettings: [{kind: Nodes, operations: [List]}]}]`,
			want:     map[rbacv1.Subject]rights{user("alice"): getTenant | listNodes},
		},
		"a ProxySetting gives no clusterResources": {
			tenant: `{owners: [{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [List]}]}]}`,
			settings: `[{kind: User, name: bob, clusterResources: [
				{apiGroups: [""], resources: [nodes], operations: [List], selector: {matchLabels: {a: b}}}]}]`,
			want: map[rbacv1.Subject]rights{user("alice"): getTenant | listNodes},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := policy{writeOperations: !test.readOnly}
			oil, settings := tenantSpec(t, test.tenant), proxySubjects(t, test.settings)
			if diff := cmp.Diff(test.want, p.subjectRights(oil, ownersIn(oil), settings)); diff != "" {
				t.Errorf("rights (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.wantRefused, p.refused(oil, settings)); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
		})
	}
}
