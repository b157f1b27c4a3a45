// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package access finds what a user may see and do of what there are views of, with no
// right but the user's own: the objects are those of the views, what may be done to them
// is what the API server says in reviews of the user's own rules.
//
//	discovery ──► which views are served
//	views ──────► objects: all that the user may get
//	reviews ────► verbs beyond get, of each object
//	                  │
//	                  └──► items: objects of one tenant and resource with the same verbs
//
// Invariants:
//   - An object is in one item, and has each of its verbs.
//   - What could not be found out is said: in the warnings what may be missing, in an error
//     what is.
//   - The order of everything depends on nothing but what was read.
package access
