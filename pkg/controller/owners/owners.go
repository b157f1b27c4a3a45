// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package owners finds out who owns each Tenant, from the objects in the cache, and
// tells reconcilers when that changes. What makes an owner is said in package tenant.
//
//	Tenant ───────────────┐
//	TenantOwners ─────────┤                    ┌─▶ Of: who owns a Tenant
//	labelled accounts ────┼──▶ tenant.Sources ─┼─▶ About: what a user may own
//	  in its namespaces   │                    └─▶ Watch: whose owners changed
//	CapsuleConfiguration ─┘
//
// Invariants:
//   - Present objects are asked, never a status.
//   - A reconciler that is told of a change finds what is new: what is remembered is
//     forgotten before anybody is told.
//   - An event concerns the Tenants for which the object stands for something else
//     than before, and no others. What all sources together say is not compared:
//     another object may have changed at the same time, and each of two events would
//     be taken for no change on account of the other.
package owners

import (
	"context"
	"fmt"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/klog/v2"
	"k8s.io/utils/lru"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

// remembered is for how many Tenants their owners are kept.
const remembered = 4096

// Resolver finds out who owns Tenants. All methods may be called concurrently. Those
// that watch are called before the manager starts.
type Resolver struct {
	cached client.Reader
	// configuration is the name of the CapsuleConfiguration that is in effect.
	configuration string
	// withTenantOwners says whether the cluster knows the kind.
	withTenantOwners bool
	// revision counts what changed in the sources.
	revision atomic.Uint64
	// known holds, by life and generation of a Tenant, its owners at a revision.
	known *lru.Cache
}

type generation struct {
	uid types.UID
	of  int64
}

type entry struct {
	revision uint64
	owners   []capsulev1beta2.CoreOwnerSpec
}

// New returns a Resolver that reads from a cache, with the indexes of package objects,
// for a cluster that knows TenantOwners.
func New(cached client.Reader, configuration string) *Resolver {
	return &Resolver{cached: cached, configuration: configuration, withTenantOwners: true, known: lru.New(remembered)}
}

// ForManager returns a Resolver that reads from the cache of a manager. Beside an
// older Capsule operator there are no TenantOwners: that is found out here, once. The
// error says that the API server cannot be asked.
func ForManager(ctx context.Context, mgr ctrl.Manager, configuration string) (*Resolver, error) {
	r := New(mgr.GetClient(), configuration)
	_, err := mgr.GetRESTMapper().RESTMapping(Kind.GroupKind(), Kind.Version)
	switch {
	case meta.IsNoMatchError(err):
		klog.FromContext(ctx).Info("This cluster has no TenantOwners: they are looked for again when the controller is restarted")
		r.withTenantOwners = false
	case err != nil:
		return nil, fmt.Errorf("find the kind %s: %w", Kind.Kind, err)
	}
	return r, nil
}

// Kind is the kind of TenantOwners.
var Kind = capsulev1beta2.SchemeGroupVersion.WithKind("TenantOwner")

// HasTenantOwners reports whether the cluster knows the kind.
func (r *Resolver) HasTenantOwners() bool { return r.withTenantOwners }

// Cached returns the kinds that are read, for the caches of replicas that watch none.
func (r *Resolver) Cached() []client.Object {
	kinds := []client.Object{&capsulev1beta2.CapsuleConfiguration{}, objects.Metadata(objects.ServiceAccountKind)}
	if r.withTenantOwners {
		kinds = append(kinds, &capsulev1beta2.TenantOwner{})
	}
	return kinds
}

// Of returns who owns a Tenant, see tenant.Owners. Callers must not modify it. The
// error is that of the cache.
func (r *Resolver) Of(ctx context.Context, t *capsulev1beta2.Tenant) ([]capsulev1beta2.CoreOwnerSpec, error) {
	// Before anything is read: what changes meanwhile makes this entry an old one.
	revision, key := r.revision.Load(), generation{t.UID, t.Generation}
	if known, ok := r.known.Get(key); ok {
		if e := known.(entry); e.revision == revision { //nolint:forcetypeassert // nothing else is put in
			return e.owners, nil
		}
	}
	s, err := r.sources(ctx, t)
	if err != nil {
		return nil, err
	}
	owners := tenant.Owners(t, s)
	r.known.Add(key, entry{revision, owners})
	return owners, nil
}

// sources returns what makes owners of a Tenant.
func (r *Resolver) sources(ctx context.Context, t *capsulev1beta2.Tenant) (tenant.Sources, error) {
	config, err := r.Configuration(ctx, r.cached)
	if err != nil {
		return tenant.Sources{}, err
	}
	owners, err := r.TenantOwners(ctx)
	if err != nil {
		return tenant.Sources{}, err
	}
	s := tenant.Sources{Config: config, TenantOwners: owners}
	if !tenant.AllowsPromotion(t, config) {
		return s, nil
	}
	s.Promoted, err = r.labelled(ctx, t)
	return s, err
}

// labelled returns the service accounts in a Tenant's namespaces that have the label.
func (r *Resolver) labelled(ctx context.Context, t *capsulev1beta2.Tenant) ([]tenant.Promoted, error) {
	namespaces, err := objects.NamespacesOf(ctx, r.cached, t)
	if err != nil {
		return nil, err
	}
	var promoted []tenant.Promoted
	for i := range namespaces {
		accounts, err := r.accounts(ctx, client.InNamespace(namespaces[i].Name))
		if err != nil {
			return nil, err
		}
		for _, a := range accounts {
			promoted = append(promoted, a.in(t))
		}
	}
	return promoted, nil
}

// PromotionsOf returns the configuration, and the service accounts that own a Tenant by
// their label or have it to no effect, as far as it allows any. Callers must not modify
// it. The error is that of the cache.
func (r *Resolver) PromotionsOf(ctx context.Context, t *capsulev1beta2.Tenant) (tenant.Sources, error) {
	config, err := r.Configuration(ctx, r.cached)
	s := tenant.Sources{Config: config}
	if err != nil || !tenant.AllowsPromotion(t, config) {
		return s, err
	}
	s.Promoted, err = r.labelled(ctx, t)
	return s, err
}

// About returns what makes owners of Tenants of one user, and the configuration. The
// error is that of the cache.
func (r *Resolver) About(ctx context.Context, info user.Info) (tenant.Sources, error) {
	return r.about(ctx, info.GetName(), func(u capsulev1beta2.UserSpec) bool { return tenant.Is(u, info) })
}

// Owned returns the names of the Tenants that somebody owns, in no particular order. The
// error is that of the cache.
func (r *Resolver) Owned(ctx context.Context, who capsulev1beta2.UserSpec) ([]string, error) {
	is := func(u capsulev1beta2.UserSpec) bool { return u == who }
	s, err := r.about(ctx, who.Name, is)
	if err != nil {
		return nil, err
	}
	tenants, err := r.tenants(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range tenants {
		if tenant.Owned(&tenants[i], s, is) {
			names = append(names, tenants[i].Name)
		}
	}
	return names, nil
}

// about returns what makes owners of those whom is picks. The one among them that may
// be a service account has the name.
func (r *Resolver) about(ctx context.Context, name string, is func(capsulev1beta2.UserSpec) bool) (tenant.Sources, error) {
	config, err := r.Configuration(ctx, r.cached)
	if err != nil {
		return tenant.Sources{}, err
	}
	owners, err := r.TenantOwners(ctx)
	if err != nil {
		return tenant.Sources{}, err
	}
	s := tenant.Sources{Config: config, TenantOwners: owners}.About(is)
	if config == nil || !config.AllowServiceAccountPromotion ||
		!is(capsulev1beta2.UserSpec{Kind: capsulev1beta2.ServiceAccountOwner, Name: name}) {
		return s, nil
	}
	s.Promoted, err = r.promoted(ctx, config, name)
	return s, err
}

// promoted returns the one service account with that user name, if it is an owner of
// the Tenant that its namespace belongs to.
func (r *Resolver) promoted(ctx context.Context, config *capsulev1beta2.CapsuleConfigurationSpec, userName string) ([]tenant.Promoted, error) {
	namespace, name, err := serviceaccount.SplitUsername(userName)
	if err != nil {
		return nil, nil //nolint:nilerr // it is no service account
	}
	account := objects.Metadata(objects.ServiceAccountKind)
	switch err := r.cached.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, account, client.UnsafeDisableDeepCopy); {
	case apierrors.IsNotFound(err) || err == nil && !tenant.IsPromoted(account):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get service account %s/%s: %w", namespace, name, err)
	}
	t, err := r.tenantOf(ctx, namespace)
	if err != nil || t == nil {
		return nil, err
	}
	// With the others: there may be too many.
	all, err := r.labelled(ctx, t)
	if err != nil {
		return nil, err
	}
	for _, owner := range tenant.PromotedOwners(t, tenant.Sources{Config: config, Promoted: all}) {
		if owner.Name == userName {
			return []tenant.Promoted{accountOf(account).in(t)}, nil
		}
	}
	return nil, nil
}

// Confirm leaves of what is about a user the TenantOwners that are so in live, which
// is the API server: a cache may have been left behind. Service accounts are believed:
// to get any of them would take a right that nothing else needs. The error is that of
// live.
func (r *Resolver) Confirm(ctx context.Context, live client.Reader, s tenant.Sources, info user.Info) (tenant.Sources, error) {
	confirmed := tenant.Sources{Config: s.Config, Promoted: s.Promoted}
	for _, owner := range s.TenantOwners {
		is := &capsulev1beta2.TenantOwner{}
		switch err := live.Get(ctx, client.ObjectKeyFromObject(owner), is, Recent); {
		case apierrors.IsNotFound(err):
		case err != nil:
			return tenant.Sources{}, fmt.Errorf("get TenantOwner %s: %w", owner.Name, err)
		case tenant.Is(is.Spec.UserSpec, info):
			confirmed.TenantOwners = append(confirmed.TenantOwners, is)
		}
	}
	return confirmed, nil
}

// Recent has the API server answer from its own cache, which is many times cheaper
// than from etcd. The rights by which it let a request pass are not newer.
var Recent = &client.GetOptions{Raw: &metav1.GetOptions{ResourceVersion: "0"}}

// Configuration returns what the configuration says, nil if there is none. Where the
// reader is a cache it is the cache's own: callers must not modify it.
func (r *Resolver) Configuration(ctx context.Context, reader client.Reader, options ...client.GetOption) (*capsulev1beta2.CapsuleConfigurationSpec, error) {
	config := &capsulev1beta2.CapsuleConfiguration{}
	err := reader.Get(ctx, client.ObjectKey{Name: r.configuration}, config, append(options, client.UnsafeDisableDeepCopy)...)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get configuration %s: %w", r.configuration, err)
	}
	return &config.Spec, nil
}

