// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta1 "tenancy.capsule.io/apis/capsule/v1beta1"
	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

const (
	// tierLabel is what Tenants select PriorityClasses by.
	tierLabel = "platform.example.com/tier"
	// classesOfKind is how many classes of each kind there are.
	classesOfKind = 20
	// unequal is which part of the Tenants gives to some more than to others: three
	// in ten, see hasLesserOwners and hasGuest.
	unequal = 10
)

// groupOf returns the group that owns a tenant beside the user.
func groupOf(tenant int) string { return tenantName(tenant) + "-admins" }

// hasLesserOwners says whether the group that owns a Tenant sees less than the user.
func hasLesserOwners(tenant int) bool { return tenant%unequal == 1 || tenant%unequal == 2 }

// hasGuest says whether there is a ProxySetting in a namespace of the Tenant.
func hasGuest(tenant int) bool { return tenant%unequal == 0 }

// setsOf returns how many different sets of rights a Tenant gives.
func setsOf(tenant int) int {
	if hasLesserOwners(tenant) || hasGuest(tenant) {
		return 2
	}
	return 1
}

// listOf returns settings that show all objects of the kinds.
func listOf(kinds ...capsulev1beta2.ProxyServiceKind) []capsulev1beta2.ProxyOperations {
	settings := make([]capsulev1beta2.ProxyOperations, 0, len(kinds))
	for _, kind := range kinds {
		settings = append(settings, capsulev1beta2.ProxyOperations{
			Kind: kind, Operations: []capsulev1beta2.ProxyOperation{capsulev1beta2.ListOperation},
		})
	}
	return settings
}

// tenantObject returns a Tenant as administrators write it: a user and a group own it,
// who see the nodes of its pool and some classes of each kind. Pools are shared if
// there are more Tenants than options.Tenants.
func tenantObject(o options, tenant int) *capsulev1beta2.Tenant {
	everything := listOf(capsulev1beta2.NodesProxy, capsulev1beta2.StorageClassesProxy, capsulev1beta2.IngressClassesProxy,
		capsulev1beta2.PriorityClassesProxy, capsulev1beta2.RuntimeClassesProxy, capsulev1beta2.PersistentVolumesProxy, capsulev1beta2.TenantProxy)
	forGroup := everything
	if hasLesserOwners(tenant) {
		forGroup = listOf(capsulev1beta2.StorageClassesProxy, capsulev1beta2.IngressClassesProxy)
	}
	owner := func(kind capsulev1beta2.OwnerKind, name string, settings []capsulev1beta2.ProxyOperations) capsulev1beta2.OwnerSpec {
		return capsulev1beta2.OwnerSpec{
			CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{UserSpec: capsulev1beta2.UserSpec{Kind: kind, Name: name}}, ProxySettings: settings,
		}
	}
	byName := func(names ...string) *capsulev1beta2.DefaultAllowedList {
		list := &capsulev1beta2.DefaultAllowedList{}
		list.Allowed = names
		return list
	}
	storage := byName(className("ssd", tenant))
	storage.AllowedRegex = fmt.Sprintf("^archive-%d", tenant%10)
	storage.Default = className("ssd", tenant)
	priority := &capsulev1beta2.DefaultAllowedList{}
	priority.MatchLabels = map[string]string{tierLabel: tierOf(tenant)}
	return &capsulev1beta2.Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: tenantName(tenant)},
		Spec: capsulev1beta2.TenantSpec{
			Owners: []capsulev1beta2.OwnerSpec{
				owner(capsulev1beta2.UserOwner, ownerOf(tenant), everything),
				owner(capsulev1beta2.GroupOwner, groupOf(tenant), forGroup),
			},
			NodeSelector:    map[string]string{poolLabel: tenantName(tenant % o.Tenants)},
			StorageClasses:  storage,
			IngressOptions:  &capsulev1beta2.IngressOptions{AllowedClasses: byName(className("public", tenant), className("internal", tenant))},
			PriorityClasses: priority,
			RuntimeClasses:  byName(className("sandbox", tenant)),
		},
	}
}

func className(prefix string, n int) string { return fmt.Sprintf("%s-%02d", prefix, n%classesOfKind) }

func tierOf(n int) string { return []string{"bronze", "silver", "gold", "platinum"}[n%4] }

