// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controller composes tenancy-controller: it knows which reconcilers there
// are and what they share, and nothing of what they do.
//
//	every replica                                     the leader
//	  cache of what is reconciled and judged            the reconcilers that Config picks
//	  webhooks, and the conversion of Tenants           CA and certificate, see package certificates
//	  the certificate's files
//	  metrics, health
//
// Invariants:
//   - A replica is ready when its caches are filled and, if it serves webhooks, a
//     client could complete a handshake. From the end of Run's context on it is not
//     ready, and serves on for the shutdown delay.
//   - Whether a replica leads makes no difference to who asks its webhooks.
package controller
