// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	"tenancy.capsule.io/pkg/internal/feed"
)

var runtimeClasses = definition[v1alpha1.TenantRuntimeClass, *v1alpha1.TenantRuntimeClass, *nodev1.RuntimeClass]{
	plural: "tenantruntimeclasses", singular: "tenantruntimeclass", shortName: "trc", kind: "TenantRuntimeClass",
	native: schema.GroupResource{Group: nodev1.GroupName, Resource: "runtimeclasses"},
	source: func(d Dependencies) cache.ListerWatcher {
		client := d.Clients.Kubernetes.NodeV1().RuntimeClasses()
		return feed.Source(d.Clients.Kubernetes, client.List, client.Watch)
	},
	fromNative: func(c *nodev1.RuntimeClass) *v1alpha1.TenantRuntimeClass { return (*v1alpha1.TenantRuntimeClass)(c) },
	newList: func(m metav1.ListMeta, items []v1alpha1.TenantRuntimeClass) runtime.Object {
		return &v1alpha1.TenantRuntimeClassList{ListMeta: m, Items: items}
	},
	columns: []metav1.TableColumnDefinition{
		nameColumn,
		// Natively this description is empty, too: it is looked up among those of
		// metadata.
		{Name: "Handler", Type: "string"},
		ageColumn,
	},
	cells: func(c *v1alpha1.TenantRuntimeClass) ([]any, error) { return []any{c.Name, c.Handler, age(c)}, nil },
}
