// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package access compiles what Tenants, ProxySettings and GlobalProxySettings give
// into ordinary RBAC objects with names, so that a get works natively and the API
// server remains the only one who decides.
//
//	Tenant, its owners ─┐                       nodes, volumes, classes
//	(package owners)    │  rights of subjects            │
//	ProxySettings in ───┤  = groups with requests        │ names
//	its namespaces      │             │                  │
//	                    └──────────▶ units ◀─────────────┘
//	                                  │
//	   what is there ──▶ plan ◀───────┘         interests: whom does the event
//	   (our own writes       │                  of an object concern?
//	    included)            ▼
//	                steps, one write each:
//	                ClusterRole + ClusterRoleBinding capsule:tenant:<tenant>:<n>
//	                Role + RoleBinding of that name in kube-node-lease
//
// n is the set of rights, as a number: all subjects with the same rights share one
// role and one binding, because the API server reads every ClusterRoleBinding for
// every request, while names in a role are cheap. If ProxySettings give more
// different sets than there are rights, there is a role for each right instead, so
// that nobody can make many bindings of a Tenant. A role takes up to 1,000 names;
// what comes beyond goes to <n>.1, <n>.2, and each name stays where it is.
//
// GlobalProxySettings take the same way, to capsule:global:<name>:<hash>, where the
// hash stands for what is asked for.
//
// Invariants:
//   - A name of a role stands for the same rights for ever. What is selected by
//     them may change, never what they mean.
//   - A list of names is never empty: in RBAC, that would mean every name. When
//     nothing is selected, there is no rule.
//   - After every single write, a subject holds what was given before the change
//     or is given after it, and all that is given before and after: see plan. The
//     writer may die at any time. If a write is refused, what is to be lost is
//     lost all the same, see losses.
//   - Every write names the revision that it was decided on. Nothing that is not
//     labelled as ours is changed, and what was compiled for an earlier life of its
//     owner is deleted, not taken over.
//   - What is lost is written at once, ahead of everything else; what is gained
//     waits for a tenth of a second for more of its kind. A name leaves its role on
//     the event of the object's deletion; one that comes back is judged anew.
//   - Namespaces are not given by name: one RoleBinding in each namespace of a
//     Tenant lets its owners get it.
package access
