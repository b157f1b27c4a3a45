// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1beta2

// Hub marks the version of the Tenant that the others are converted to and from.
func (*Tenant) Hub() {}