// TenantOwners returns all of them, in no particular order. They are the cache's own:
// callers must not modify them.
func (r *Resolver) TenantOwners(ctx context.Context) ([]*capsulev1beta2.TenantOwner, error) {
	if !r.withTenantOwners {
		return nil, nil
	}
	var list capsulev1beta2.TenantOwnerList
	if err := r.cached.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list TenantOwners: %w", err)
	}
	owners := make([]*capsulev1beta2.TenantOwner, 0, len(list.Items))
	for i := range list.Items {
		owners = append(owners, &list.Items[i])
	}
	return owners, nil
}

// Promoted returns the service accounts that are owners of a Tenant by their label, in
// no particular order. The error is that of the cache.
func (r *Resolver) Promoted(ctx context.Context) ([]capsulev1beta2.UserSpec, error) {
	config, err := r.Configuration(ctx, r.cached)
	if err != nil || config == nil || !config.AllowServiceAccountPromotion {
		return nil, err
	}
	asking, err := r.asking(ctx)
	if err != nil {
		return nil, err
	}
	var users []capsulev1beta2.UserSpec
	for _, a := range asking {
		for _, owner := range tenant.PromotedOwners(a.tenant, tenant.Sources{Config: config, Promoted: a.promoted}) {
			users = append(users, owner.UserSpec)
		}
	}
	return users, nil
}

