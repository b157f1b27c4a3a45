// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	"tenancy.capsule.io/pkg/internal/feed"
)

var persistentVolumes = definition[v1alpha1.TenantPersistentVolume, *v1alpha1.TenantPersistentVolume, *corev1.PersistentVolume]{
	plural: "tenantpersistentvolumes", singular: "tenantpersistentvolume", shortName: "tpv", kind: "TenantPersistentVolume",
	native: schema.GroupResource{Resource: "persistentvolumes"},
	source: func(d Dependencies) cache.ListerWatcher {
		client := d.Clients.Kubernetes.CoreV1().PersistentVolumes()
		return feed.Source(d.Clients.Kubernetes, client.List, client.Watch)
	},
	fromNative: func(v *corev1.PersistentVolume) *v1alpha1.TenantPersistentVolume {
		return (*v1alpha1.TenantPersistentVolume)(v)
	},
	newList: func(m metav1.ListMeta, items []v1alpha1.TenantPersistentVolume) runtime.Object {
		return &v1alpha1.TenantPersistentVolumeList{ListMeta: m, Items: items}
	},
	columns: []metav1.TableColumnDefinition{
		nameColumn,
		{Name: "Capacity", Type: "string", Description: corev1.PersistentVolumeSpec{}.SwaggerDoc()["capacity"]},
		{Name: "Access Modes", Type: "string", Description: corev1.PersistentVolumeSpec{}.SwaggerDoc()["accessModes"]},
		{Name: "Reclaim Policy", Type: "string", Description: corev1.PersistentVolumeSpec{}.SwaggerDoc()["persistentVolumeReclaimPolicy"]},
		{Name: "Status", Type: "string", Description: corev1.PersistentVolumeStatus{}.SwaggerDoc()["phase"]},
		{Name: "Claim", Type: "string", Description: corev1.PersistentVolumeSpec{}.SwaggerDoc()["claimRef"]},
		{Name: "StorageClass", Type: "string", Description: "StorageClass of the pv"},
		{Name: "VolumeAttributesClass", Type: "string", Description: "VolumeAttributesClass of the pv"},
		{Name: "Reason", Type: "string", Description: corev1.PersistentVolumeStatus{}.SwaggerDoc()["reason"]},
		ageColumn,
		{Name: "VolumeMode", Type: "string", Priority: 1, Description: corev1.PersistentVolumeSpec{}.SwaggerDoc()["volumeMode"]},
		tenantColumn,
	},
	cells: func(v *v1alpha1.TenantPersistentVolume) ([]any, error) {
		phase := v.Status.Phase
		if v.DeletionTimestamp != nil {
			phase = "Terminating"
		}
		claim := ""
		if ref := v.Spec.ClaimRef; ref != nil {
			claim = ref.Namespace + "/" + ref.Name
		}
		class, annotated := v.Annotations[corev1.BetaStorageClassAnnotation]
		if !annotated {
			class = v.Spec.StorageClassName
		}
		return []any{
			v.Name, v.Spec.Capacity.Storage().String(), accessModes(v.Spec.AccessModes), string(v.Spec.PersistentVolumeReclaimPolicy),
			string(phase), claim, class, ptr.Deref(v.Spec.VolumeAttributesClassName, unset),
			v.Status.Reason, age(v), string(ptr.Deref(v.Spec.VolumeMode, unset)), tenant(v),
		}, nil
	},
}

// accessModes returns the abbreviations of the modes, in the order in which they
// are always told.
func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	var short []string
	for _, m := range []struct {
		mode corev1.PersistentVolumeAccessMode
		name string
	}{
		{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"},
	} {
		if slices.Contains(modes, m.mode) {
			short = append(short, m.name)
		}
	}
	return strings.Join(short, ",")
}
