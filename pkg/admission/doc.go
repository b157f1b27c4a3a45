// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package admission serves the webhooks of the controller:
//
//	/namespaces/mutating, /namespaces/validating    which Tenant a namespace belongs to: package namespace
//	/tenants/mutating, /tenants/validating          Tenants that can be understood: package tenants
//	/config/validating                              CapsuleConfigurations, likewise
//	/serviceaccounts/mutating, .../validating       who makes service accounts owners: package serviceaccounts
//	/cordoned/validating                            service accounts in cordoned namespaces: package cordoned
//	/resourcequotas/mutating                        quotas that namespaces share: package resourcequotas
//	/convert                                        Tenants between their versions
//
// Every replica serves them, the leader or not. Which requests the API server sends
// here is in artifacts/base/webhooks, and tested with the manifests.
package admission
