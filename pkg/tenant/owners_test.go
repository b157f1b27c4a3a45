// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"pgregory.net/rapid"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

func owner(kind capsulev1beta2.OwnerKind, name string, roles ...string) capsulev1beta2.OwnerSpec {
	return capsulev1beta2.OwnerSpec{CoreOwnerSpec: core(kind, name, roles...)}
}

func core(kind capsulev1beta2.OwnerKind, name string, roles ...string) capsulev1beta2.CoreOwnerSpec {
	return capsulev1beta2.CoreOwnerSpec{UserSpec: capsulev1beta2.UserSpec{Kind: kind, Name: name}, ClusterRoles: roles}
}

// tenantOwner returns a TenantOwner for a user, with labels in pairs.
func tenantOwner(name, user string, roles []string, pairs ...string) *capsulev1beta2.TenantOwner {
	owner := &capsulev1beta2.TenantOwner{ObjectMeta: metav1.ObjectMeta{Name: name}}
	owner.Spec.CoreOwnerSpec = core(capsulev1beta2.UserOwner, user, roles...)
	owner.Spec.ClusterRoles = roles
	for pair := range slices.Chunk(pairs, 2) {
		metav1.SetMetaDataLabel(&owner.ObjectMeta, pair[0], pair[1])
	}
	return owner
}

func promoting(rbac *capsulev1beta2.RBACConfiguration) *capsulev1beta2.CapsuleConfigurationSpec {
	return &capsulev1beta2.CapsuleConfigurationSpec{AllowServiceAccountPromotion: true, RBAC: rbac}
}

var robots = []Promoted{{Ref{"oil", "oil-1"}, "oil-1", "system:serviceaccount:oil-a:robot"}}

// TestAboutSuffices holds that what is about a user decides what the user owns, and
// that the order of the sources makes no difference.
func TestAboutSuffices(t *testing.T) {
	names := rapid.SampledFrom([]string{"alice", "bob", "devs", "system:serviceaccount:oil-a:robot", "robot"})
	kinds := rapid.SampledFrom([]capsulev1beta2.OwnerKind{capsulev1beta2.UserOwner, capsulev1beta2.GroupOwner, capsulev1beta2.ServiceAccountOwner})
	roles := rapid.SliceOfN(rapid.SampledFrom([]string{"admin", "edit", "view"}), 0, 2)
	spec := rapid.Custom(func(t *rapid.T) capsulev1beta2.CoreOwnerSpec {
		return core(kinds.Draw(t, "kind"), names.Draw(t, "name"), roles.Draw(t, "roles")...)
	})
	value := rapid.SampledFrom([]string{"oil", "gas", "a", ""})
	rapid.Check(t, func(t *rapid.T) {
		oil := &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "oil", UID: "oil-1"}}
		for _, s := range rapid.SliceOfN(spec, 0, 2).Draw(t, "owners") {
			oil.Spec.Owners = append(oil.Spec.Owners, capsulev1beta2.OwnerSpec{CoreOwnerSpec: s})
		}
		oil.Spec.Permissions = &capsulev1beta2.Permissions{AllowOwnerPromotion: new(rapid.Bool().Draw(t, "promotion"))}
		if rapid.Bool().Draw(t, "selector") {
			oil.Spec.Permissions.MatchOwners = []metav1.LabelSelector{{MatchLabels: map[string]string{"team": value.Draw(t, "team")}}}
		}
		all := Sources{Config: &capsulev1beta2.CapsuleConfigurationSpec{AllowServiceAccountPromotion: rapid.Bool().Draw(t, "allowed")}}
		for _, s := range rapid.SliceOfN(spec, 0, 2).Draw(t, "administrators") {
			all.Config.Administrators = append(all.Config.Administrators, s.UserSpec)
		}
		for i, s := range rapid.SliceOfN(spec, 0, 4).Draw(t, "TenantOwners") {
			o := tenantOwner(strconv.Itoa(i), "", nil, "team", value.Draw(t, "label"), "projectcapsule.dev/tenant", value.Draw(t, "tenant"))
			o.Spec.CoreOwnerSpec = s
			all.TenantOwners = append(all.TenantOwners, o)
		}
		if rapid.Bool().Draw(t, "labelled") {
			all.Promoted = append(robots, Promoted{Ref{"gas", "gas-1"}, "gas-1", "system:serviceaccount:gas-a:robot"})
		}
		owners := Owners(oil, all)
		shuffled := Sources{Config: all.Config, TenantOwners: rapid.Permutation(all.TenantOwners).Draw(t, "order"), Promoted: all.Promoted}
		if diff := cmp.Diff(owners, Owners(oil, shuffled)); diff != "" {
			t.Fatalf("in another order (-want +got):\n%s", diff)
		}
		for _, info := range []user.Info{
			&user.DefaultInfo{Name: "alice"}, &user.DefaultInfo{Name: "bob", Groups: []string{"devs"}},
			serviceaccount.UserInfo("oil-a", "robot", ""), serviceaccount.UserInfo("gas-a", "robot", ""),
		} {
			is := func(u capsulev1beta2.UserSpec) bool { return Is(u, info) }
			// What cannot be understood is nobody, wherever it stands.
			want := slices.ContainsFunc(owners, func(owner capsulev1beta2.CoreOwnerSpec) bool { return is(owner.UserSpec) })
			if got := IsOwner(oil, all.About(is), info); got != want {
				t.Fatalf("%s: want %v, got %v, among %v", info.GetName(), want, got, owners)
			}
		}
	})
}

