// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
)

// outcome is a decision, written so that a difference is easily read.
type outcome struct {
	Refusal string
	Claim   string
	Joins   string
	Warning string
	Event   string
}

func outcomeOf(d Decision) outcome {
	o := outcome{Refusal: d.Refusal, Warning: d.Warning}
	if d.Claim != nil {
		o.Claim = written(*d.Claim)
	}
	if d.Joins != nil {
		o.Joins = d.Joins.Name
	}
	if d.Event != nil {
		o.Event = d.Event.Reason + " on " + d.Event.Tenant.Name
	}
	return o
}

func written(c Claim) string {
	var owners []string
	for _, owner := range c.owners {
		owners = append(owners, fmt.Sprintf("%s %s", owner.Name, owner.UID))
	}
	return fmt.Sprintf("%s [%s]", c.label, strings.Join(owners, ", "))
}

// apply makes the namespace what Mutate wants it to be.
func apply(namespace *metav1.PartialObjectMetadata, d Decision) *metav1.PartialObjectMetadata {
	if d.Claim == nil {
		return namespace
	}
	namespace = namespace.DeepCopy()
	var owners []metav1.OwnerReference
	for _, owner := range namespace.OwnerReferences {
		if !tenant.IsTenant(owner) {
			owners = append(owners, owner)
		}
	}
	namespace.OwnerReferences = append(owners, d.Claim.owners...)
	metav1.SetMetaDataLabel(&namespace.ObjectMeta, capsulev1beta2.TenantLabel, d.Claim.label)
	return namespace
}

