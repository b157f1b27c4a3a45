// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package proxy answers native paths: it sends a request on with the credential of its
// caller, and where the API server refuses a read that there is a view for, it asks the
// view and gives the answer its native kind back.
//
//	client ──► Proxy ──► API server                      everything, untouched
//	             │          │
//	             │          └── 403 to get, list or watch of a served resource
//	             ▼
//	           API server ──► view                       the same credential and query
//	             │
//	             └── rewrite ──► client
//
// Invariants:
//   - The proxy decides nothing: an answer is the API server's to this caller, or the
//     view's to this caller.
//   - A caller's credential goes where the caller's request goes, and nowhere else. No
//     request has a credential of the proxy's that did not come with one of its own,
//     but where the proxy is one user's, whose credential is every caller's.
//   - A refusal ends a request: nothing goes upstream after it, and one body only comes
//     back.
//   - What is remembered is that the API server refused, never what it gave.
package proxy
