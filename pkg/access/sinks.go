// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"iter"
	"maps"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rbacBinding is the part of a RoleBinding or ClusterRoleBinding that counts.
type rbacBinding struct {
	namespace string
	subjects  []rbacv1.Subject
	roleRef   rbacv1.RoleRef
}

// sink feeds the objects of one RBAC kind to an index; it is a feed.Sink. R is what
// counts of an object.
type sink[T metav1.Object, R any] struct {
	index  *Index
	reduce func(T) R
	// set notes an object in the batch, or its absence with the zero R. known are
	// the keys of the objects that were set. Both need the index's lock.
	set   func(*batch, objectKey, R)
	known func() iter.Seq[objectKey]
}

func keyOf(object metav1.Object) objectKey {
	return objectKey{namespace: object.GetNamespace(), name: object.GetName()}
}

// Upsert takes an object that was created or updated.
func (s sink[T, R]) Upsert(object T) {
	reduced := s.reduce(object)
	s.index.update(func(b *batch) { s.set(b, keyOf(object), reduced) })
}

// Delete takes an object that was deleted.
func (s sink[T, R]) Delete(object T) {
	var absent R
	s.index.update(func(b *batch) { s.set(b, keyOf(object), absent) })
}

// Replace takes all objects that exist.
func (s sink[T, R]) Replace(objects []T, _ string) {
	all := make(map[objectKey]R, len(objects))
	for _, object := range objects {
		all[keyOf(object)] = s.reduce(object)
	}
	s.index.update(func(b *batch) {
		for key := range s.known() {
			if _, exists := all[key]; !exists {
				var absent R
				s.set(b, key, absent)
			}
		}
		for key, reduced := range all {
			s.set(b, key, reduced)
		}
	})
}

// Bookmark has nothing to do: the feed notes that it came.
func (sink[T, R]) Bookmark(string) {}

func (x *Index) roleSink() sink[*rbacv1.Role, []grant] {
	return newRoleSink(x, x.roles, func(r *rbacv1.Role) []rbacv1.PolicyRule { return r.Rules })
}

func (x *Index) clusterRoleSink() sink[*rbacv1.ClusterRole, []grant] {
	return newRoleSink(x, x.clusterRoles, func(r *rbacv1.ClusterRole) []rbacv1.PolicyRule { return r.Rules })
}

func newRoleSink[T metav1.Object](x *Index, roles map[objectKey]*role, rules func(T) []rbacv1.PolicyRule) sink[T, []grant] {
	return sink[T, []grant]{
		index:  x,
		reduce: func(object T) []grant { return reduce(x.questions, rules(object)) },
		set:    func(b *batch, key objectKey, grants []grant) { x.setRoleLocked(b, roles, key, grants) },
		known:  func() iter.Seq[objectKey] { return maps.Keys(roles) },
	}
}

func (x *Index) roleBindingSink() sink[*rbacv1.RoleBinding, *rbacBinding] {
	return newBindingSink(x, x.roleBindings, func(b *rbacv1.RoleBinding) *rbacBinding {
		return &rbacBinding{namespace: b.Namespace, subjects: b.Subjects, roleRef: b.RoleRef}
	})
}

func (x *Index) clusterRoleBindingSink() sink[*rbacv1.ClusterRoleBinding, *rbacBinding] {
	return newBindingSink(x, x.clusterBindings, func(b *rbacv1.ClusterRoleBinding) *rbacBinding {
		return &rbacBinding{subjects: b.Subjects, roleRef: b.RoleRef}
	})
}

func newBindingSink[T metav1.Object](x *Index, bindings map[objectKey]*binding, reduce func(T) *rbacBinding) sink[T, *rbacBinding] {
	return sink[T, *rbacBinding]{
		index:  x,
		reduce: reduce,
		set:    func(b *batch, key objectKey, next *rbacBinding) { x.setBindingLocked(b, bindings, key, next) },
		known:  func() iter.Seq[objectKey] { return maps.Keys(bindings) },
	}
}
