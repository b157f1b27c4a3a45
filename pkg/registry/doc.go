// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package registry serves views as REST resources. One generic storage serves
// every kind; what differs between kinds is a table.
//
// To add a view, add its types, with their marker, to apis/tenancy/v1alpha1 (and run
// "make generate"), a file with the entry and its columns (see nodes.go), the
// entry's name to table in table.go, and the right to read it to artifacts/base/rbac.
//
// The storage gets, lists, watches and nothing else: a verb that a storage does
// not implement is not advertised and answers 405.
package registry
