// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"fmt"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// Clients read the native objects.
type Clients struct {
	Kubernetes kubernetes.Interface
	// Metadata reads which custom resources there are.
	Metadata metadata.Interface
	// Tenants reads Tenants as MyTenants.
	Tenants rest.Interface
}

// NewClients returns the clients of the cluster that config names. They share
// their connections.
func NewClients(config *rest.Config) (Clients, error) {
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return Clients{}, fmt.Errorf("create HTTP client: %w", err)
	}
	kube, err := kubernetes.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return Clients{}, fmt.Errorf("create client: %w", err)
	}
	meta, err := metadata.NewForConfigAndClient(metadata.ConfigFor(config), httpClient)
	if err != nil {
		return Clients{}, fmt.Errorf("create client of metadata: %w", err)
	}
	tenants, err := newTenantsClient(config, httpClient)
	if err != nil {
		return Clients{}, fmt.Errorf("create client of tenants: %w", err)
	}
	return Clients{Kubernetes: kube, Metadata: meta, Tenants: tenants}, nil
}
