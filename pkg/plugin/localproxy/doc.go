// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package localproxy serves an API server to the programs of one user on the user's own
// machine, as kubectl proxy does: every request goes upstream with the user's credential,
// and native lists that the API server refuses are answered by views, see package proxy.
//
//	client ──► Filter ──► proxy.Proxy, SharedCredential ──► API server
//
// Invariants:
//   - Nothing goes upstream that Filter does not accept: who reaches the port is the user.
//   - A path is judged as it goes upstream: cleaned, and without the prefix.
//   - A Unix socket is made so that nobody but its owner can open it.
package localproxy
