// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package replication keeps the objects that TenantResources and
// GlobalTenantResources ask for in the namespaces of tenants. Both kinds go through
// the same steps; what differs between them is in subject.go.
//
//	spec -> reach    which tenants and namespaces it is about
//	     -> plan     which objects are wanted there, and what of that cannot be known
//	     -> status   what is about to be written, before it is
//	     -> apply    each object, if it is not as it should be
//	     -> prune    what was written before and is not wanted any more
//	     -> status   what became of it
//
// Invariants:
//   - Objects are read and written as a service account and never with the
//     controller's own rights: there is no other client for them here. That of a
//     TenantResource is always one of its own namespace.
//   - A TenantResource reads from and writes to the namespaces of its own tenant
//     only, and objects in namespaces only, as does a GlobalTenantResource.
//   - An object that somebody else made is not touched unless settings.adopt says so:
//     an object is made by a request that fails if there is one, and changed by a
//     request that fails if it is not the one that was looked at.
//   - Whose an object is, the object itself says, by managedFields: each subject is a
//     field manager of its own. What the status says is a hint where to look. Only
//     when somebody has removed all that was applied is it known by its UID, for as
//     long as the process remembers that.
//   - What is made for a GlobalTenantResource is labelled, and requests for one say so
//     beyond the service account: a policy keeps it from the tenants by that.
//   - What is written is in the status, and the finalizer on the subject, before it is
//     written. A status is written only if nobody has written the subject since it was
//     read. So nothing is left behind when the controller ends at any point.
//   - Where it cannot be known what is wanted, nothing is pruned.
//   - Everything about what is wanted is a tenant's to say, and the process is shared. A
//     plan has a budget of time and memory, all plans together have room, a tenant has
//     one worker at a time, and a subject rests ten times as long as it took.
//   - What is right is not written, neither objects nor a status. Nor is it looked at
//     more often than once in a resyncPeriod, unless somebody asks for it.
package replication
