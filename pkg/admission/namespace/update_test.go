// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
)

func annotated(n *metav1.PartialObjectMetadata) {
	metav1.SetMetaDataAnnotation(&n.ObjectMeta, "key", "value")
}

func TestUpdate(t *testing.T) {
	const (
		unknown = tenant.Unknown
		user    = tenant.CapsuleUser
		admin   = tenant.Administrator
	)
	// alice owns oil and gas, bob owns sun, carol owns frozen like alice.
	tenants := []*capsulev1beta2.Tenant{
		testTenant("oil", "alice"), testTenant("gas", "alice"), testTenant("sun", "bob"),
		cordoned(testTenant("ice", "alice")), deleted(testTenant("old", "alice")),
	}
	tests := map[string]struct {
		requester   tenant.Requester
		subresource string
		config      *capsulev1beta2.CapsuleConfigurationSpec
		old, given  *metav1.PartialObjectMetadata
		want        outcome
		// wantFinal is the refusal of the second phase without the first, as it is
		// for subresources.
		wantFinal string
	}{
		// Administrators join, migrate, leave; halves stand for the whole.
		"administrator joins by label": {
			requester: admin, old: testNamespace("x"), given: testNamespace("x", label("oil")),
			want: outcome{Claim: "oil [oil uid-of-oil]", Joins: "oil"}, wantFinal: "the label",
		},
		"administrator joins by owner": {
			requester: admin, old: testNamespace("x"), given: testNamespace("x", owner("oil")),
			want: outcome{Claim: "oil [oil uid-of-oil]", Joins: "oil"}, wantFinal: "the label",
		},
		"administrator joins by both": {
			requester: admin, old: testNamespace("x"), given: testNamespace("x", of("oil")),
			want: outcome{Joins: "oil"},
		},
		"administrator joins by both, of different Tenants": {
			requester: admin, old: testNamespace("x"), given: testNamespace("x", label("oil"), owner("gas")),
			want:      outcome{Refusal: `namespace "x" refers to the Tenants "gas" and "oil"`},
			wantFinal: `namespace "x" refers to the Tenants "gas" and "oil"`,
		},
		"administrator migrates by label": {
			requester: admin, old: testNamespace("x", of("oil")), given: testNamespace("x", label("sun"), owner("oil")),
			want: outcome{Claim: "sun [sun uid-of-sun]", Joins: "sun"}, wantFinal: "the label",
		},
		"administrator migrates by owner": {
			requester: admin, old: testNamespace("x", of("oil")), given: testNamespace("x", label("oil"), owner("sun")),
			want: outcome{Claim: "sun [sun uid-of-sun]", Joins: "sun"}, wantFinal: "the label",
		},
		"administrator migrates by both": {
			requester: admin, old: testNamespace("x", of("oil")), given: testNamespace("x", of("sun")),
			want: outcome{Joins: "sun"},
		},
		"administrator adds a second owner": {
			requester: admin, old: testNamespace("x", of("oil")), given: testNamespace("x", of("oil"), owner("sun")),
			want:      outcome{Refusal: `namespace "x" refers to the Tenants "oil" and "sun"`},
			wantFinal: `namespace "x" refers to the Tenants "oil" and "sun"`,
		},
		"administrator removes the label only": {
			requester: admin, old: testNamespace("x", of("oil")), given: testNamespace("x", owner("oil")),
			want: outcome{Claim: "oil [oil uid-of-oil]"}, wantFinal: "the label",
		},
		"administrator removes the owner only": {
			requester: admin, old: testNamespace("x", of("oil")), given: testNamespace("x", label("oil")),
			want: outcome{Claim: "oil [oil uid-of-oil]"}, wantFinal: "the label",
		},
		"administrator removes both": {
			requester: admin, old: testNamespace("x", of("oil")), given: testNamespace("x"),
		},
		"administrator repairs an earlier UID": {
			requester: admin, old: testNamespace("x", label("oil")), given: testNamespace("x", label("oil"), ownerWith("oil", "earlier", "v1beta2")),
			want: outcome{Claim: "oil [oil uid-of-oil]", Joins: "oil"}, wantFinal: "the label",
		},
		"administrator leaves another version alone": {
			requester: admin, old: testNamespace("x", label("oil")), given: testNamespace("x", label("oil"), ownerWith("oil", uid("oil"), "v1beta1")),
			want: outcome{Joins: "oil"},
		},
		"administrator changes something else of an odd one": {
			requester: admin, old: testNamespace("x", label("gone")), given: testNamespace("x", label("gone"), annotated),
		},
		"administrator names a Tenant that does not exist": {
			requester: admin, old: testNamespace("x"), given: testNamespace("x", label("wind")),
			want: outcome{Refusal: `there is no Tenant "wind"`}, wantFinal: `there is no Tenant "wind"`,
		},
		"administrator names a Tenant that is being deleted": {
			requester: admin, old: testNamespace("x"), given: testNamespace("x", label("old")),
			want: outcome{Refusal: `tenant "old" is being deleted`}, wantFinal: `tenant "old" is being deleted`,
		},
		"administrator takes a protected one": {
			requester: admin, config: &capsulev1beta2.CapsuleConfigurationSpec{ProtectedNamespaceRegex: "^kube-"},
			old: testNamespace("kube-public"), given: testNamespace("kube-public", label("oil")),
			want:      outcome{Refusal: `namespace "kube-public" is protected`, Event: "InvalidTenantPrefix on oil"},
			wantFinal: `namespace "kube-public" is protected`,
		},
		"administrator, prefix forced: it is for creation": {
			requester: admin, config: &capsulev1beta2.CapsuleConfigurationSpec{ForceTenantPrefix: true},
			old: testNamespace("x"), given: testNamespace("x", of("oil")), want: outcome{Joins: "oil"},
		},
		"administrator joins by status": {
			requester: admin, subresource: "status", old: testNamespace("x"), given: testNamespace("x", label("oil")),
			want:      outcome{Refusal: `label capsule.clastix.io/tenant and ownerReference of namespace "x" have to name the same Tenant`},
			wantFinal: `label capsule.clastix.io/tenant and ownerReference of namespace "x" have to name the same Tenant`,
		},
		"administrator joins a frozen one": {
			requester: admin, old: testNamespace("x"), given: testNamespace("x", of("ice")), want: outcome{Joins: "ice"},
		},

		// Owners.
		"owner changes something else": {
			requester: user, old: testNamespace("x", of("oil")), given: testNamespace("x", of("oil"), annotated),
		},
		"owner removes the label": {
			requester: user, old: testNamespace("x", of("oil")), given: testNamespace("x", owner("oil")),
			want: outcome{Claim: "oil [oil uid-of-oil]"}, wantFinal: "the label",
		},
		"owner changes the label": {
			requester: user, old: testNamespace("x", of("oil")), given: testNamespace("x", label("gas"), owner("oil")),
			want:      outcome{Claim: "oil [oil uid-of-oil]", Warning: `namespace "x" stays in tenant "oil": references to other Tenants were removed`},
			wantFinal: "the label",
		},
		"owner removes the owner": {
			requester: user, old: testNamespace("x", of("oil")), given: testNamespace("x", label("oil")),
			want: outcome{Claim: "oil [oil uid-of-oil]"}, wantFinal: "the label",
		},
		"owner adds an owner": {
			requester: user, old: testNamespace("x", of("oil")), given: testNamespace("x", of("oil"), ownerWith("sun", uid("sun"), "v1beta1")),
			want:      outcome{Claim: "oil [oil uid-of-oil]", Warning: `namespace "x" stays in tenant "oil": references to other Tenants were removed`},
			wantFinal: "the label",
		},
		"owner changes the version and the flags": {
			requester: user, old: testNamespace("x", of("oil")), given: testNamespace("x", label("oil"), ownerWith("oil", uid("oil"), "v1beta1"), func(n *metav1.PartialObjectMetadata) {
				n.OwnerReferences[0].Controller = new(true)
			}),
			want: outcome{Claim: "oil [oil uid-of-oil]"}, wantFinal: "the label",
		},
		"owner removes both": {
			requester: user, old: testNamespace("x", of("oil")), given: testNamespace("x"),
			want:      outcome{Refusal: `namespace "x" cannot leave tenant "oil"`, Event: "ReasonNamespacePatch on oil"},
			wantFinal: `namespace "x" cannot leave tenant "oil"`,
		},
		"owner migrates to another Tenant of his": {
			requester: user, old: testNamespace("x", of("oil")), given: testNamespace("x", of("gas")),
			want:      outcome{Refusal: `namespace "x" stays in tenant "oil"`, Event: "ReasonNamespacePatch on oil"},
			wantFinal: `namespace "x" stays in tenant "oil"`,
		},
		"owner names an earlier Tenant of the same name": {
			requester: user, old: testNamespace("x", of("oil")), given: testNamespace("x", label("gas"), ownerWith("oil", "earlier", "v1beta2")),
			want:      outcome{Refusal: `namespace "x" stays in tenant "oil"`, Event: "ReasonNamespacePatch on oil"},
			wantFinal: `namespace "x" stays in tenant "oil"`,
		},
		"owner removes the label by status": {
			requester: user, subresource: "status", old: testNamespace("x", of("oil")), given: testNamespace("x", owner("oil")),
			want:      outcome{Refusal: `namespace "x" stays in tenant "oil"`, Event: "ReasonNamespacePatch on oil"},
			wantFinal: `namespace "x" stays in tenant "oil"`,
		},
		"owner of a frozen Tenant": {
			requester: user, old: testNamespace("x", of("ice")), given: testNamespace("x", of("ice"), annotated),
			want: outcome{Refusal: `namespace "x" can neither be created, changed nor deleted, tenant "ice" is cordoned`, Event: "Cordoned on ice"}, wantFinal: `namespace "x" can neither be created, changed nor deleted, tenant "ice" is cordoned`,
		},
		"owner whose Tenant is being deleted": {
			requester: user, old: testNamespace("x", of("old")), given: testNamespace("x", of("old"), annotated),
		},

		// Capsule users who are not owners.
		"user changes a namespace of nobody": {
			requester: user, old: testNamespace("kube-system"), given: testNamespace("kube-system", annotated),
			want:      outcome{Refusal: `namespace "kube-system" belongs to no tenant`},
			wantFinal: `namespace "kube-system" belongs to no tenant`,
		},
		"user takes a namespace of nobody": {
			requester: user, old: testNamespace("kube-system"), given: testNamespace("kube-system", of("oil")),
			want:      outcome{Refusal: `namespace "kube-system" cannot be taken into a tenant by its users`},
			wantFinal: `namespace "kube-system" cannot be taken into a tenant by its users`,
		},
		"user changes a namespace of somebody else": {
			requester: user, old: testNamespace("x", of("sun")), given: testNamespace("x", of("sun"), annotated),
			want:      outcome{Refusal: `namespace "x" is not a namespace of a Tenant that you own`, Event: "ReasonNamespacePatch on sun"},
			wantFinal: `namespace "x" is not a namespace of a Tenant that you own`,
		},
		"user takes a namespace of somebody else": {
			requester: user, old: testNamespace("x", of("sun")), given: testNamespace("x", of("oil")),
			want:      outcome{Refusal: `namespace "x" is not a namespace of a Tenant that you own`, Event: "ReasonNamespacePatch on sun"},
			wantFinal: `namespace "x" is not a namespace of a Tenant that you own`,
		},
		"user changes one whose label alone names his Tenant": {
			requester: user, old: testNamespace("x", label("oil")), given: testNamespace("x", of("oil")),
			want:      outcome{Refusal: `namespace "x" is not a namespace of a Tenant that you own`},
			wantFinal: `namespace "x" is not a namespace of a Tenant that you own`,
		},
		"user changes one of an earlier Tenant of the name": {
			requester: user, old: testNamespace("x", label("oil"), ownerWith("oil", "earlier", "v1beta2")), given: testNamespace("x", of("oil")),
			want:      outcome{Refusal: `namespace "x" is not a namespace of a Tenant that you own`},
			wantFinal: `namespace "x" is not a namespace of a Tenant that you own`,
		},

		// All others: cluster administrators who are not listed, too.
		"unknown, nothing about tenants": {
			requester: unknown, old: testNamespace("x"), given: testNamespace("x", annotated),
		},
		"unknown, a tenant's, something else": {
			requester: unknown, old: testNamespace("x", of("oil")), given: testNamespace("x", of("oil"), annotated),
		},
		"unknown puts it into a tenant": {
			requester: unknown, old: testNamespace("x"), given: testNamespace("x", of("oil")),
			want:      outcome{Refusal: `only an administrator in the CapsuleConfiguration changes the tenant of namespace "x"`},
			wantFinal: `only an administrator in the CapsuleConfiguration changes the tenant of namespace "x"`,
		},
		"unknown puts it into a tenant by status": {
			requester: unknown, subresource: "status", old: testNamespace("x"), given: testNamespace("x", of("oil")),
			want:      outcome{Refusal: `only an administrator in the CapsuleConfiguration changes the tenant of namespace "x"`},
			wantFinal: `only an administrator in the CapsuleConfiguration changes the tenant of namespace "x"`,
		},
		"unknown takes it out of its tenant": {
			requester: unknown, old: testNamespace("x", of("oil")), given: testNamespace("x"),
			want:      outcome{Refusal: `only an administrator in the CapsuleConfiguration changes the tenant of namespace "x"`, Event: "ReasonNamespacePatch on oil"},
			wantFinal: `only an administrator in the CapsuleConfiguration changes the tenant of namespace "x"`,
		},
		"unknown changes the tenant": {
			requester: unknown, old: testNamespace("x", of("oil")), given: testNamespace("x", of("sun")),
			want:      outcome{Refusal: `only an administrator in the CapsuleConfiguration changes the tenant of namespace "x"`, Event: "ReasonNamespacePatch on oil"},
			wantFinal: `only an administrator in the CapsuleConfiguration changes the tenant of namespace "x"`,
		},
		"unknown adds an owner of another version": {
			requester: unknown, old: testNamespace("x", of("oil")), given: testNamespace("x", of("oil"), ownerWith("sun", uid("sun"), "v1beta1")),
			want:      outcome{Refusal: `only an administrator in the CapsuleConfiguration changes the tenant of namespace "x"`, Event: "ReasonNamespacePatch on oil"},
			wantFinal: `only an administrator in the CapsuleConfiguration changes the tenant of namespace "x"`,
		},
		"unknown adds an owner that is no Tenant of ours": {
			requester: unknown, old: testNamespace("x", of("oil")), given: testNamespace("x", of("oil"), foreignOwner),
		},

		// On its way out.
		"terminating, user of nobody's": {
			requester: user, old: testNamespace("x", terminating), given: testNamespace("x", terminating, annotated),
		},
		"terminating, frozen": {
			requester: user, old: testNamespace("x", of("ice"), terminating), given: testNamespace("x", of("ice"), terminating, annotated),
		},
		"terminating, owner removes the label": {
			requester: user, old: testNamespace("x", of("oil"), terminating), given: testNamespace("x", owner("oil"), terminating),
			want:      outcome{Refusal: `namespace "x" is being deleted or finalized`, Event: "ReasonNamespacePatch on oil"},
			wantFinal: `namespace "x" is being deleted or finalized`,
		},
		"finalize, unchanged": {
			requester: unknown, subresource: "finalize", old: testNamespace("x", of("oil")), given: testNamespace("x", of("oil")),
		},
		"finalize, taken": {
			requester: unknown, subresource: "finalize", old: testNamespace("x"), given: testNamespace("x", of("oil")),
			want:      outcome{Refusal: `namespace "x" is being deleted or finalized`},
			wantFinal: `namespace "x" is being deleted or finalized`,
		},
		"finalize, owner": {
			requester: user, subresource: "finalize", old: testNamespace("x", of("oil"), terminating), given: testNamespace("x", of("gas"), terminating),
			want:      outcome{Refusal: `namespace "x" is being deleted or finalized`, Event: "ReasonNamespacePatch on oil"},
			wantFinal: `namespace "x" is being deleted or finalized`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			info := person("alice")
			r := Request{
				Operation: admissionv1.Update, Subresource: test.subresource,
				Name: test.given.Name, Old: test.old, New: test.given, User: info,
			}
			f := factsOf(test.requester, info, tenants...)
			f.Config = test.config

			if got := Validate(r, f); !hasPrefix(got.Refusal, test.wantFinal) {
				t.Errorf("Validate alone: got %q, want %q", got.Refusal, test.wantFinal)
			}
			mutated := Mutate(r, f)
			final := r
			final.New = apply(r.New, mutated)
			validated := Validate(final, f)

			got, want := outcomeOf(mutated), test.want
			got.Joins = outcomeOf(validated).Joins
			if want.Refusal != "" && strings.HasPrefix(got.Refusal, want.Refusal) {
				want.Refusal = got.Refusal
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("unexpected decision (-want +got):\n%s", diff)
			}
			if (mutated.Refusal == "") != (validated.Refusal == "") {
				t.Errorf("the phases disagree: Mutate said %q, Validate %q", mutated.Refusal, validated.Refusal)
			}
		})
	}
}

