// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tenancy.capsule.io/pkg/registry"
)

// seedWorkers is how many objects are being created at a time.
const seedWorkers = 16

// tenantName returns the name of a tenant. Alice's is the first one.
func tenantName(tenant int) string { return fmt.Sprintf("tenant-%02d", tenant) }

// ownerOf returns the user who owns a tenant.
func ownerOf(tenant int) string {
	if tenant == 0 {
		return alice
	}
	return fmt.Sprintf("owner-%02d", tenant)
}

// seeded is a namespace that is to be made.
type seeded struct {
	name   string
	tenant int
}

// namespacesOf returns the namespaces of all tenants: alice's first, in the order
// of their names, and then the rest, spread evenly over the other tenants. Alice's
// have the same names however many others there are.
func namespacesOf(o options) []seeded {
	all := make([]seeded, 0, o.Namespaces)
	for i := range o.Namespaces {
		tenant := 0
		if i >= o.Visible {
			tenant = 1 + i%(o.Tenants-1)
		}
		all = append(all, seeded{name: fmt.Sprintf("%s-ns-%06d", tenantName(tenant), i), tenant: tenant})
	}
	return all
}

func namesOf(namespaces []seeded) []string {
	names := make([]string, 0, len(namespaces))
	for _, n := range namespaces {
		names = append(names, n.name)
	}
	return slices.Sorted(slices.Values(names))
}

// object returns the namespace with what a namespace of a tenant usually carries.
func (s seeded) object() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: s.name,
		Labels: map[string]string{
			registry.TenantLabel:                 tenantName(s.tenant),
			"app.kubernetes.io/managed-by":       "platform",
			"environment":                        []string{"dev", "staging", "prod"}[len(s.name)%3],
			"pod-security.kubernetes.io/enforce": "baseline",
		},
		Annotations: map[string]string{
			"platform.example.com/contact":                ownerOf(s.tenant) + "@example.com",
			"platform.example.com/description":            "Workloads of " + tenantName(s.tenant),
			"scheduler.alpha.kubernetes.io/node-selector": "pool=" + tenantName(s.tenant),
		},
	}}
}

// binding returns the RoleBinding that lets the owner in.
func (s seeded) binding() *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{
			Name: "capsule-" + s.name + "-0-admin", Namespace: s.name,
			Labels: map[string]string{registry.TenantLabel: tenantName(s.tenant)},
		},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: ownerOf(s.tenant)}},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"},
	}
}

// seed makes the nodes and the namespaces of all tenants, and lets the owners get
// them, but for those that an earlier run left.
func (e *environment) seed(ctx context.Context) error {
	all := namespacesOf(e.options)
	progress("Creating %d nodes and %d namespaces of %d tenants, with a RoleBinding each", e.options.Nodes, len(all), e.options.Tenants)
	start := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(seedWorkers)
	e.seedNodes(ctx, group)
	e.bindNodes(ctx, group)
	for _, s := range all {
		group.Go(func() error {
			_, err := e.admin.CoreV1().Namespaces().Create(ctx, s.object(), metav1.CreateOptions{})
			if err := ignoreExists("create namespace", err); err != nil {
				return err
			}
			_, err = e.admin.RbacV1().RoleBindings(s.name).Create(ctx, s.binding(), metav1.CreateOptions{})
			return ignoreExists("create role binding", err)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	progress("Created in %s", time.Since(start).Round(time.Second))
	return nil
}

func ignoreExists(what string, err error) error {
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
