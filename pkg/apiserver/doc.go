// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package apiserver composes tenancy-apiserver from k8s.io/apiserver: options
// become a Config, a Config completes itself, a CompletedConfig makes the Server.
//
// It has no etcd. What it reads comes from the API server that it is registered
// with: the objects of the views, RBAC, and who may ask (delegated
// authentication; the coarse authorization is answered from the RBAC index
// where that says yes, and by a SubjectAccessReview where it does not).
//
// Priority and fairness is off on purpose. The API server in front applies its
// own to every request that it passes on; a second one here would need rights on
// flow schemas and would queue what was already admitted. The limit of requests
// in flight of k8s.io/apiserver stays.
package apiserver
