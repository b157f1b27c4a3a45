// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"slices"

	"k8s.io/apiserver/pkg/authentication/user"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// DefaultClusterRoles are those that an owner has in each namespace of its Tenant
// unless the Tenant says otherwise. Callers must not modify it.
var DefaultClusterRoles = []string{"admin", capsulev1beta2.DeleterRole}

// ClusterRoles returns what an owner has in each namespace: the list of its spec,
// which may be empty, or the default where there is none.
func ClusterRoles(owner capsulev1beta2.CoreOwnerSpec) []string {
	if owner.ClusterRoles == nil {
		return DefaultClusterRoles
	}
	return owner.ClusterRoles
}

// Owners returns who owns the Tenant, each subject once, in the order of their
// first mention, with the union of their ClusterRoles. These are never nil, which
// would read as the default.
func Owners(t *capsulev1beta2.Tenant) []capsulev1beta2.CoreOwnerSpec {
	var owners []capsulev1beta2.CoreOwnerSpec
	index := map[capsulev1beta2.UserSpec]int{}
	for i := range t.Spec.Owners {
		spec := t.Spec.Owners[i].CoreOwnerSpec
		at, known := index[spec.UserSpec]
		if !known {
			at = len(owners)
			index[spec.UserSpec] = at
			owners = append(owners, capsulev1beta2.CoreOwnerSpec{UserSpec: spec.UserSpec, ClusterRoles: []string{}})
		}
		for _, role := range ClusterRoles(spec) {
			if !slices.Contains(owners[at].ClusterRoles, role) {
				owners[at].ClusterRoles = append(owners[at].ClusterRoles, role)
			}
		}
	}
	return owners
}

// IsOwner reports whether an authenticated user owns the Tenant.
func IsOwner(t *capsulev1beta2.Tenant, info user.Info) bool {
	return slices.ContainsFunc(t.Spec.Owners, func(owner capsulev1beta2.OwnerSpec) bool {
		return Is(owner.UserSpec, info)
	})
}
