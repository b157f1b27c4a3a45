// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// +k8s:deepcopy-gen=package
// +groupName=capsule.clastix.io

// Package v1beta2 holds the kinds with which a cluster is divided into tenants. It
// is the version that is stored, and the one that the controller reads.
//
// The comments of types and fields are what "kubectl explain" prints; the markers
// among them become the schemas in artifacts/base/crds.
package v1beta2
