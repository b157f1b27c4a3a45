// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	"tenancy.capsule.io/pkg/proxy/rewrite"
)

// Resources returns what there are views of.
func Resources() []*rewrite.Resource {
	table := []*rewrite.Resource{
		view(corev1.SchemeGroupVersion, "Namespace", "namespaces", "TenantNamespace", "tenantnamespaces"),
		view(corev1.SchemeGroupVersion, "Node", "nodes", "TenantNode", "tenantnodes"),
		view(corev1.SchemeGroupVersion, "PersistentVolume", "persistentvolumes", "TenantPersistentVolume", "tenantpersistentvolumes"),
		view(storagev1.SchemeGroupVersion, "StorageClass", "storageclasses", "TenantStorageClass", "tenantstorageclasses"),
		view(networkingv1.SchemeGroupVersion, "IngressClass", "ingressclasses", "TenantIngressClass", "tenantingressclasses"),
		view(schedulingv1.SchemeGroupVersion, "PriorityClass", "priorityclasses", "TenantPriorityClass", "tenantpriorityclasses"),
		view(nodev1.SchemeGroupVersion, "RuntimeClass", "runtimeclasses", "TenantRuntimeClass", "tenantruntimeclasses"),
		view(capsulev1beta2.SchemeGroupVersion, "Tenant", "tenants", "MyTenant", "mytenants"),
	}
	table[len(table)-1].TypedItems = true
	return table
}

// resources returns what there are views of, by the native resource.
func resources() map[schema.GroupVersionResource]*rewrite.Resource {
	byNative := map[schema.GroupVersionResource]*rewrite.Resource{}
	for _, r := range Resources() {
		byNative[r.Native.GroupVersion().WithResource(r.Native.Resource)] = r
	}
	return byNative
}

func view(native schema.GroupVersion, kind, plural, viewKind, viewPlural string) *rewrite.Resource {
	return &rewrite.Resource{
		Native: rewrite.Kind{GroupVersionKind: native.WithKind(kind), Resource: plural},
		View:   rewrite.Kind{GroupVersionKind: v1alpha1.SchemeGroupVersion.WithKind(viewKind), Resource: viewPlural},
	}
}
