// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"cmp"
	"slices"
	"strings"
	"unique"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
)

// SubjectKind says whether a subject is a user or a group.
type SubjectKind uint8

// A service account is a user to RBAC: its subject is the user
// system:serviceaccount:<namespace>:<name>.
const (
	User SubjectKind = iota
	Group
)

// SubjectKey is what identifies a subject of a binding.
type SubjectKey struct {
	Kind SubjectKind
	Name string
}

// Subject is an interned SubjectKey: one word, compared in one instruction. The
// zero Subject is not valid.
type Subject = unique.Handle[SubjectKey]

// NewUser returns the subject of a user name.
func NewUser(name string) Subject { return unique.Make(SubjectKey{Kind: User, Name: name}) }

// NewGroup returns the subject of a group name.
func NewGroup(name string) Subject { return unique.Make(SubjectKey{Kind: Group, Name: name}) }

// SubjectsOf returns the subjects that a user matches: its name and its groups.
func SubjectsOf(u user.Info) []Subject {
	groups := u.GetGroups()
	subjects := make([]Subject, 0, len(groups)+1)
	subjects = append(subjects, NewUser(u.GetName()))
	for _, group := range groups {
		subjects = append(subjects, NewGroup(group))
	}
	return subjects
}

// subjectsOf returns the sorted, distinct subjects that a binding in namespace
// names, which is empty for a ClusterRoleBinding. Subjects that match nobody are
// left out, as in appliesToUser of the RBAC authorizer.
func subjectsOf(namespace string, named []rbacv1.Subject) []Subject {
	subjects := make([]Subject, 0, len(named))
	for _, s := range named {
		switch s.Kind {
		case rbacv1.UserKind:
			subjects = append(subjects, NewUser(s.Name))
		case rbacv1.GroupKind:
			subjects = append(subjects, NewGroup(s.Name))
		case rbacv1.ServiceAccountKind:
			if ns := cmp.Or(s.Namespace, namespace); ns != "" {
				subjects = append(subjects, NewUser(serviceaccount.MakeUsername(ns, s.Name)))
			}
		}
	}
	slices.SortFunc(subjects, compareSubjects)
	return slices.Compact(subjects)
}

func compareSubjects(a, b Subject) int {
	if a == b {
		return 0
	}
	x, y := a.Value(), b.Value()
	return cmp.Or(cmp.Compare(x.Kind, y.Kind), strings.Compare(x.Name, y.Name))
}

func lessSubject(a, b Subject) bool { return compareSubjects(a, b) < 0 }
