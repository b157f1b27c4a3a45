// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"unsafe"

	corev1 "k8s.io/api/core/v1"
)

// The compiler accepts these conversions only while the struct types are
// identical but for their tags; for the tags see layout_test.go.
var (
	_ = (*corev1.Namespace)((*TenantNamespace)(nil))
)

// nativeItems returns items as a slice of their native type, sharing memory.
// The language has no conversion between slices of types that convert into each
// other; it is sound because V and N have the same layout, which layout_test.go
// holds for every pair that is used here.
func nativeItems[N, V any](items []V) []N {
	return unsafe.Slice((*N)(unsafe.Pointer(unsafe.SliceData(items))), len(items)) //nolint:gosec // the layouts are equal, see above
}

// viewItems is nativeItems in the other direction.
func viewItems[V, N any](items []N) []V {
	return nativeItems[V](items)
}

func (m *TenantNamespaceList) native() *corev1.NamespaceList {
	return &corev1.NamespaceList{TypeMeta: m.TypeMeta, ListMeta: m.ListMeta, Items: nativeItems[corev1.Namespace](m.Items)}
}
