// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func userSubject(name string) rbacv1.Subject  { return rbacv1.Subject{Kind: "User", Name: name} }
func groupSubject(name string) rbacv1.Subject { return rbacv1.Subject{Kind: "Group", Name: name} }

// manyUserSubjects returns users that sort as they are numbered.
func manyUserSubjects(count int) []rbacv1.Subject {
	subjects := make([]rbacv1.Subject, count)
	for i := range subjects {
		subjects[i] = userSubject(fmt.Sprintf("user-%04d", i))
	}
	return subjects
}

// manyUsers returns the same users as an audience holds them.
func manyUsers(count int) []Subject { return subjectsOf("", manyUserSubjects(count)) }

// getRule allows to get objects of a resource in the core group.
func getRule(resource string, resourceNames ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{resource}, ResourceNames: resourceNames}
}

func clusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
}

// roleIn returns the Role r of a namespace.
func roleIn(namespace string, rules ...rbacv1.PolicyRule) *rbacv1.Role {
	return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "r"}, Rules: rules}
}

// refTo returns the reference to a role, "Role/r" or "ClusterRole/r".
func refTo(role string) rbacv1.RoleRef {
	kind, name, _ := strings.Cut(role, "/")
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
}

func clusterRoleBinding(name, role string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: refTo(role), Subjects: subjects}
}

func roleBinding(namespace, name, role string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, RoleRef: refTo(role), Subjects: subjects}
}

// apply feeds the index with what was created or updated.
func apply(index *Index, objects ...any) {
	for _, object := range objects {
		switch o := object.(type) {
		case *rbacv1.Role:
			index.roleSink().Upsert(o)
		case *rbacv1.ClusterRole:
			index.clusterRoleSink().Upsert(o)
		case *rbacv1.RoleBinding:
			index.roleBindingSink().Upsert(o)
		case *rbacv1.ClusterRoleBinding:
			index.clusterRoleBindingSink().Upsert(o)
		}
	}
}

// remove feeds the index with what was deleted.
func remove(index *Index, objects ...any) {
	for _, object := range objects {
		switch o := object.(type) {
		case *rbacv1.Role:
			index.roleSink().Delete(o)
		case *rbacv1.ClusterRole:
			index.clusterRoleSink().Delete(o)
		case *rbacv1.RoleBinding:
			index.roleBindingSink().Delete(o)
		case *rbacv1.ClusterRoleBinding:
			index.clusterRoleBindingSink().Delete(o)
		}
	}
}

// text returns a subject as "User alice".
func text(s Subject) string {
	if s.Value().Kind == Group {
		return "Group " + s.Value().Name
	}
	return "User " + s.Value().Name
}

func texts(subjects []Subject) []string {
	var all []string
	for _, s := range subjects {
		all = append(all, text(s))
	}
	return all
}

// names returns what a snapshot says that a user may use by name.
func names(s *Snapshot, user string) []string {
	return slices.Collect(s.Names([]Subject{NewUser(user)}, ""))
}

// readWhile calls read from several goroutines, over and over, until write returns.
func readWhile(read, write func()) {
	const readers = 3
	var running sync.WaitGroup
	var ended atomic.Bool
	for range readers {
		running.Go(func() {
			for {
				if read(); ended.Load() {
					return
				}
			}
		})
	}
	write()
	ended.Store(true)
	running.Wait()
}
