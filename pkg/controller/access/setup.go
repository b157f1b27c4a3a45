// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/source"

	capsulev1beta1 "tenancy.capsule.io/apis/capsule/v1beta1"
	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/tenant"
)

// Name begins the names of this package's controllers.
const Name = "access"

// concurrency is how many Tenants, or namespaces, are compiled at a time.
const concurrency = 8

// timeout is how long a compilation may take before that counts as a failure.
const timeout = time.Minute

// Report is told how the compilation of a Tenant ended.
type Report func(t tenant.Ref, err error)

// Options say how access is compiled.
type Options struct {
	// Owners finds out who owns Tenants.
	Owners *owners.Resolver
	// WriteOperations compiles the operations Update and Delete, too.
	WriteOperations bool
	// Report is told of every Tenant. It may be called concurrently.
	Report Report
	// Events records what is wrong as events of Tenants, for where no other
	// reconciler does.
	Events bool
}

// Add adds the controllers of this package to a manager, whose cache has the
// indexes of package objects.
func Add(mgr ctrl.Manager, o Options) error {
	written, err := newWritten(mgr)
	if err != nil {
		return err
	}
	if err := mgr.Add(written); err != nil {
		return fmt.Errorf("add cache of compiled access: %w", err)
	}
	a := adder{mgr: mgr, written: written, owners: o.Owners, policy: policy{writeOperations: o.WriteOperations}, tenants: tenantFinder{mgr.GetClient()}}
	for _, add := range []func() error{
		func() error { return a.addTenants(o) }, a.addGlobal, a.addNamespaces, a.addSettings,
	} {
		if err := add(); err != nil {
			return fmt.Errorf("add controller: %w", err)
		}
	}
	return nil
}

// adder adds the controllers.
type adder struct {
	mgr     ctrl.Manager
	written cluster.Cluster
	owners  *owners.Resolver
	policy  policy
	tenants tenantFinder
}

// newWritten returns the cache of what this package writes, and a client that sees
// its own writes in it: plans are made of what is there.
func newWritten(mgr ctrl.Manager) (cluster.Cluster, error) {
	c, err := cluster.New(mgr.GetConfig(), func(o *cluster.Options) {
		o.Scheme = mgr.GetScheme()
		o.HTTPClient = mgr.GetHTTPClient()
		o.MapperProvider = func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return mgr.GetRESTMapper(), nil }
		o.Cache.DefaultLabelSelector = objects.Has(Label)
		o.Cache.DefaultTransform = objects.WithoutManagedFields
		o.Cache.ByObject = map[client.Object]cache.ByObject{
			&rbacv1.Role{}: {Namespaces: map[string]cache.Config{corev1.NamespaceNodeLease: {}}},
		}
		o.Client.Cache = &client.CacheOptions{EnableReadYourWritesConsistency: new(true)}
	})
	if err != nil {
		return nil, fmt.Errorf("make cache of compiled access: %w", err)
	}
	return c, indexCompiled(context.Background(), c.GetFieldIndexer())
}

// indexCompiled makes the indexes by which a store finds what it wrote.
func indexCompiled(ctx context.Context, indexer client.FieldIndexer) error {
	for _, object := range compiledObjects() {
		for _, kind := range []string{tenantKind.Kind, globalKind.Kind} {
			if err := indexer.IndexField(ctx, object, ownerIndex(kind), ownerNames(kind)); err != nil {
				return fmt.Errorf("index compiled access: %w", err)
			}
		}
	}
	return nil
}

// compiledObjects are of the kinds that units are made of.
func compiledObjects() []client.Object {
	return []client.Object{&rbacv1.ClusterRole{}, &rbacv1.ClusterRoleBinding{}, &rbacv1.Role{}, &rbacv1.RoleBinding{}}
}

func (a adder) addTenants(o Options) error {
	r := &tenantReconciler{
		compiler: compiler{reader: a.mgr.GetClient(), store: store{a.written.GetClient()}, interests: newInterests()},
		reader:   a.mgr.GetClient(),
		owners:   a.owners,
		policy:   a.policy,
		report:   o.Report,
		ages:     newAges(clock.RealClock{}),
	}
	if o.Events {
		r.recorder = a.mgr.GetEventRecorder(Name)
	}
	if err := metrics.Registry.Register(r.ages); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	b := ctrl.NewControllerManagedBy(a.mgr).Named(Name).
		WithOptions(controller.Options{MaxConcurrentReconciles: concurrency, ReconciliationTimeout: timeout}).
		For(&capsulev1beta2.Tenant{}, specChanges).
		Watches(&capsulev1beta1.ProxySetting{}, r.settingHandler()).
		Watches(objects.Metadata(objects.NamespaceKind), r.namespaceHandler(), membershipChanges)
	for i := range kinds {
		b = b.Watches(kinds[i].object(), r.compiler.interests.handler(&kinds[i]))
	}
	for _, object := range compiledObjects() {
		b = b.WatchesRawSource(source.Kind(a.written.GetCache(), object, compiledHandler(tenantKind.Kind)))
	}
	return a.owners.Watch(b, ownersChanged).Complete(r)
}

func (a adder) addGlobal() error {
	r := &globalReconciler{
		client:   a.mgr.GetClient(),
		compiler: compiler{reader: a.mgr.GetClient(), store: store{a.written.GetClient()}, interests: newInterests()},
	}
	b := ctrl.NewControllerManagedBy(a.mgr).Named(Name+"-global").
		WithOptions(controller.Options{ReconciliationTimeout: timeout}).
		For(&capsulev1beta1.GlobalProxySettings{}, specChanges)
	for i := range globalKinds {
		b = b.Watches(globalKinds[i].object(), r.compiler.interests.handler(&globalKinds[i]))
	}
	for _, object := range compiledObjects() {
		b = b.WatchesRawSource(source.Kind(a.written.GetCache(), object, compiledHandler(globalKind.Kind)))
	}
	return b.Complete(r)
}

func (a adder) addNamespaces() error {
	r := &namespaceReconciler{
		tenants: a.tenants, owners: a.owners, reader: a.mgr.GetClient(), bindings: a.written.GetCache(), writer: a.mgr.GetClient(),
	}
	b := ctrl.NewControllerManagedBy(a.mgr).Named(Name+"-namespaces").
		WithOptions(controller.Options{MaxConcurrentReconciles: concurrency}).
		For(objects.Metadata(objects.NamespaceKind), membershipChanges).
		Watches(&capsulev1beta2.Tenant{}, a.tenants.namespacesHandler(), specChanges).
		WatchesRawSource(source.Kind[client.Object](a.written.GetCache(), &rbacv1.RoleBinding{}, readerHandler()))
	return a.owners.Watch(b, a.tenants.ownersChanged).Complete(r)
}

func (a adder) addSettings() error {
	r := &settingReconciler{client: a.mgr.GetClient(), tenants: a.tenants, policy: a.policy}
	return ctrl.NewControllerManagedBy(a.mgr).Named(Name+"-proxysettings").
		For(&capsulev1beta1.ProxySetting{}, specChanges).
		Watches(objects.Metadata(objects.NamespaceKind), a.tenants.settingsInNamespaceHandler(), membershipChanges).
		Watches(&capsulev1beta2.Tenant{}, a.tenants.settingsOfTenantHandler(), specChanges).
		Complete(r)
}
