// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"encoding/binary"
	"hash/fnv"
	"strconv"

	rbacv1 "k8s.io/api/rbac/v1"
)

// roleBindingPrefix begins the names of managed RoleBindings.
const roleBindingPrefix = "capsule:managed:"

// RoleBindingHash returns what tells a managed RoleBinding from the others of its
// namespace: a hash of the ClusterRole and of the subjects, in their order. Tools
// compute it, too, so it must stay what Capsule has made it since 0.13: FNV-1a of
// 64 bits over each string, which is preceded by its length in eight bytes, least
// significant first; as hexadecimal digits without leading zeros.
func RoleBindingHash(clusterRole string, subjects []rbacv1.Subject) string {
	hash := fnv.New64a()
	write := func(s string) {
		var length [8]byte
		binary.LittleEndian.PutUint64(length[:], uint64(len(s)))
		hash.Write(length[:])
		hash.Write([]byte(s))
	}
	write(clusterRole)
	for _, subject := range subjects {
		write(subject.APIGroup)
		write(subject.Kind)
		write(subject.Namespace)
		write(subject.Name)
	}
	return strconv.FormatUint(hash.Sum64(), 16)
}

// RoleBindingName returns the name of the managed RoleBinding with that hash.
func RoleBindingName(hash string) string { return roleBindingPrefix + hash }
