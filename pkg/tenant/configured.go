// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"cmp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// DefaultConfigurationSpec returns the configuration that is written to a cluster
// that has none.
func DefaultConfigurationSpec() capsulev1beta2.CapsuleConfigurationSpec {
	spec := *DefaultConfiguration()
	spec.CacheInvalidation = &metav1.Duration{Duration: time.Hour}
	return spec
}

// Users returns the capsule users: those that a configuration names, in its new and in
// its old fields, and the TenantOwners that count among them, each once and in order
// of kind and name.
func Users(spec *capsulev1beta2.CapsuleConfigurationSpec, owners ...*capsulev1beta2.TenantOwner) []capsulev1beta2.UserSpec {
	users := slices.Clone(spec.Users)
	for _, name := range spec.UserNames {
		users = append(users, userNamed(name))
	}
	for _, name := range spec.UserGroups {
		users = append(users, capsulev1beta2.UserSpec{Kind: capsulev1beta2.GroupOwner, Name: name})
	}
	for _, owner := range owners {
		if IsAggregated(owner) {
			users = append(users, owner.Spec.UserSpec)
		}
	}
	slices.SortFunc(users, CompareUsers)
	return slices.Compact(users)
}

// IsAggregated reports whether a TenantOwner counts among the capsule users, and can
// be understood.
func IsAggregated(owner *capsulev1beta2.TenantOwner) bool {
	_, err := Subject(owner.Spec.UserSpec)
	return err == nil && ptr.Deref(owner.Spec.Aggregate, true)
}

// CompareUsers orders users by kind and name.
func CompareUsers(a, b capsulev1beta2.UserSpec) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}
