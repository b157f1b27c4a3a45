// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package view is the filtered cache of one resource: its objects, their recent
// history, and who may get them, read together.
//
//	API server --feed--> Replace, Upsert, Delete, Bookmark ─┐ one writer at a time
//	RBAC index --------> AccessChanged ─────────────────────┤
//	                                                        v
//	   log   ... │ s-2: node-1 v1 -> v2 │ s-1: access of node-7 │ s: node-1 gone │
//	                                                                  │
//	   snapshot(s): ordered objects + resourceVersion     access(s): who may get what
//	                        └──────────────┬───────────────────────────┘
//	                     Get, List: objects of the snapshot that the access allows
//
// The package knows neither HTTP nor RBAC objects. A reader is a list of
// subjects of an opaque type; what they may get is an Access.
//
// Object changes and access changes are entries of one log. An entry holds the
// object before and after it and the access before and after it, all immutable:
// what a reader was, and is, allowed to see can be judged at any entry.
//
// Invariants:
//
//   - A list holds exactly the objects of one snapshot that the present access
//     allows to its reader and that match its selectors, in the order of names.
//     Access to a name is access to the object that bears it now: a list of an
//     old snapshot leaves out objects that are gone or were replaced since, but
//     for readers who may get every name.
//   - The access that a read applies is taken after its snapshot, so that what
//     was revoked before the read began is never shown.
//   - A resourceVersion is always one that the API server gave; those of the
//     snapshots never fall, but for an API server that was restored from a backup.
//   - Objects and access are never changed once they are in the log. Readers get
//     the stored pointers and must copy what they change.
//   - A list costs what its reader may see, not what the resource holds.
//
// Revisions, lists at a revision and continue tokens follow the API server's
// own watch cache, k8s.io/apiserver/pkg/storage/cacher.
package view
