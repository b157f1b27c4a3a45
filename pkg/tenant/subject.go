// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"cmp"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// Subject returns how RBAC names a user, a group, or a service account, whose
// name has to be system:serviceaccount:<namespace>:<name>.
func Subject(u capsulev1beta2.UserSpec) (rbacv1.Subject, error) {
	switch u.Kind {
	case capsulev1beta2.UserOwner, capsulev1beta2.GroupOwner:
		if u.Name == "" {
			return rbacv1.Subject{}, fmt.Errorf("a %s needs a name", u.Kind)
		}
		return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: string(u.Kind), Name: u.Name}, nil
	case capsulev1beta2.ServiceAccountOwner:
		namespace, name, err := serviceaccount.SplitUsername(u.Name)
		if err != nil {
			return rbacv1.Subject{}, fmt.Errorf("%q is not the name of a ServiceAccount: write system:serviceaccount:<namespace>:<name>", u.Name)
		}
		return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}, nil
	default:
		return rbacv1.Subject{}, fmt.Errorf("kind %q is none of %s, %s, %s", u.Kind,
			capsulev1beta2.UserOwner, capsulev1beta2.GroupOwner, capsulev1beta2.ServiceAccountOwner)
	}
}

// Is reports whether an authenticated user is the one that u names: by its own
// name, by a group, or as the service account. As in RBAC it is the user name alone
// that makes a service account, see appliesToUser in
// k8s.io/kubernetes/pkg/registry/rbac/validation: who has its rights has its duties.
func Is(u capsulev1beta2.UserSpec, info user.Info) bool {
	switch u.Kind {
	case capsulev1beta2.GroupOwner:
		return slices.Contains(info.GetGroups(), u.Name)
	case capsulev1beta2.UserOwner:
		return info.GetName() == u.Name
	case capsulev1beta2.ServiceAccountOwner:
		_, _, err := serviceaccount.SplitUsername(u.Name)
		return err == nil && info.GetName() == u.Name
	default:
		return false
	}
}

// CompareSubjects orders subjects by all that names them.
func CompareSubjects(a, b rbacv1.Subject) int {
	return cmp.Or(
		cmp.Compare(a.Kind, b.Kind),
		cmp.Compare(a.Namespace, b.Namespace),
		cmp.Compare(a.Name, b.Name),
		cmp.Compare(a.APIGroup, b.APIGroup),
	)
}
