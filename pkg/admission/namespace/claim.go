// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"slices"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
)

// Claim is everything that a namespace says about its tenant, right or wrong.
type Claim struct {
	// label is the value of the tenant label, labelled whether it has one: an empty
	// value is a claim, too.
	label    string
	labelled bool
	// owners are the Tenants among its owners, exactly as they are written.
	owners []metav1.OwnerReference
}

// ClaimOf returns what a namespace says about its tenant. No namespace says nothing.
func ClaimOf(namespace *metav1.PartialObjectMetadata) Claim {
	var c Claim
	if namespace == nil {
		return c
	}
	c.label, c.labelled = namespace.Labels[capsulev1beta2.TenantLabel]
	for _, owner := range namespace.OwnerReferences {
		if tenant.IsTenant(owner) {
			c.owners = append(c.owners, owner)
		}
	}
	return c
}

// Empty reports whether the namespace says nothing about a tenant.
func (c Claim) Empty() bool { return !c.labelled && len(c.owners) == 0 }

// Equal reports whether two namespaces say the very same.
func (c Claim) Equal(d Claim) bool { return c.sameLabel(d) && c.sameOwners(d) }

func (c Claim) sameLabel(d Claim) bool { return c.labelled == d.labelled && c.label == d.label }

// sameOwners also compares versions and flags: there is no need to change those.
func (c Claim) sameOwners(d Claim) bool { return apiequality.Semantic.DeepEqual(c.owners, d.owners) }

// Of returns the one Tenant that label and owners agree on, see tenant.Of.
func (c Claim) Of() (tenant.Ref, bool) {
	if len(c.owners) != 1 || c.label == "" || c.label != c.owners[0].Name {
		return tenant.Ref{}, false
	}
	return tenant.Ref{Name: c.label, UID: c.owners[0].UID}, true
}

// mentions reports whether label or owners refer to the Tenant.
func (c Claim) mentions(ref tenant.Ref) bool {
	return c.label == ref.Name || slices.ContainsFunc(c.owners, func(owner metav1.OwnerReference) bool {
		return owner.Name == ref.Name && owner.UID == ref.UID
	})
}

// names returns the names of all Tenants that label and owners refer to.
func (c Claim) names() []string {
	var names []string
	if c.label != "" {
		names = append(names, c.label)
	}
	return append(names, c.ownerNames()...)
}

// ownerNames returns the names of the Tenants among the owners, each once.
func (c Claim) ownerNames() []string {
	var names []string
	for _, owner := range c.owners {
		if !slices.Contains(names, owner.Name) {
			names = append(names, owner.Name)
		}
	}
	return names
}

// ref returns the Tenant of that name, with the UID by which an owner refers to it.
func (c Claim) ref(name string) tenant.Ref {
	for _, owner := range c.owners {
		if owner.Name == name {
			return tenant.Ref{Name: name, UID: owner.UID}
		}
	}
	return tenant.Ref{Name: name}
}

// claimOn returns the claim by which a namespace is the Tenant's. The reference is
// no controller's and does not block the Tenant's deletion: setting that takes a
// right that users do not have.
func claimOn(t *capsulev1beta2.Tenant) Claim {
	return Claim{label: t.Name, labelled: true, owners: []metav1.OwnerReference{{
		APIVersion: capsulev1beta2.SchemeGroupVersion.String(),
		Kind:       tenant.Kind,
		Name:       t.Name,
		UID:        t.UID,
	}}}
}