func TestCreate(t *testing.T) {
	const (
		user  = tenant.CapsuleUser
		admin = tenant.Administrator
	)
	oil, gas := testTenant("oil", "alice"), testTenant("gas", "alice")
	force := &capsulev1beta2.CapsuleConfigurationSpec{ForceTenantPrefix: true}
	protect := &capsulev1beta2.CapsuleConfigurationSpec{ProtectedNamespaceRegex: "^(kube|default)"}

	tests := map[string]struct {
		requester tenant.Requester
		config    *capsulev1beta2.CapsuleConfigurationSpec
		tenants   []*capsulev1beta2.Tenant
		given     *metav1.PartialObjectMetadata
		want      outcome
	}{
		// Mutating: who is assigned, and to what.
		"unknown, nothing said": {requester: tenant.Unknown, given: testNamespace("x")},
		"unknown, another owner of kind Tenant": {
			requester: tenant.Unknown, given: testNamespace("x", foreignOwner),
		},
		"unknown, label": {
			requester: tenant.Unknown, tenants: []*capsulev1beta2.Tenant{oil}, given: testNamespace("x", label("oil")),
			want: outcome{Refusal: `namespace "x" refers to a Tenant: only capsule users that own the Tenant`},
		},
		"unknown, empty label": {
			requester: tenant.Unknown, given: testNamespace("x", label("")),
			want: outcome{Refusal: `namespace "x" refers to a Tenant: only capsule users that own the Tenant`},
		},
		"unknown, owner of an older version": {
			requester: tenant.Unknown, given: testNamespace("x", ownerWith("oil", "?", "v1alpha1")),
			want: outcome{Refusal: `namespace "x" refers to a Tenant: only capsule users that own the Tenant`},
		},
		"administrator, nothing said": {requester: admin, tenants: []*capsulev1beta2.Tenant{oil}, given: testNamespace("x")},
		"administrator, label": {
			requester: admin, tenants: []*capsulev1beta2.Tenant{oil}, given: testNamespace("x", label("oil")),
			want: outcome{Claim: "oil [oil uid-of-oil]", Joins: "oil"},
		},
		"administrator, owner only, of an earlier Tenant, as a backup has it": {
			requester: admin, tenants: []*capsulev1beta2.Tenant{oil}, given: testNamespace("x", ownerWith("oil", "earlier", "v1beta2")),
			want: outcome{Claim: "oil [oil uid-of-oil]", Joins: "oil"},
		},
		"administrator, all said": {
			requester: admin, tenants: []*capsulev1beta2.Tenant{oil}, given: testNamespace("x", of("oil")),
			want: outcome{Joins: "oil"},
		},
		"administrator, label and owner disagree": {
			requester: admin, tenants: []*capsulev1beta2.Tenant{oil, gas}, given: testNamespace("x", label("oil"), owner("gas")),
			want: outcome{Refusal: `namespace "x" refers to the Tenants "gas" and "oil": its label`},
		},
		"administrator, no such Tenant": {
			requester: admin, given: testNamespace("x", label("oil")),
			want: outcome{Refusal: `there is no Tenant "oil" that namespace "x" could belong to: create it first`},
		},
		"administrator, empty label": {
			requester: admin, given: testNamespace("x", label("")),
			want: outcome{Refusal: `namespace "x" has the label capsule.clastix.io/tenant without a value`},
		},
		"the controller, label": {
			requester: tenant.Controller, tenants: []*capsulev1beta2.Tenant{oil}, given: testNamespace("x", label("oil")),
			want: outcome{Claim: "oil [oil uid-of-oil]", Joins: "oil"},
		},
		"label, no such Tenant": {
			requester: user, tenants: []*capsulev1beta2.Tenant{oil}, given: testNamespace("x", label("gas")),
			want: outcome{Refusal: `you own no Tenant "gas": set the label capsule.clastix.io/tenant of namespace "x" to a Tenant that you own, or leave it out`},
		},
		"label, not the owner: the same words": {
			requester: user, tenants: []*capsulev1beta2.Tenant{oil, testTenant("gas", "bob")}, given: testNamespace("x", label("gas")),
			want: outcome{Refusal: `you own no Tenant "gas": set the label capsule.clastix.io/tenant of namespace "x" to a Tenant that you own, or leave it out`},
		},
		"label, owner": {
			requester: user, tenants: []*capsulev1beta2.Tenant{oil, gas}, given: testNamespace("x", label("gas")),
			want: outcome{Claim: "gas [gas uid-of-gas]", Joins: "gas"},
		},
		"label, owner of another Tenant": {
			requester: user, tenants: []*capsulev1beta2.Tenant{oil, testTenant("gas", "bob")}, given: testNamespace("x", label("oil"), owner("gas"), owner("oil"), foreignOwner),
			want: outcome{Claim: "oil [oil uid-of-oil]", Joins: "oil"},
		},
		"owner only, of a Tenant of somebody else": {
			requester: user, tenants: []*capsulev1beta2.Tenant{oil, testTenant("gas", "bob")}, given: testNamespace("x", owner("gas")),
			want: outcome{Claim: "oil [oil uid-of-oil]", Joins: "oil"},
		},
		"owns none": {
			requester: user, tenants: []*capsulev1beta2.Tenant{testTenant("gas", "bob")}, given: testNamespace("gas-x"),
			want: outcome{Refusal: `you own no Tenant that namespace "gas-x" could belong to: ask a cluster administrator to make you an owner of one`},
		},
		"owns one": {
			requester: user, tenants: []*capsulev1beta2.Tenant{oil, testTenant("gas", "bob")}, given: testNamespace("gas-x"),
			want: outcome{Claim: "oil [oil uid-of-oil]", Joins: "oil"},
		},
		"owns one, empty label": {
			requester: user, tenants: []*capsulev1beta2.Tenant{oil}, given: testNamespace("x", label("")),
			want: outcome{Claim: "oil [oil uid-of-oil]", Joins: "oil"},
		},
		"owns several, one is the prefix": {
			requester: user, tenants: []*capsulev1beta2.Tenant{oil, gas}, given: testNamespace("gas-x"),
			want: outcome{Claim: "gas [gas uid-of-gas]", Joins: "gas"},
		},
		"owns several, the longest prefix": {
			requester: user, tenants: []*capsulev1beta2.Tenant{oil, testTenant("oil-sea", "alice"), gas}, given: testNamespace("oil-sea-x"),
			want: outcome{Claim: "oil-sea [oil-sea uid-of-oil-sea]", Joins: "oil-sea"},
		},
		"owns several, a prefix without a dash is none": {
			requester: user, tenants: []*capsulev1beta2.Tenant{oil, gas}, given: testNamespace("oily"),
			want: outcome{Refusal: `you own the Tenants "gas" and "oil": begin namespace "oily" with the name of one of them and a dash, or set its label capsule.clastix.io/tenant to one of them`},
		},
		"owns several, a prefix of somebody else": {
			requester: user, tenants: []*capsulev1beta2.Tenant{oil, gas, testTenant("sun", "bob")}, given: testNamespace("sun-x"),
			want: outcome{Refusal: `you own the Tenants "gas" and "oil": begin namespace "sun-x"`},
		},
		"owns several, no prefix, forced": {
			requester: user, config: force, tenants: []*capsulev1beta2.Tenant{oil, gas}, given: testNamespace("x"),
			want: outcome{Refusal: `namespace "x" must begin with the name of one of the Tenants that you own: "gas-" or "oil-"`},
		},

		// The prefix.
		"forced by the configuration": {
			requester: user, config: force, tenants: []*capsulev1beta2.Tenant{testTenant("dev", "alice")}, given: testNamespace("demo"),
			want: outcome{
				Refusal: `namespace "demo" must begin with "dev-": tenant "dev" forces its name as a prefix`,
				Event:   "InvalidTenantPrefix on dev",
			},
		},
		"forced by the configuration, kept": {
			requester: user, config: force, tenants: []*capsulev1beta2.Tenant{testTenant("dev", "alice")}, given: testNamespace("dev-demo"),
			want: outcome{Claim: "dev [dev uid-of-dev]", Joins: "dev"},
		},
		"forced by the configuration, not by the Tenant": {
			requester: user, config: force, tenants: []*capsulev1beta2.Tenant{prefixed(testTenant("dev", "alice"), false)}, given: testNamespace("demo"),
			want: outcome{Claim: "dev [dev uid-of-dev]", Joins: "dev"},
		},
		"forced by the Tenant alone, chosen by label": {
			requester: user, tenants: []*capsulev1beta2.Tenant{prefixed(testTenant("dev", "alice"), true), oil}, given: testNamespace("oil-x", label("dev")),
			want: outcome{
				Refusal: `namespace "oil-x" must begin with "dev-": tenant "dev" forces its name as a prefix`,
				Event:   "InvalidTenantPrefix on dev",
			},
		},
		"forced upon administrators": {
			requester: admin, config: force, tenants: []*capsulev1beta2.Tenant{oil}, given: testNamespace("x", label("oil")),
			want: outcome{
				Refusal: `namespace "x" must begin with "oil-": tenant "oil" forces its name as a prefix`,
				Event:   "InvalidTenantPrefix on oil",
			},
		},

		// What no tenant gets, and who gets nothing.
		"protected name": {
			requester: user, config: protect, tenants: []*capsulev1beta2.Tenant{oil}, given: testNamespace("kube-x"),
			want: outcome{Refusal: `namespace "kube-x" is protected: a tenant's namespace cannot have a name that matches`, Event: "InvalidTenantPrefix on oil"},
		},
		"protected name, administrator": {
			requester: admin, config: protect, tenants: []*capsulev1beta2.Tenant{oil}, given: testNamespace("kube-x", label("oil")),
			want: outcome{Refusal: `namespace "kube-x" is protected: a tenant's namespace cannot have a name that matches`, Event: "InvalidTenantPrefix on oil"},
		},
		"protected name, no tenant's": {requester: admin, config: protect, given: testNamespace("kube-x")},
		"the regular expression is none": {
			requester: user, config: &capsulev1beta2.CapsuleConfigurationSpec{ProtectedNamespaceRegex: "("}, tenants: []*capsulev1beta2.Tenant{oil}, given: testNamespace("x"),
			want: outcome{Refusal: `spec.protectedNamespaceRegex of the CapsuleConfiguration, "(", is not a regular expression`},
		},
		"the Tenant is being deleted": {
			requester: user, tenants: []*capsulev1beta2.Tenant{deleted(testTenant("oil", "alice"))}, given: testNamespace("x"),
			want: outcome{Refusal: `tenant "oil" is being deleted and takes no namespaces: wait until it is gone`},
		},
		"the Tenant is cordoned": {
			requester: user, tenants: []*capsulev1beta2.Tenant{cordoned(testTenant("oil", "alice"))}, given: testNamespace("x"),
			want: outcome{
				Refusal: `namespace "x" can neither be created, changed nor deleted, tenant "oil" is cordoned: wait until a cluster administrator sets spec.cordoned of the Tenant to false`,
				Event:   "Cordoned on oil",
			},
		},
		"the Tenant is cordoned, administrator": {
			requester: admin, tenants: []*capsulev1beta2.Tenant{cordoned(testTenant("oil", "alice"))}, given: testNamespace("x", label("oil")),
			want: outcome{Claim: "oil [oil uid-of-oil]", Joins: "oil"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			info := person("alice")
			r := Request{Operation: admissionv1.Create, Name: test.given.Name, New: test.given, User: info}
			f := factsOf(test.requester, info, test.tenants...)
			f.Config = test.config

			final := r
			mutated := Mutate(r, f)
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
			// The second phase agrees with the first.
			if (mutated.Refusal == "") != (validated.Refusal == "") {
				t.Errorf("the phases disagree: Mutate said %q, Validate %q", mutated.Refusal, validated.Refusal)
			}
		})
	}
}

