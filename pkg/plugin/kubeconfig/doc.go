// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubeconfig makes kubeconfigs for a tenancy-proxy of those for an API server: the
// user and the namespace stay, the cluster is the proxy.
//
// Invariants:
//   - A credential is written as it was found, and to nowhere else than it was asked for:
//     it is in no error.
//   - Nothing that a kubeconfig has is changed or removed: what has the same name and is
//     another is an error.
//   - A file that is made here can be read by its owner alone.
package kubeconfig
