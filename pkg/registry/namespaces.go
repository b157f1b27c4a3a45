// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	"tenancy.capsule.io/pkg/internal/feed"
)

var namespaces = definition[v1alpha1.TenantNamespace, *v1alpha1.TenantNamespace, *corev1.Namespace]{
	plural: "tenantnamespaces", singular: "tenantnamespace", shortName: "tns", kind: "TenantNamespace",
	native: schema.GroupResource{Resource: "namespaces"},
	source: func(d Dependencies) cache.ListerWatcher {
		client := d.Clients.Kubernetes.CoreV1().Namespaces()
		return feed.Source(d.Clients.Kubernetes, client.List, client.Watch)
	},
	fromNative: func(n *corev1.Namespace) *v1alpha1.TenantNamespace { return (*v1alpha1.TenantNamespace)(n) },
	newList: func(m metav1.ListMeta, items []v1alpha1.TenantNamespace) runtime.Object {
		return &v1alpha1.TenantNamespaceList{ListMeta: m, Items: items}
	},
	fields: map[string]func(*v1alpha1.TenantNamespace) string{
		"status.phase": func(n *v1alpha1.TenantNamespace) string { return string(n.Status.Phase) },
	},
	columns: []metav1.TableColumnDefinition{
		nameColumn,
		{Name: "Status", Type: "string", Description: "The status of the namespace"},
		ageColumn,
		tenantColumn,
	},
	cells: func(n *v1alpha1.TenantNamespace) ([]any, error) {
		return []any{n.Name, string(n.Status.Phase), age(n), tenant(n)}, nil
	},
}
