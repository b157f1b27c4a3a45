// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/user"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

func owner(kind capsulev1beta2.OwnerKind, name string, roles ...string) capsulev1beta2.OwnerSpec {
	return capsulev1beta2.OwnerSpec{CoreOwnerSpec: core(kind, name, roles...)}
}

func core(kind capsulev1beta2.OwnerKind, name string, roles ...string) capsulev1beta2.CoreOwnerSpec {
	return capsulev1beta2.CoreOwnerSpec{UserSpec: capsulev1beta2.UserSpec{Kind: kind, Name: name}, ClusterRoles: roles}
}

func TestOwners(t *testing.T) {
	none := owner(capsulev1beta2.UserOwner, "alice")
	none.ClusterRoles = []string{}
	for name, test := range map[string]struct {
		given []capsulev1beta2.OwnerSpec
		want  []capsulev1beta2.CoreOwnerSpec
	}{
		"nobody": {},
		"default roles": {
			given: []capsulev1beta2.OwnerSpec{owner(capsulev1beta2.UserOwner, "alice")},
			want:  []capsulev1beta2.CoreOwnerSpec{core(capsulev1beta2.UserOwner, "alice", "admin", "capsule-namespace-deleter")},
		},
		"no roles": {
			given: []capsulev1beta2.OwnerSpec{none},
			want:  []capsulev1beta2.CoreOwnerSpec{none.CoreOwnerSpec},
		},
		"in order": {
			given: []capsulev1beta2.OwnerSpec{owner(capsulev1beta2.UserOwner, "bob", "edit"), owner(capsulev1beta2.GroupOwner, "alice", "view")},
			want:  []capsulev1beta2.CoreOwnerSpec{core(capsulev1beta2.UserOwner, "bob", "edit"), core(capsulev1beta2.GroupOwner, "alice", "view")},
		},
		"the same twice": {
			given: []capsulev1beta2.OwnerSpec{
				owner(capsulev1beta2.UserOwner, "alice", "edit", "view"),
				owner(capsulev1beta2.UserOwner, "bob", "view"),
				owner(capsulev1beta2.UserOwner, "alice", "admin", "edit"),
			},
			want: []capsulev1beta2.CoreOwnerSpec{
				core(capsulev1beta2.UserOwner, "alice", "edit", "view", "admin"),
				core(capsulev1beta2.UserOwner, "bob", "view"),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			given := &capsulev1beta2.Tenant{Spec: capsulev1beta2.TenantSpec{Owners: test.given}}
			before := given.DeepCopy()
			if diff := cmp.Diff(test.want, Owners(given)); diff != "" {
				t.Errorf("owners (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, given); diff != "" {
				t.Errorf("the Tenant was changed:\n%s", diff)
			}
		})
	}
}

func TestIsOwner(t *testing.T) {
	given := &capsulev1beta2.Tenant{Spec: capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{
		owner(capsulev1beta2.UserOwner, "alice"), owner(capsulev1beta2.GroupOwner, "devs"),
	}}}
	for name, test := range map[string]struct {
		info user.DefaultInfo
		want bool
	}{
		"by name":    {user.DefaultInfo{Name: "alice"}, true},
		"by group":   {user.DefaultInfo{Name: "bob", Groups: []string{"devs"}}, true},
		"not at all": {user.DefaultInfo{Name: "devs", Groups: []string{"alice"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := IsOwner(given, &test.info); got != test.want {
				t.Errorf("want %v, got %v", test.want, got)
			}
		})
	}
}
