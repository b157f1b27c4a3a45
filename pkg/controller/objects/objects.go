// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package objects says which objects of the cluster the reconcilers and webhooks
// read, in what form they are cached, and by which indexes they are found.
//
// Invariant: what is cached is no more than what is asked of it. Namespaces,
// nodes and classes are kept as metadata; RoleBindings, quotas and policies only
// where Capsule's label marks them as managed; service accounts, as metadata, only
// where a label makes them owners; of a volume its claim and its phase. Nobody changes
// a cached object: some are handed out without a copy.
package objects

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	policyv1alpha1 "tenancy.capsule.io/apis/policy/v1alpha1"
	"tenancy.capsule.io/pkg/tenant"
)

// FieldManager is the one field manager of everything that the controller applies with
// its own rights.
const FieldManager = "tenancy-controller"

const (
	// TenantOfNamespace is the index of namespaces by the name of the Tenant that
	// they say they belong to.
	TenantOfNamespace = "tenant"
	// TenantOfVolume is the index of PersistentVolumes by their tenant label.
	TenantOfVolume = "tenant"
	// TenantOfQuota is the index of ResourceQuotas by the Tenant that they were made
	// for.
	TenantOfQuota = "tenant"
	// ClaimNamespaceOfVolume is the index of PersistentVolumes by the namespace of
	// the claim that they are bound to.
	ClaimNamespaceOfVolume = "claimNamespace"
)

// The kinds that are cached as metadata.
var (
	NamespaceKind     = corev1.SchemeGroupVersion.WithKind("Namespace")
	NodeKind          = corev1.SchemeGroupVersion.WithKind("Node")
	StorageClassKind  = storagev1.SchemeGroupVersion.WithKind("StorageClass")
	IngressClassKind  = networkingv1.SchemeGroupVersion.WithKind("IngressClass")
	PriorityClassKind = schedulingv1.SchemeGroupVersion.WithKind("PriorityClass")
	RuntimeClassKind  = nodev1.SchemeGroupVersion.WithKind("RuntimeClass")
	// ServiceAccountKind is cached as far as OwnerPromotionLabel is "true".
	ServiceAccountKind = corev1.SchemeGroupVersion.WithKind("ServiceAccount")
)

// Metadata returns an empty object by which the metadata of a kind is asked for.
func Metadata(kind schema.GroupVersionKind) *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(kind)
	return object
}

// MetadataList returns an empty list of the metadata of a kind.
func MetadataList(kind schema.GroupVersionKind) *metav1.PartialObjectMetadataList {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	return list
}

// CacheOptions returns how the manager's cache keeps the objects.
func CacheOptions() cache.Options {
	return cache.Options{
		DefaultTransform: WithoutManagedFields,
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Namespace{}:               {Transform: withOwnManagedFields},
			&rbacv1.RoleBinding{}:             {Label: Has(capsulev1beta2.RoleBindingLabel), Transform: withOwnManagedFields},
			&networkingv1.NetworkPolicy{}:     {Label: Has(capsulev1beta2.NetworkPolicyLabel), Transform: withOwnManagedFields},
			&corev1.LimitRange{}:              {Label: Has(capsulev1beta2.LimitRangeLabel), Transform: withOwnManagedFields},
			&corev1.ResourceQuota{}:           {Label: Has(capsulev1beta2.ResourceQuotaLabel), Transform: withOwnManagedFields},
			&policyv1alpha1.NamespacePolicy{}: {Label: Has(policyv1alpha1.NamespacePolicyLabel), Transform: withOwnManagedFields},
			// What is compiled for tenants has a cache of its own.
			&rbacv1.ClusterRole{}:        {Label: hasNot(capsulev1beta2.TenantLabel)},
			&rbacv1.ClusterRoleBinding{}: {Label: hasNot(capsulev1beta2.TenantLabel)},
			&corev1.PersistentVolume{}:   {Transform: claimOnly},
			// There are many, and few that are asked for.
			Metadata(ServiceAccountKind): {Label: labels.SelectorFromSet(labels.Set{capsulev1beta2.OwnerPromotionLabel: "true"})},
		},
	}
}