func TestOwners(t *testing.T) {
	none := owner(capsulev1beta2.UserOwner, "alice")
	none.ClusterRoles = []string{}
	for name, test := range map[string]struct {
		given       []capsulev1beta2.OwnerSpec
		permissions *capsulev1beta2.Permissions
		sources     Sources
		want        []capsulev1beta2.CoreOwnerSpec
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
		"TenantOwners by name": {
			given:       []capsulev1beta2.OwnerSpec{owner(capsulev1beta2.UserOwner, "alice", "view")},
			permissions: &capsulev1beta2.Permissions{MatchOwners: []metav1.LabelSelector{{MatchLabels: map[string]string{"team": "a"}}}},
			sources: Sources{TenantOwners: []*capsulev1beta2.TenantOwner{
				tenantOwner("c", "carol", nil, "projectcapsule.dev/tenant", "oil"),
				tenantOwner("d", "dave", nil, "projectcapsule.dev/tenant", "gas"),
				tenantOwner("b", "bob", []string{}, "team", "a"),
				tenantOwner("a", "alice", []string{"view", "edit"}, "team", "a", "projectcapsule.dev/tenant", "oil"),
				tenantOwner("e", "", nil, "team", "a"),
			}},
			want: []capsulev1beta2.CoreOwnerSpec{
				core(capsulev1beta2.UserOwner, "alice", "view", "edit"),
				{UserSpec: capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: "bob"}, ClusterRoles: []string{}},
				core(capsulev1beta2.UserOwner, "carol", "admin", "capsule-namespace-deleter"),
			},
		},
		"any of the selectors": {
			permissions: &capsulev1beta2.Permissions{MatchOwners: []metav1.LabelSelector{
				{MatchLabels: map[string]string{"team": "a"}},
				{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "stage", Operator: "In"}}},
				{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "stage", Operator: "Exists", Values: []string{"prod"}}}},
			}},
			sources: Sources{TenantOwners: []*capsulev1beta2.TenantOwner{
				tenantOwner("a", "alice", []string{"view"}, "team", "a"), tenantOwner("b", "bob", []string{"view"}, "stage", "prod"),
				tenantOwner("c", "carol", nil, "stage", "dev"), tenantOwner("d", "dave", nil),
			}},
			want: []capsulev1beta2.CoreOwnerSpec{core(capsulev1beta2.UserOwner, "alice", "view"), core(capsulev1beta2.UserOwner, "bob", "view")},
		},
		"promoted service accounts": {
			sources: Sources{Config: promoting(nil), Promoted: []Promoted{
				{Ref{"oil", "oil-1"}, "oil-1", "system:serviceaccount:oil-b:robot"}, {Ref{"oil", "oil-0"}, "oil-0", "system:serviceaccount:oil-old:robot"},
				{Ref{"oil", "oil-1"}, "oil-1", "system:serviceaccount:oil-a:robot"}, {Ref{"gas", "gas-1"}, "gas-1", "system:serviceaccount:gas-a:robot"},
				// Labelled before the namespace was the Tenant's.
				{Ref{"oil", "oil-1"}, "", "system:serviceaccount:oil-c:robot"}, {Ref{"oil", "oil-1"}, "gas-1", "system:serviceaccount:oil-d:robot"},
			}},
			want: []capsulev1beta2.CoreOwnerSpec{
				core(capsulev1beta2.ServiceAccountOwner, "system:serviceaccount:oil-a:robot", "capsule-namespace-provisioner", "capsule-namespace-deleter"),
				core(capsulev1beta2.ServiceAccountOwner, "system:serviceaccount:oil-b:robot", "capsule-namespace-provisioner", "capsule-namespace-deleter"),
			},
		},
		"promotion with other roles": {
			permissions: &capsulev1beta2.Permissions{AllowOwnerPromotion: new(true)},
			sources:     Sources{Config: promoting(&capsulev1beta2.RBACConfiguration{PromotionClusterRoles: []string{"edit"}}), Promoted: robots},
			want:        []capsulev1beta2.CoreOwnerSpec{core(capsulev1beta2.ServiceAccountOwner, "system:serviceaccount:oil-a:robot", "edit")},
		},
		"promotion that the Tenant forbids": {
			permissions: &capsulev1beta2.Permissions{AllowOwnerPromotion: new(false)},
			sources:     Sources{Config: promoting(nil), Promoted: robots},
		},
		"promotion that the configuration forbids": {sources: Sources{Config: &capsulev1beta2.CapsuleConfigurationSpec{}, Promoted: robots}},
		"promotion without a configuration":        {sources: Sources{Promoted: robots}},
		"administrators come last": {
			given: []capsulev1beta2.OwnerSpec{owner(capsulev1beta2.GroupOwner, "ops", "view")},
			sources: Sources{Config: &capsulev1beta2.CapsuleConfigurationSpec{Administrators: []capsulev1beta2.UserSpec{
				{Kind: capsulev1beta2.UserOwner, Name: "root"}, {Kind: capsulev1beta2.ServiceAccountOwner, Name: "robot"}, {Kind: capsulev1beta2.GroupOwner, Name: "ops"},
			}}},
			want: []capsulev1beta2.CoreOwnerSpec{
				core(capsulev1beta2.GroupOwner, "ops", "view", "capsule-namespace-deleter"),
				core(capsulev1beta2.UserOwner, "root", "capsule-namespace-deleter"),
			},
		},
		"administrators without roles": {
			sources: Sources{Config: &capsulev1beta2.CapsuleConfigurationSpec{
				Administrators: []capsulev1beta2.UserSpec{{Kind: capsulev1beta2.UserOwner, Name: "root"}},
				RBAC:           &capsulev1beta2.RBACConfiguration{AdministrationClusterRoles: []string{}},
			}},
			want: []capsulev1beta2.CoreOwnerSpec{{UserSpec: capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: "root"}, ClusterRoles: []string{}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			given := &capsulev1beta2.Tenant{
				ObjectMeta: metav1.ObjectMeta{Name: "oil", UID: "oil-1"},
				Spec:       capsulev1beta2.TenantSpec{Owners: test.given, Permissions: test.permissions},
			}
			before := given.DeepCopy()
			if diff := cmp.Diff(test.want, Owners(given, test.sources)); diff != "" {
				t.Errorf("owners (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, given); diff != "" {
				t.Errorf("the Tenant was changed:\n%s", diff)
			}
		})
	}
}