func TestDelete(t *testing.T) {
	tenants := []*capsulev1beta2.Tenant{testTenant("oil", "alice"), cordoned(testTenant("ice", "alice"))}
	tests := map[string]struct {
		requester tenant.Requester
		given     *metav1.PartialObjectMetadata
		want      string
	}{
		"owner":                        {requester: tenant.CapsuleUser, given: testNamespace("x", of("oil"))},
		"owner, frozen":                {requester: tenant.CapsuleUser, given: testNamespace("x", of("ice")), want: `namespace "x" can neither be created, changed nor deleted, tenant "ice" is cordoned`},
		"owner, frozen, terminating":   {requester: tenant.CapsuleUser, given: testNamespace("x", of("ice"), terminating)},
		"owner, the Tenant is gone":    {requester: tenant.CapsuleUser, given: testNamespace("x", of("gone"))},
		"owner, an earlier Tenant":     {requester: tenant.CapsuleUser, given: testNamespace("x", label("ice"), ownerWith("ice", "earlier", "v1beta2"))},
		"user, nobody's: RBAC decides": {requester: tenant.CapsuleUser, given: testNamespace("x")},
		"administrator, frozen":        {requester: tenant.Administrator, given: testNamespace("x", of("ice"))},
		"unknown, frozen":              {requester: tenant.Unknown, given: testNamespace("x", of("ice"))},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			info := person("alice")
			got := Validate(Request{Operation: admissionv1.Delete, Name: "x", Old: test.given, User: info},
				factsOf(test.requester, info, tenants...))
			if !hasPrefix(got.Refusal, test.want) {
				t.Errorf("got %q, want %q", got.Refusal, test.want)
			}
		})
	}
}