// asks are the service accounts of one Tenant that have the label.
type asks struct {
	tenant   *capsulev1beta2.Tenant
	promoted []tenant.Promoted
}

// asking returns them for all Tenants that have any.
func (r *Resolver) asking(ctx context.Context) (map[types.UID]*asks, error) {
	accounts, err := r.accounts(ctx)
	if err != nil {
		return nil, err
	}
	tenants := map[string]*capsulev1beta2.Tenant{}
	all := map[types.UID]*asks{}
	for _, account := range accounts {
		t, known := tenants[account.Namespace]
		if !known {
			if t, err = r.tenantOf(ctx, account.Namespace); err != nil {
				return nil, err
			}
			tenants[account.Namespace] = t
		}
		if t == nil {
			continue
		}
		if all[t.UID] == nil {
			all[t.UID] = &asks{tenant: t}
		}
		all[t.UID].promoted = append(all[t.UID].promoted, account.in(t))
	}
	return all, nil
}

// account is a service account that has the label.
type account struct {
	types.NamespacedName

	// promotedFor is the UID of the Tenant that it was set for.
	promotedFor types.UID
}

func accountOf(object client.Object) account {
	return account{client.ObjectKeyFromObject(object), tenant.PromotedFor(object)}
}

// in returns what the account is to the Tenant whose namespace it is in.
func (a account) in(t *capsulev1beta2.Tenant) tenant.Promoted {
	return tenant.Promoted{Tenant: tenant.RefOf(t), For: a.promotedFor, Name: serviceaccount.MakeUsername(a.Namespace, a.Name)}
}

// accounts returns the service accounts that have the label.
func (r *Resolver) accounts(ctx context.Context, in ...client.ListOption) ([]account, error) {
	list := objects.MetadataList(objects.ServiceAccountKind)
	if err := r.cached.List(ctx, list, append(in, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil, fmt.Errorf("list service accounts: %w", err)
	}
	var accounts []account
	for i := range list.Items {
		if tenant.IsPromoted(&list.Items[i]) {
			accounts = append(accounts, accountOf(&list.Items[i]))
		}
	}
	return accounts, nil
}

// namespace returns the metadata of a namespace, or nil if there is none. It is the
// cache's own.
func (r *Resolver) namespace(ctx context.Context, name string) (*metav1.PartialObjectMetadata, error) {
	namespace := objects.Metadata(objects.NamespaceKind)
	switch err := r.cached.Get(ctx, client.ObjectKey{Name: name}, namespace, client.UnsafeDisableDeepCopy); {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get namespace %s: %w", name, err)
	}
	return namespace, nil
}

// tenantOf returns the Tenant of a namespace by name, or nil.
func (r *Resolver) tenantOf(ctx context.Context, name string) (*capsulev1beta2.Tenant, error) {
	namespace, err := r.namespace(ctx, name)
	if err != nil || namespace == nil {
		return nil, err
	}
	return objects.TenantOf(ctx, r.cached, namespace)
}
