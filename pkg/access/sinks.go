// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rbacBinding is the part of a RoleBinding or ClusterRoleBinding that counts.
type rbacBinding struct {
	namespace string
	subjects  []rbacv1.Subject
	roleRef   rbacv1.RoleRef
}

func keyOf(object metav1.Object) objectKey {
	return objectKey{namespace: object.GetNamespace(), name: object.GetName()}
}

// roleSink feeds Roles or ClusterRoles to an index; it is a feed.Sink.
type roleSink[T metav1.Object] struct {
	index *Index
	roles map[objectKey]*role
	rules func(T) []rbacv1.PolicyRule
}

// Upsert takes a role that was created or updated.
func (s roleSink[T]) Upsert(object T) {
	grants := reduce(s.index.questions, s.rules(object))
	s.index.update(func(b *batch) { s.index.setRoleLocked(b, s.roles, keyOf(object), grants) })
}

// Delete takes a role that was deleted.
func (s roleSink[T]) Delete(object T) {
	s.index.update(func(b *batch) { s.index.setRoleLocked(b, s.roles, keyOf(object), nil) })
}

// Replace takes all roles that exist.
func (s roleSink[T]) Replace(objects []T, _ string) {
	grants := make(map[objectKey][]grant, len(objects))
	for _, object := range objects {
		grants[keyOf(object)] = reduce(s.index.questions, s.rules(object))
	}
	s.index.update(func(b *batch) {
		for key := range s.roles {
			if _, exists := grants[key]; !exists {
				s.index.setRoleLocked(b, s.roles, key, nil)
			}
		}
		for key, g := range grants {
			s.index.setRoleLocked(b, s.roles, key, g)
		}
	})
}

// Bookmark has nothing to do: the feed notes that it came.
func (roleSink[T]) Bookmark(string) {}

// bindingSink feeds RoleBindings or ClusterRoleBindings to an index; it is a feed.Sink.
type bindingSink[T metav1.Object] struct {
	index    *Index
	bindings map[objectKey]*binding
	binding  func(T) *rbacBinding
}

// Upsert takes a binding that was created or updated.
func (s bindingSink[T]) Upsert(object T) {
	s.index.update(func(b *batch) { s.index.setBindingLocked(b, s.bindings, keyOf(object), s.binding(object)) })
}

// Delete takes a binding that was deleted.
func (s bindingSink[T]) Delete(object T) {
	s.index.update(func(b *batch) { s.index.setBindingLocked(b, s.bindings, keyOf(object), nil) })
}

// Replace takes all bindings that exist.
func (s bindingSink[T]) Replace(objects []T, _ string) {
	bindings := make(map[objectKey]*rbacBinding, len(objects))
	for _, object := range objects {
		bindings[keyOf(object)] = s.binding(object)
	}
	s.index.update(func(b *batch) {
		for key := range s.bindings {
			if _, exists := bindings[key]; !exists {
				s.index.setBindingLocked(b, s.bindings, key, nil)
			}
		}
		for key, next := range bindings {
			s.index.setBindingLocked(b, s.bindings, key, next)
		}
	})
}

// Bookmark has nothing to do: the feed notes that it came.
func (bindingSink[T]) Bookmark(string) {}

func (x *Index) roleSink() roleSink[*rbacv1.Role] {
	return roleSink[*rbacv1.Role]{x, x.roles, func(r *rbacv1.Role) []rbacv1.PolicyRule { return r.Rules }}
}

func (x *Index) clusterRoleSink() roleSink[*rbacv1.ClusterRole] {
	return roleSink[*rbacv1.ClusterRole]{x, x.clusterRoles, func(r *rbacv1.ClusterRole) []rbacv1.PolicyRule { return r.Rules }}
}

func (x *Index) roleBindingSink() bindingSink[*rbacv1.RoleBinding] {
	return bindingSink[*rbacv1.RoleBinding]{x, x.roleBindings, func(b *rbacv1.RoleBinding) *rbacBinding {
		return &rbacBinding{namespace: b.Namespace, subjects: b.Subjects, roleRef: b.RoleRef}
	}}
}

func (x *Index) clusterRoleBindingSink() bindingSink[*rbacv1.ClusterRoleBinding] {
	return bindingSink[*rbacv1.ClusterRoleBinding]{x, x.clusterBindings, func(b *rbacv1.ClusterRoleBinding) *rbacBinding {
		return &rbacBinding{subjects: b.Subjects, roleRef: b.RoleRef}
	}}
}
