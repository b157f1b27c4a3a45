// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// +k8s:deepcopy-gen=package
// +groupName=policy.capsule.io

// Package v1alpha1 holds the kind by which the API server learns what a Tenant asks of
// the objects in its namespaces: the parameter of the admission policies in
// artifacts/base/policies. The controller writes it, and nobody else.
package v1alpha1