func TestCreateWithGeneratedName(t *testing.T) {
	long := strings.Repeat("a", 60)
	tests := map[string]struct {
		generateName string
		tenant       *capsulev1beta2.Tenant
		final        string
		wantMutate   string
		wantValidate string
	}{
		"with the prefix":             {generateName: "dev-", tenant: testTenant("dev", "alice"), final: "dev-x2z4b"},
		"with more than the prefix":   {generateName: "dev-demo-", tenant: testTenant("dev", "alice"), final: "dev-demo-x2z4b"},
		"the dash cannot be a random": {generateName: "dev", tenant: testTenant("dev", "alice"), wantMutate: `namespace "dev*" must begin with "dev-"`},
		"another prefix":              {generateName: "x-", tenant: testTenant("dev", "alice"), wantMutate: `namespace "x-*" must begin with "dev-"`},
		"what is cut off does not count": {
			generateName: long + "-", tenant: testTenant(long, "alice"), wantMutate: `namespace "` + long + `-*" must begin with "` + long + `-"`,
		},
		"protected by chance": {
			generateName: "dev-", tenant: testTenant("dev", "alice"), final: "dev-kubes", wantValidate: `namespace "dev-kubes" is protected`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			info := person("alice")
			given := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{GenerateName: test.generateName}}
			f := factsOf(tenant.CapsuleUser, info, test.tenant)
			f.Config = &capsulev1beta2.CapsuleConfigurationSpec{ForceTenantPrefix: true, ProtectedNamespaceRegex: "kube"}

			mutated := Mutate(Request{Operation: admissionv1.Create, GenerateName: test.generateName, New: given, User: info}, f)
			if !hasPrefix(mutated.Refusal, test.wantMutate) {
				t.Fatalf("Mutate: got %q, want %q", mutated.Refusal, test.wantMutate)
			}
			if mutated.Refusal != "" {
				return
			}
			final := apply(given, mutated)
			final.Name = test.final
			validated := Validate(Request{Operation: admissionv1.Create, Name: test.final, New: final, User: info}, f)
			if !hasPrefix(validated.Refusal, test.wantValidate) {
				t.Fatalf("Validate: got %q, want %q", validated.Refusal, test.wantValidate)
			}
		})
	}
}

