// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "unsafe"

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