func TestNotPromoted(t *testing.T) {
	oil := &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "oil", UID: "oil-1"}}
	sources := Sources{Config: promoting(nil), Promoted: []Promoted{
		{RefOf(oil), "gas-1", "moved"}, {RefOf(oil), "", "adopted"}, {Ref{"gas", "gas-1"}, "oil-1", "another's"},
	}}
	// In no order.
	for i := range MaxPromoted + 2 {
		sources.Promoted = append(sources.Promoted, Promoted{RefOf(oil), "oil-1", fmt.Sprintf("robot-%03d", (i+7)%(MaxPromoted+2))})
	}
	owners := PromotedOwners(oil, sources)
	if len(owners) != MaxPromoted || owners[0].Name != "robot-000" || owners[MaxPromoted-1].Name != "robot-099" {
		t.Errorf("want the first %d, got %d", MaxPromoted, len(owners))
	}
	unbound, surplus := NotPromoted(oil, sources)
	if diff := cmp.Diff([][]string{{"adopted", "moved"}, {"robot-100", "robot-101"}}, [][]string{unbound, surplus}); diff != "" {
		t.Errorf("unbound, surplus (-want +got):\n%s", diff)
	}
	sources.Config = nil
	if unbound, surplus := NotPromoted(oil, sources); len(unbound)+len(surplus) > 0 {
		t.Errorf("want nobody where it is not allowed, got %q, %q", unbound, surplus)
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
			if got := IsOwner(given, Sources{}, &test.info); got != test.want {
				t.Errorf("want %v, got %v", test.want, got)
			}
		})
	}
}