// hasPrefix compares the beginning of a message; no message is no message.
func hasPrefix(got, want string) bool {
	return strings.HasPrefix(got, want) && (got == "") == (want == "")
}

func TestValidateCreateRefusesWhatMutateDidNotAssign(t *testing.T) {
	info := person("alice")
	f := factsOf(tenant.CapsuleUser, info, testTenant("oil", "alice"), testTenant("gas", "alice"))
	tests := map[string]struct {
		given *metav1.PartialObjectMetadata
		want  string
	}{
		"nothing":              {given: testNamespace("x"), want: `namespace "x" was not assigned to a Tenant`},
		"owner without label":  {given: testNamespace("x", owner("oil")), want: `namespace "x" was not assigned to a Tenant`},
		"label without owner":  {given: testNamespace("x", label("oil")), want: "the label capsule.clastix.io/tenant and the Tenants"},
		"two owners":           {given: testNamespace("x", of("oil"), owner("gas")), want: "the label capsule.clastix.io/tenant and the Tenants"},
		"the same owner twice": {given: testNamespace("x", of("oil"), ownerWith("oil", uid("oil"), "v1beta1")), want: "the label capsule.clastix.io/tenant and the Tenants"},
		"an earlier Tenant":    {given: testNamespace("x", label("oil"), ownerWith("oil", "earlier", "v1beta2")), want: "the label capsule.clastix.io/tenant and the Tenants"},
		"as it has to be":      {given: testNamespace("x", of("oil"), foreignOwner)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := Validate(Request{Operation: admissionv1.Create, Name: "x", New: test.given, User: info}, f)
			if !hasPrefix(got.Refusal, test.want) {
				t.Errorf("got %q, want %q", got.Refusal, test.want)
			}
		})
	}
}

func TestListIsBounded(t *testing.T) {
	names := []string{"c", "b", "a"}
	for i := range 10 {
		names = append(names, fmt.Sprintf("n%02d", i))
	}
	want := `"a", "b", "c", "n00", "n01", "n02", "n03", "n04", "n05", "n06" and 3 more`
	if diff := cmp.Diff(want, list(names, "", "and")); diff != "" {
		t.Errorf("unexpected list (-want +got):\n%s", diff)
	}
}