// Has returns the selector of the objects that carry the label.
func Has(label string) labels.Selector { return selector(label, selection.Exists) }

// hasNot returns the selector of the objects that do not.
func hasNot(label string) labels.Selector { return selector(label, selection.DoesNotExist) }

func selector(label string, operator selection.Operator) labels.Selector {
	requirement, err := labels.NewRequirement(label, operator, nil)
	utilruntime.Must(err)
	return labels.NewSelector().Add(*requirement)
}

// Index makes the indexes. It has to be called once, before the cache starts.
func Index(ctx context.Context, indexer client.FieldIndexer) error {
	if err := indexer.IndexField(ctx, Metadata(NamespaceKind), TenantOfNamespace, func(namespace client.Object) []string {
		if ref, ok := tenant.Of(namespace); ok {
			return []string{ref.Name}
		}
		return nil
	}); err != nil {
		return fmt.Errorf("index namespaces: %w", err)
	}
	if err := indexer.IndexField(ctx, &corev1.PersistentVolume{}, TenantOfVolume, func(volume client.Object) []string {
		if name := volume.GetLabels()[capsulev1beta2.TenantLabel]; name != "" {
			return []string{name}
		}
		return nil
	}); err != nil {
		return fmt.Errorf("index volumes: %w", err)
	}
	if err := indexer.IndexField(ctx, &corev1.ResourceQuota{}, TenantOfQuota, func(quota client.Object) []string {
		if name := quota.GetLabels()[capsulev1beta2.ManagedTenantLabel]; name != "" {
			return []string{name}
		}
		return nil
	}); err != nil {
		return fmt.Errorf("index quotas: %w", err)
	}
	if err := indexer.IndexField(ctx, &corev1.PersistentVolume{}, ClaimNamespaceOfVolume, func(object client.Object) []string {
		if volume, ok := object.(*corev1.PersistentVolume); ok && volume.Spec.ClaimRef != nil {
			return []string{volume.Spec.ClaimRef.Namespace}
		}
		return nil
	}); err != nil {
		return fmt.Errorf("index volumes by claim: %w", err)
	}
	return nil
}

// NamespacesOf returns the metadata of the namespaces that belong to this very
// Tenant, terminating ones included, in no particular order. They are the cache's
// own: callers must not modify them.
func NamespacesOf(ctx context.Context, reader client.Reader, t metav1.Object) ([]metav1.PartialObjectMetadata, error) {
	list := MetadataList(NamespaceKind)
	if err := reader.List(ctx, list, client.MatchingFields{TenantOfNamespace: t.GetName()}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list namespaces of tenant %s: %w", t.GetName(), err)
	}
	owned := list.Items[:0]
	for i := range list.Items {
		if tenant.Owns(t, &list.Items[i]) {
			owned = append(owned, list.Items[i])
		}
	}
	return owned, nil
}

// ItemName returns the name of what each namespace of a Tenant has for an item of one
// of the Tenant's lists.
func ItemName(of, item string) string { return "capsule-" + of + "-" + item }

// TenantOf returns the Tenant that a namespace belongs to, or nil if it belongs to
// none that lives with that UID. Where the reader is a cache it is the cache's own:
// callers must not modify it.
func TenantOf(ctx context.Context, reader client.Reader, namespace metav1.Object) (*capsulev1beta2.Tenant, error) {
	ref, ok := tenant.Of(namespace)
	if !ok {
		return nil, nil
	}
	t := &capsulev1beta2.Tenant{}
	switch err := reader.Get(ctx, client.ObjectKey{Name: ref.Name}, t, client.UnsafeDisableDeepCopy); {
	case apierrors.IsNotFound(err) || err == nil && t.UID != ref.UID:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get tenant %s: %w", ref.Name, err)
	}
	return t, nil
}