// classes returns the classes of all kinds.
func classes() []ctrlclient.Object {
	var all []ctrlclient.Object
	for i := range classesOfKind {
		named := func(prefix string) metav1.ObjectMeta {
			return metav1.ObjectMeta{Name: className(prefix, i), Labels: map[string]string{tierLabel: tierOf(i)}}
		}
		all = append(all,
			&storagev1.StorageClass{ObjectMeta: named("ssd"), Provisioner: "ssd.csi.example.com"},
			&storagev1.StorageClass{ObjectMeta: named("archive"), Provisioner: "archive.csi.example.com"},
			&networkingv1.IngressClass{ObjectMeta: named("public"), Spec: networkingv1.IngressClassSpec{Controller: "example.com/ingress"}},
			&networkingv1.IngressClass{ObjectMeta: named("internal"), Spec: networkingv1.IngressClassSpec{Controller: "example.com/ingress"}},
			&schedulingv1.PriorityClass{ObjectMeta: named("tier"), Value: int32(i)},
			&nodev1.RuntimeClass{ObjectMeta: named("sandbox"), Handler: "sandbox"},
		)
	}
	return all
}

// proxySetting returns what shows a guest some of what the owners of a Tenant see.
func proxySetting(tenant int, namespace string) *capsulev1beta1.ProxySetting {
	setting := &capsulev1beta1.ProxySetting{ObjectMeta: metav1.ObjectMeta{Name: "guests", Namespace: namespace}}
	setting.Spec.Subjects = []capsulev1beta2.ProxySubject{{
		UserSpec:      capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: "guest-of-" + tenantName(tenant)},
		ProxySettings: listOf(capsulev1beta2.NodesProxy, capsulev1beta2.StorageClassesProxy),
	}}
	return setting
}

// openTenants opens a cluster with tenancy-controller, in which the namespaces are
// those of Tenants.
func openTenants(ctx context.Context, o options) (*environment, error) {
	return open(ctx, o.inOwnDir("tenants"), true, func(ctx context.Context, e *environment) error {
		if err := e.seedPlatform(ctx); err != nil {
			return err
		}
		start := time.Now()
		tenants, err := e.createTenants(ctx, o.Tenants)
		if err != nil {
			return err
		}
		progress("Creating %d namespaces of %d Tenants", o.Namespaces, o.Tenants)
		if err := e.createNamespaces(ctx, tenants, namespacesOf(o)); err != nil {
			return err
		}
		progress("Created in %s", time.Since(start).Round(time.Second))
		if err := e.settle(ctx); err != nil {
			return err
		}
		progress("Settled %s after the first Tenant was created", time.Since(start).Round(time.Second))
		return nil
	})
}

// seedPlatform makes the nodes and the classes that Tenants select from.
func (e *environment) seedPlatform(ctx context.Context) error {
	progress("Creating %d nodes, and classes", e.options.Nodes)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(seedWorkers)
	e.seedNodes(ctx, group)
	for _, class := range classes() {
		group.Go(func() error { return ignoreExists("create class", e.objects.Create(ctx, class)) })
	}
	return group.Wait()
}

// createTenants makes the first Tenants, and returns the UIDs.
func (e *environment) createTenants(ctx context.Context, count int) ([]types.UID, error) {
	progress("Creating %d Tenants", count)
	uids := make([]types.UID, count)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(seedWorkers)
	for i := range count {
		group.Go(func() error {
			t := tenantObject(e.options, i)
			if err := e.objects.Create(ctx, t); err != nil {
				return fmt.Errorf("create tenant: %w", err)
			}
			uids[i] = t.UID
			return nil
		})
	}
	return uids, group.Wait()
}

// createNamespaces makes namespaces of Tenants as the webhook of tenancy-controller would
// have them, which judges no administrator. What the Tenants give in them is left to
// tenancy-controller.
func (e *environment) createNamespaces(ctx context.Context, tenants []types.UID, namespaces []seeded) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(seedWorkers)
	for _, s := range namespaces {
		group.Go(func() error {
			namespace := s.object()
			namespace.OwnerReferences = []metav1.OwnerReference{{
				APIVersion: capsulev1beta2.SchemeGroupVersion.String(), Kind: "Tenant", Name: tenantName(s.tenant), UID: tenants[s.tenant],
			}}
			_, err := e.admin.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
			return ignoreExists("create namespace", err)
		})
	}
	return group.Wait()
}
