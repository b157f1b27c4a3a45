// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package requester finds out what the one who makes a request is to the tenants.
package requester

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/tenant"
)

// Finder finds it out, from memory. It may be used concurrently.
type Finder struct {
	// Cached answers from memory, Live never does.
	Cached, Live client.Reader
	// Owners finds out who owns Tenants, from memory.
	Owners *owners.Resolver
	// Users are the names of the controller's own users.
	Users []string
}

// Find returns what a user is, and what may make the user an owner of Tenants.
func (f *Finder) Find(ctx context.Context, info user.Info) (tenant.Requester, tenant.Sources, error) {
	sources, err := f.Owners.About(ctx, info)
	if err != nil {
		return tenant.Unknown, tenant.Sources{}, err
	}
	requester, err := tenant.Classify(sources.Config, sources.TenantOwners, info, f.Users, func(namespace string) (bool, error) {
		return f.inTenant(ctx, namespace)
	})
	return requester, sources, err
}

// inTenant reports whether the namespace says that it belongs to a tenant.
func (f *Finder) inTenant(ctx context.Context, name string) (bool, error) {
	namespace := objects.Metadata(objects.NamespaceKind)
	err := f.Cached.Get(ctx, client.ObjectKey{Name: name}, namespace)
	if apierrors.IsNotFound(err) {
		err = f.Live.Get(ctx, client.ObjectKey{Name: name}, namespace)
	}
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("get namespace %s of a service account: %w", name, err)
	}
	_, in := tenant.Of(namespace)
	return in, nil
}
