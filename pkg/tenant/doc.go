// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package tenant holds the facts about Tenants that the reconcilers and the
// webhooks share: which namespace is whose, who a subject is, who owns a Tenant,
// which objects a list of allowed classes means, and how managed objects are named.
//
// Invariants:
//   - A namespace is a tenant's by its own label and ownerReference, which have
//     to agree; the Tenant's status is never asked, it lags.
//   - What cannot be understood (a selector, a regular expression, the name of a
//     service account) stands for nothing, and is reported with its field.
//   - Nothing here reads or writes a cluster. All functions may be called
//     concurrently and keep no reference to their arguments unless they say so.
package tenant
