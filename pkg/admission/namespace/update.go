// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
)

// update decides about a change of a namespace.
func update(r Request, f Facts) Decision {
	old, said := ClaimOf(r.Old), ClaimOf(r.New)
	if r.Subresource == "finalize" || r.Old.DeletionTimestamp != nil {
		// On its way out nothing is put back or repaired, and nothing is held up.
		if said.Equal(old) {
			return Decision{}
		}
		return refuse("%s is being deleted or finalized: its label %s and the Tenants among its owners stay as they are",
			r, capsulev1beta2.TenantLabel).on(f.belongs(old), reasonPatch, r.User)
	}
	switch f.Requester {
	case tenant.CapsuleUser:
		return updateByUser(r, f, old, said)
	case tenant.Administrator, tenant.Controller:
		return updateByAdministrator(r, f, old, said)
	default:
		if said.Equal(old) {
			return Decision{}
		}
		return refuse("only an administrator in the CapsuleConfiguration changes the tenant of %s: "+
			"leave its label %s and the Tenants among its ownerReferences as they are", r, capsulev1beta2.TenantLabel).
			on(f.belongs(old), reasonPatch, r.User)
	}
}

// updateByUser lets owners change what is theirs, but not whose it is. Capsule
// users may patch every namespace by RBAC: this is what keeps them from it.
func updateByUser(r Request, f Facts, old, said Claim) Decision {
	t := f.belongs(old)
	switch {
	case old.Empty() && !said.Empty():
		return refuse("%s cannot be taken into a tenant by its users: create a new namespace, or ask a cluster administrator", r)
	case old.Empty():
		return refuse("%s belongs to no tenant: capsule users change only namespaces of Tenants that they own", r)
	case t == nil || !f.owns(t, r.User):
		return refuse("%s is not a namespace of a Tenant that you own: capsule users change only those", r).on(t, reasonPatch, r.User)
	}
	if d := f.refuseIfCordoned(t, r); d.Refusal != "" {
		return d
	}
	switch {
	case said.Equal(old):
		return Decision{}
	case said.Empty():
		return refuse("%s cannot leave tenant %q: keep its label %s and its ownerReference to the Tenant",
			r, t.Name, capsulev1beta2.TenantLabel).on(t, reasonPatch, r.User)
	case r.Subresource != "" || !said.mentions(tenant.RefOf(t)):
		return refuse("%s stays in tenant %q: leave its label %s and the Tenants among its ownerReferences as they are",
			r, t.Name, capsulev1beta2.TenantLabel).on(t, reasonPatch, r.User)
	}
	// It is still about this Tenant: what is missing or odd is put back.
	d := Decision{Claim: &old}
	if said.label != "" && said.label != t.Name || len(said.owners) > len(old.owners) {
		d.Warning = r.String() + " stays in tenant \"" + t.Name + "\": references to other Tenants were removed"
	}
	return d
}

// updateByAdministrator lets administrators move namespaces into Tenants, out of
// them, and between them.
func updateByAdministrator(r Request, f Facts, old, said Claim) Decision {
	// What was odd before is no reason to refuse something else.
	if said.Empty() || said.Equal(old) {
		return Decision{}
	}
	t, d := meant(r, f, old, said)
	if t == nil {
		return d
	}
	if f.belongs(old) != t {
		if d := refuseJoin(r, f, t); d.Refusal != "" {
			return d
		}
		d.Joins = t
	}
	if f.belongs(said) == t {
		return d
	}
	want := claimOn(t)
	if r.Subresource != "" {
		return refuse("label %s and ownerReference of %s have to name the same Tenant: change both, or change the namespace itself, "+
			"not its %s: the other half is added there", capsulev1beta2.TenantLabel, r, r.Subresource)
	}
	d.Claim = &want
	return d
}
