// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

//go:embed testdata/tenants.yaml
var tenantsDefinition []byte

// Tenants is the resource that InstallTenants defines.
var Tenants = schema.GroupVersionResource{Group: "capsule.clastix.io", Version: "v1beta2", Resource: "tenants"}

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// definitionWithin is how long the API server may take to serve a resource after
// its definition was made, or to forget it after its deletion.
const definitionWithin = 30 * time.Second

// InstallTenants defines Tenants and returns when the API server serves them.
func (s *System) InstallTenants(ctx context.Context) error {
	client, err := s.dynamic()
	if err != nil {
		return err
	}
	definition := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(tenantsDefinition, &definition.Object); err != nil {
		return fmt.Errorf("parse definition of tenants: %w", err)
	}
	if _, err := client.Resource(definitions).Create(ctx, definition, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("define tenants: %w", err)
	}
	return awaitTenants(ctx, client, true)
}

// RemoveTenants deletes the definition of Tenants, and with it all Tenants, and
// returns when the API server does not serve them any more.
func (s *System) RemoveTenants(ctx context.Context) error {
	client, err := s.dynamic()
	if err != nil {
		return err
	}
	if err := client.Resource(definitions).Delete(ctx, Tenants.GroupResource().String(), metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("delete definition of tenants: %w", err)
	}
	return awaitTenants(ctx, client, false)
}

func (s *System) dynamic() (dynamic.Interface, error) {
	config, err := s.ControlPlane.AdminConfig()
	if err != nil {
		return nil, err
	}
	return dynamic.NewForConfig(config)
}

func awaitTenants(ctx context.Context, client dynamic.Interface, served bool) error {
	var listErr error
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, definitionWithin, true, func(ctx context.Context) (bool, error) {
		_, listErr = client.Resource(Tenants).List(ctx, metav1.ListOptions{Limit: 1})
		return served && listErr == nil || !served && apierrors.IsNotFound(listErr), nil
	})
	if err != nil {
		return fmt.Errorf("wait until tenants are served is %t: %w: the last list: %w", served, err, listErr)
	}
	return nil
}
