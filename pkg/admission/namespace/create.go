// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
)

// create decides about a new namespace.
func create(r Request, f Facts) Decision {
	said := ClaimOf(r.New)
	switch f.Requester {
	case tenant.CapsuleUser:
		t, d := choose(r, f, said)
		if t == nil {
			return d
		}
		if d := f.refuseIfCordoned(t, r); d.Refusal != "" {
			return d
		}
		return assign(r, f, said, t)
	case tenant.Administrator, tenant.Controller:
		if said.Empty() {
			return Decision{}
		}
		t, d := meant(r, f, Claim{}, said)
		if t == nil {
			return d
		}
		return assign(r, f, said, t)
	default:
		if said.Empty() {
			return Decision{}
		}
		return refuse("%s refers to a Tenant: only capsule users that own the Tenant, and the administrators in the "+
			"CapsuleConfiguration, create namespaces in it: leave out the label %s and the Tenants among the ownerReferences, "+
			"or ask a cluster administrator to count you among them", r, capsulev1beta2.TenantLabel)
	}
}

// assign puts a new namespace into the Tenant, if that takes it.
func assign(r Request, f Facts, said Claim, t *capsulev1beta2.Tenant) Decision {
	if d := refuseJoin(r, f, t); d.Refusal != "" {
		return d
	}
	if prefix := t.Name + "-"; forcesPrefix(t, f.Config) && !strings.HasPrefix(r.base(), prefix) {
		return refuse("%s must begin with %q: tenant %q forces its name as a prefix", r, prefix, t.Name).
			on(t, reasonPrefix, r.User)
	}
	d := Decision{Joins: t}
	// Whatever other Tenants it refers to, and whatever the flags, are left behind.
	if want := claimOn(t); !want.Equal(said) {
		d.Claim = &want
	}
	return d
}

// refuseJoin says why the Tenant does not take the namespace, whoever asks.
func refuseJoin(r Request, f Facts, t *capsulev1beta2.Tenant) Decision {
	if t.DeletionTimestamp != nil {
		return refuse("tenant %q is being deleted and takes no namespaces: wait until it is gone, or choose another one for %s",
			t.Name, r)
	}
	if f.Config.ProtectedNamespaceRegex == "" || r.Name == "" {
		return Decision{}
	}
	protected, err := regexp.Compile(f.Config.ProtectedNamespaceRegex)
	if err != nil {
		return refuse("spec.protectedNamespaceRegex of the CapsuleConfiguration, %q, is not a regular expression: "+
			"no tenant gets a namespace until a cluster administrator has corrected it", f.Config.ProtectedNamespaceRegex)
	}
	if protected.MatchString(r.Name) {
		return refuse("%s is protected: a tenant's namespace cannot have a name that matches %q: choose another one",
			r, f.Config.ProtectedNamespaceRegex).on(t, reasonPrefix, r.User)
	}
	return Decision{}
}

// forcesPrefix reports whether the namespaces of the Tenant begin with its name.
func forcesPrefix(t *capsulev1beta2.Tenant, config *capsulev1beta2.CapsuleConfigurationSpec) bool {
	if t.Spec.ForceTenantPrefix != nil {
		return *t.Spec.ForceTenantPrefix
	}
	return config.ForceTenantPrefix
}

// choose finds the Tenant for a capsule user's new namespace: the one that the
// label names, the only one that the user owns, or the one whose name the
// namespace begins with.
func choose(r Request, f Facts, said Claim) (*capsulev1beta2.Tenant, Decision) {
	if said.label != "" {
		t := f.Tenants[said.label]
		if t == nil || !f.owns(t, r.User) {
			return nil, refuse("you own no Tenant %q: set the label %s of %s to a Tenant that you own, or leave it out",
				said.label, capsulev1beta2.TenantLabel, r)
		}
		return t, Decision{}
	}
	switch len(f.Owned) {
	case 0:
		return nil, refuse("you own no Tenant that %s could belong to: ask a cluster administrator to make you an owner of one", r)
	case 1:
		return f.Owned[0], Decision{}
	}
	// Two names of the same length cannot both begin the namespace's.
	candidates := slices.SortedFunc(slices.Values(f.Owned), func(a, b *capsulev1beta2.Tenant) int {
		return cmp.Compare(len(b.Name), len(a.Name))
	})
	for _, t := range candidates {
		if strings.HasPrefix(r.base(), t.Name+"-") {
			return t, Decision{}
		}
	}
	names := make([]string, 0, len(f.Owned))
	for _, t := range f.Owned {
		names = append(names, t.Name)
	}
	if f.Config.ForceTenantPrefix {
		return nil, refuse("%s must begin with the name of one of the Tenants that you own: %s", r, list(names, "-", "or"))
	}
	return nil, refuse("you own the Tenants %s: begin %s with the name of one of them and a dash, or set its label %s to one of them",
		list(names, "", "and"), r, capsulev1beta2.TenantLabel)
}

// meant finds the Tenant that an administrator wants a namespace to belong to, who
// may set its label or its owner, or both: what was changed is what is wanted, and
// half of a pair stands for all of it.
func meant(r Request, f Facts, old, said Claim) (*capsulev1beta2.Tenant, Decision) {
	var names []string
	switch {
	case said.sameOwners(old) && said.label != "":
		names = []string{said.label}
	case said.sameLabel(old) && len(said.owners) > 0:
		names = said.ownerNames()
	default:
		names = said.names()
	}
	slices.Sort(names)
	names = slices.Compact(names)
	switch len(names) {
	case 0:
		return nil, refuse("%s has the label %s without a value: set it to the name of a Tenant, or remove it",
			r, capsulev1beta2.TenantLabel)
	case 1:
	default:
		return nil, refuse("%s refers to the Tenants %s: its label %s and its ownerReferences have to name the same one, and only that",
			r, list(names, "", "and"), capsulev1beta2.TenantLabel)
	}
	t := f.Tenants[names[0]]
	if t == nil {
		return nil, refuse("there is no Tenant %q that %s could belong to: create it first, or name another one in the label %s",
			names[0], r, capsulev1beta2.TenantLabel)
	}
	return t, Decision{}
}
