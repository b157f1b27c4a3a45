// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package view is the filtered cache of one resource: its objects, their recent
// history, and who may get them, read and watched together.
//
//	API server --feed--> Replace, Upsert, Delete, Bookmark ─┐ one writer at a time
//	RBAC index --------> AccessChanged ─────────────────────┤
//	                                                        v
//	   log   ... │ s-2: node-1 v1 -> v2 │ s-1: access of node-7 │ s: node-1 gone │
//	                                                                  │     │
//	   snapshot(s): ordered objects + resourceVersion     access(s)   │     │ to those
//	                        └──────────────┬─────────────────┘        │     │ concerned
//	                     Get, List: objects of the snapshot           │     v
//	                     that the access allows                       │  queue, bounded
//	                                                                  │     │
//	                     Watch: what it begins with ──────────────────┴─────┴──> events
//
// The package knows neither HTTP nor RBAC objects. A reader is a list of
// subjects of an opaque type; what they may get is an Access.
//
// Object changes and access changes are entries of one log. An entry holds the
// object before and after it and the access before and after it, all immutable:
// what a reader was, and is, allowed to see can be judged at any entry.
//
// Invariants of reading:
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
//     the stored pointers and must copy what they change; watches hand out copies
//     of the root, or, where several are told of one object, what gives a copy to
//     each encoder (shared.go).
//   - A list costs what its reader may see, not what the resource holds; an entry
//     concerns those who may see its object, or whose access it changes, and nobody
//     else.
//
// Invariants of watching:
//
//   - What a client holds after the entry with sequence s is exactly the objects
//     of snapshot(s) that its user may get at s and that match its selectors. A
//     grant is an ADDED, a revocation a DELETED.
//   - ADDED and MODIFIED are for what the user may get at the entry and, but for a
//     moment, when the client takes the event. DELETED carries what the user could
//     see last, or the name alone.
//   - Within one watch, no DELETED follows another without an ADDED between.
//   - A client may resume at the revision of any event or bookmark that it got, but
//     for initial events before their end, at any replica, and misses nothing; it
//     may be told again what it knows. Where that cannot be had, it is told to list
//     again (410).
//   - A client never holds up the writer, or another client.
//
// The invariants hold under these assumptions, and no further:
//
//   - Replicas reach a revision, and apply a change of access, within ReplicaLag of
//     each other, see resume.go, which also names the one thing that a client is not
//     told.
//   - In the first minutes of a process, or after the log was cut short by its
//     capacity, its clients cannot be told from those of another one that handed out
//     the same revision. If that one is behind in access that this one does not have
//     in its log, its clients may keep what they should have lost until they list
//     again.
//
// Revisions, lists at a revision, continue tokens and bookmarks follow the API
// server's own watch cache, k8s.io/apiserver/pkg/storage/cacher.
package view
