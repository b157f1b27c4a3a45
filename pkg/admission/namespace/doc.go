// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package namespace decides which Tenant a namespace belongs to, and keeps it so.
//
//	AdmissionReview ──> Handler ──> Request, Facts ──> Mutate, Validate ──> Decision ──> answer, event
//	                    (gather.go)                    (pure)                  │
//	                                                                           └──> Places: the namespace quota
//
// Mutate and Validate are functions of their arguments alone; what they need to
// know of the cluster is gathered before. Both phases come to the same judgement:
// what Mutate would still change, Validate refuses.
//
// Invariants, where an administrator is one of the configuration:
//   - A namespace becomes a tenant's at its creation by an owner of that Tenant, or
//     by an administrator, and in no other way. It ceases to be one by an
//     administrator, or by its deletion.
//   - What a namespace says about its tenant is its label and all Tenants among its
//     owners, of whatever version: its Claim. Nobody but an administrator changes
//     a Claim, on no subresource.
//   - An assigned namespace has one Tenant among its owners, which the label names,
//     with the UID of the Tenant that there is.
//   - No Tenant gets more namespaces than its quota by requests that come at the
//     same time, whichever replicas decide them.
//   - What cannot be found out is refused.
//   - A refusal is a 403 and names no Tenant that the requester does not own, but
//     the one that the request itself names.
package namespace
