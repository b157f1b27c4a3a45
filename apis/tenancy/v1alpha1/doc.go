// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// +k8s:openapi-gen=true
// +k8s:deepcopy-gen=package
// +groupName=tenancy.capsule.io
// +k8s:openapi-model-package=io.capsule.tenancy.v1alpha1

// Package v1alpha1 holds the view kinds of tenancy.capsule.io: a view object is
// the native object under another kind.
//
// TenantNamespace has the struct layout, the JSON fields and the protobuf field
// numbers of corev1.Namespace, and so for every other view kind and the native one
// that its marker names. Three things rest on that, of which hack/viewgen writes
// the first two:
//
//   - a pointer converts for free, (*corev1.Namespace)(view) is a legal Go
//     conversion, which is proven at compile time;
//   - the protobuf methods delegate to the native type's, so no generated
//     marshaller has to be kept in step;
//   - a client, or a proxy, turns one into the other by rewriting kind and
//     apiVersion alone.
//
// Lists do not convert ([]TenantNamespace is not []corev1.Namespace to the
// compiler); convert.go holds the one conversion of a slice, layout_test.go the
// guard of its layout. The tags of a list's fields are exactly those of the
// native list: the streaming encoders of k8s.io/apimachinery compare them and
// silently fall back to buffering whole lists otherwise.
//
// MyTenant is the exception: it keeps spec and status of a custom resource as JSON.
//
// The API is read-only.
package v1alpha1
