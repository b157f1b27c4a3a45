// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package deployment puts tenancy-apiserver into a control plane on this host:
// the manifests of artifacts/, the identities, the serving certificate and the
// server's arguments. make up, the tests and the benchmark deploy with it, so
// that they measure and test what users run.
package deployment
