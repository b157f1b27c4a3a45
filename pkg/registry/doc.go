// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package registry serves views as REST resources. One generic storage serves
// every kind; what differs between kinds is a table.
//
// To add a view, add an entry to table in table.go, the file with the entry
// itself (see namespaces.go) and the type in apis/tenancy/v1alpha1.
//
// The storage gets, lists, watches and nothing else: a verb that a storage does
// not implement is not advertised and answers 405.
package registry
