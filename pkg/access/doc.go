// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package access answers who may use a verb on an object of a resource, from
// either end: RBAC, inverted.
//
//	Role, ClusterRole          reduced to a grant per question ──┐
//	                                                             ├─> pairs (subject, name | every name), counted
//	RoleBinding,               reduced to subjects and a role ───┘         │
//	ClusterRoleBinding                                                     │ one batch an event
//	                                                                       v
//	Snapshot (immutable)   names:    name    -> subjects     may this user use it?  who may use it?
//	                       subjects: subject -> names        what may this user use?
//	                       every:    subjects that may use every name
//
// The RBAC API can say that alice may get the namespace oil-prod; it cannot say
// which namespaces alice may get. The index holds the second answer ready and
// keeps it current: an RBAC event changes only the pairs that its role or
// binding touches.
//
// Invariants:
//
//   - A Snapshot is immutable. Index.Snapshot never blocks and never sees half
//     of an event: a role that 50,000 bindings share changes all of them at once.
//   - An event costs what it changes, in time and in memory: a snapshot shares
//     the rest with the one before, so that snapshots can be kept.
//   - After every event the snapshot is the one that an evaluation of all RBAC
//     objects from scratch would give. TestIndexEqualsEvaluation holds it with
//     random edits, the differential test in test/e2e against
//     SubjectAccessReviews of a real API server.
//   - Subscribers see every change once, in order, with the snapshots before
//     and after it; a change that leaves the snapshot as it was is not seen.
//   - What the index cannot resolve grants nothing: a binding whose role is
//     missing waits for the role.
//
// The rules are those of the RBAC authorizer, k8s.io/kubernetes
// pkg/registry/rbac/validation and pkg/apis/rbac/v1/evaluation_helpers.go, and
// the group system:masters, which the API server lets pass before it asks RBAC.
// What other authorizers allow or deny is not seen.
package access
