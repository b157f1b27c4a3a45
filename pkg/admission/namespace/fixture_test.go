// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
)

// testTenant returns a Tenant with owners; its UID is its name in capitals.
func testTenant(name string, owners ...string) *capsulev1beta2.Tenant {
	t := &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name, UID: uid(name)}}
	for _, owner := range owners {
		t.Spec.Owners = append(t.Spec.Owners, capsulev1beta2.OwnerSpec{CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{
			UserSpec: capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: owner},
		}})
	}
	return t
}

func prefixed(t *capsulev1beta2.Tenant, force bool) *capsulev1beta2.Tenant {
	t.Spec.ForceTenantPrefix = new(force)
	return t
}

func cordoned(t *capsulev1beta2.Tenant) *capsulev1beta2.Tenant {
	t.Spec.Cordoned = true
	return t
}

func deleted(t *capsulev1beta2.Tenant) *capsulev1beta2.Tenant {
	t.DeletionTimestamp = new(metav1.NewTime(time.Unix(1, 0)))
	return t
}

func limited(t *capsulev1beta2.Tenant, quota int32) *capsulev1beta2.Tenant {
	t.Spec.NamespaceOptions = &capsulev1beta2.NamespaceOptions{Quota: new(quota)}
	return t
}

func uid(name string) types.UID { return types.UID("uid-of-" + name) }

// change changes a namespace in a test.
type change func(*metav1.PartialObjectMetadata)

func testNamespace(name string, changes ...change) *metav1.PartialObjectMetadata {
	namespace := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, change := range changes {
		change(namespace)
	}
	return namespace
}

func label(value string) change {
	return func(n *metav1.PartialObjectMetadata) {
		metav1.SetMetaDataLabel(&n.ObjectMeta, capsulev1beta2.TenantLabel, value)
	}
}

func owner(name string) change { return ownerWith(name, uid(name), "v1beta2") }

func ownerWith(name string, uid types.UID, version string) change {
	return func(n *metav1.PartialObjectMetadata) {
		n.OwnerReferences = append(n.OwnerReferences, metav1.OwnerReference{
			APIVersion: capsulev1beta2.GroupName + "/" + version, Kind: tenant.Kind, Name: name, UID: uid,
		})
	}
}

func foreignOwner(n *metav1.PartialObjectMetadata) {
	n.OwnerReferences = append(n.OwnerReferences, metav1.OwnerReference{
		APIVersion: "example.com/v1", Kind: "Tenant", Name: "somebody", UID: "else",
	})
}

func terminating(n *metav1.PartialObjectMetadata) {
	n.DeletionTimestamp = new(metav1.NewTime(time.Unix(1, 0)))
}

// of makes a namespace the Tenant's, in full.
func of(name string) change {
	return func(n *metav1.PartialObjectMetadata) {
		label(name)(n)
		owner(name)(n)
	}
}

func person(name string) user.Info {
	return &user.DefaultInfo{Name: name, Groups: []string{capsulev1beta2.DefaultUserGroup, user.AllAuthenticated}}
}

// factsOf returns the facts of a cluster with these Tenants.
func factsOf(requester tenant.Requester, info user.Info, tenants ...*capsulev1beta2.Tenant) Facts {
	f := Facts{Requester: requester, Tenants: map[string]*capsulev1beta2.Tenant{}}
	for _, t := range tenants {
		f.Tenants[t.Name] = t
		if tenant.IsOwner(t, f.Sources, info) {
			f.Owned = append(f.Owned, t)
		}
	}
	return f
}
