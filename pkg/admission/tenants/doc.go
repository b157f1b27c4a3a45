// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package tenants judges Tenants and CapsuleConfigurations when they are written:
// what their schemas cannot tell, such as whether a regular expression is one.
//
// Invariants:
//   - All that is wrong is reported at once, with its field.
//   - What was there before and is as it was is reported as a warning, and blocks
//     nothing else: objects are taken over from clusters that judged otherwise.
//   - Whatever passes is understood by pkg/tenant, or is a warning.
package tenants
