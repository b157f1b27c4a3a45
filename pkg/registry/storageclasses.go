// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	"tenancy.capsule.io/pkg/internal/feed"
)

var storageClasses = definition[v1alpha1.TenantStorageClass, *v1alpha1.TenantStorageClass, *storagev1.StorageClass]{
	plural: "tenantstorageclasses", singular: "tenantstorageclass", shortName: "tsc", kind: "TenantStorageClass",
	native: schema.GroupResource{Group: storagev1.GroupName, Resource: "storageclasses"},
	source: func(d Dependencies) cache.ListerWatcher {
		client := d.Clients.Kubernetes.StorageV1().StorageClasses()
		return feed.Source(d.Clients.Kubernetes, client.List, client.Watch)
	},
	fromNative: func(c *storagev1.StorageClass) *v1alpha1.TenantStorageClass { return (*v1alpha1.TenantStorageClass)(c) },
	newList: func(m metav1.ListMeta, items []v1alpha1.TenantStorageClass) runtime.Object {
		return &v1alpha1.TenantStorageClassList{ListMeta: m, Items: items}
	},
	columns: []metav1.TableColumnDefinition{
		nameColumn,
		{Name: "Provisioner", Type: "string", Description: storagev1.StorageClass{}.SwaggerDoc()["provisioner"]},
		{Name: "ReclaimPolicy", Type: "string", Description: storagev1.StorageClass{}.SwaggerDoc()["reclaimPolicy"]},
		{Name: "VolumeBindingMode", Type: "string", Description: storagev1.StorageClass{}.SwaggerDoc()["volumeBindingMode"]},
		{Name: "AllowVolumeExpansion", Type: "string", Description: storagev1.StorageClass{}.SwaggerDoc()["allowVolumeExpansion"]},
		ageColumn,
	},
	cells: func(c *v1alpha1.TenantStorageClass) ([]any, error) {
		return []any{
			classNameCell(c, "storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"), c.Provisioner,
			string(ptr.Deref(c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)),
			string(ptr.Deref(c.VolumeBindingMode, storagev1.VolumeBindingImmediate)),
			ptr.Deref(c.AllowVolumeExpansion, false), age(c),
		}, nil
	},
}
