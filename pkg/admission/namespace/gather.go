// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/admission/internal/requester"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/tenant"
)

// gatherer finds out what has to be known to decide a request. The cache answers
// where being late does no harm.
type gatherer struct {
	cached, live client.Reader
	owners       *owners.Resolver
	requesters   requester.Finder
}

// gather returns the facts. If the request is final, a Tenant that the namespace
// is about to join, and the TenantOwners that may let it, are read from the API
// server, not from the cache, which may have been left behind.
func (g *gatherer) gather(ctx context.Context, r Request, final bool) (Facts, error) {
	requester, sources, err := g.requesters.Find(ctx, r.User)
	if err != nil {
		return Facts{}, err
	}
	f := Facts{Requester: requester, Config: sources.Config, Sources: sources, Tenants: map[string]*capsulev1beta2.Tenant{}}
	for _, ref := range relevant(r, requester) {
		if f.Tenants[ref.Name] != nil {
			continue
		}
		t, err := g.tenant(ctx, ref, final && joins(r))
		if err != nil {
			return Facts{}, err
		}
		if t != nil {
			f.Tenants[t.Name] = t
		}
	}
	if !final && NeedsOwned(r, requester) {
		if f.Owned, err = g.owned(ctx, f.Sources, r.User); err != nil {
			return Facts{}, err
		}
	}
	if final && joins(r) && requester == tenant.CapsuleUser {
		if f.Sources, err = g.owners.Confirm(ctx, g.live, f.Sources, r.User); err != nil {
			return Facts{}, err
		}
	}
	return f, nil
}

// relevant returns the Tenants that the decision may depend on, those with a UID
// first. There are few of them, however many a user's namespace refers to.
func relevant(r Request, requester tenant.Requester) []tenant.Ref {
	old, said := ClaimOf(r.Old), ClaimOf(r.New)
	var refs []tenant.Ref
	if ref, ok := old.Of(); ok && (requester != tenant.Unknown || !said.Equal(old)) {
		refs = append(refs, ref)
	}
	switch {
	case r.Operation == admissionv1.Delete || said.Equal(old):
	case requester == tenant.Administrator || requester == tenant.Controller:
		for _, name := range said.names() {
			refs = append(refs, said.ref(name))
		}
	case requester == tenant.CapsuleUser && r.Operation == admissionv1.Create && said.label != "":
		refs = append(refs, said.ref(said.label))
	}
	return refs
}

// joins reports whether the namespace may be about to join a Tenant.
func joins(r Request) bool {
	return r.Operation == admissionv1.Create || r.Operation == admissionv1.Update && !ClaimOf(r.New).Equal(ClaimOf(r.Old))
}

// tenant returns a Tenant, nil if there is none. The cache is believed only if it
// knows the Tenant, and with the UID, if one is given. Else the API server is asked,
// and what it has in its own cache believed likewise: the user's rights, by which it
// let the request pass, are not newer. A Tenant that takes namespaces is many times
// cheaper to read there than in etcd.
func (g *gatherer) tenant(ctx context.Context, ref tenant.Ref, live bool) (*capsulev1beta2.Tenant, error) {
	// A label value need not be a name that an object can have.
	if len(content.IsPathSegmentName(ref.Name)) > 0 {
		return nil, nil
	}
	recent := g.cached
	var options []client.GetOption
	if live {
		recent, options = g.live, []client.GetOption{owners.Recent}
	}
	key := client.ObjectKey{Name: ref.Name}
	t := &capsulev1beta2.Tenant{}
	err := recent.Get(ctx, key, t, options...)
	if err == nil && (ref.UID == "" || ref.UID == t.UID) {
		return t, nil
	}
	if err == nil || isNone(err) {
		t = &capsulev1beta2.Tenant{}
		err = g.live.Get(ctx, key, t)
	}
	switch {
	case isNone(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get tenant %s: %w", ref.Name, err)
	}
	return t, nil
}

// isNone reports whether an error says that there is no such Tenant, and cannot be.
func isNone(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)
}

// owned returns the Tenants that the user owns. They are the cache's own.
func (g *gatherer) owned(ctx context.Context, sources tenant.Sources, info user.Info) ([]*capsulev1beta2.Tenant, error) {
	all := &capsulev1beta2.TenantList{}
	if err := g.cached.List(ctx, all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	var owned []*capsulev1beta2.Tenant
	for i := range all.Items {
		if t := &all.Items[i]; tenant.IsOwner(t, sources, info) {
			owned = append(owned, t)
		}
	}
	return owned, nil
}
