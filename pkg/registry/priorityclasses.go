// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	"tenancy.capsule.io/pkg/internal/feed"
)

var priorityClasses = definition[v1alpha1.TenantPriorityClass, *v1alpha1.TenantPriorityClass, *schedulingv1.PriorityClass]{
	plural: "tenantpriorityclasses", singular: "tenantpriorityclass", shortName: "tpc", kind: "TenantPriorityClass",
	native: schema.GroupResource{Group: schedulingv1.GroupName, Resource: "priorityclasses"},
	source: func(d Dependencies) cache.ListerWatcher {
		client := d.Clients.Kubernetes.SchedulingV1().PriorityClasses()
		return feed.Source(d.Clients.Kubernetes, client.List, client.Watch)
	},
	fromNative: func(c *schedulingv1.PriorityClass) *v1alpha1.TenantPriorityClass {
		return (*v1alpha1.TenantPriorityClass)(c)
	},
	newList: func(m metav1.ListMeta, items []v1alpha1.TenantPriorityClass) runtime.Object {
		return &v1alpha1.TenantPriorityClassList{ListMeta: m, Items: items}
	},
	columns: []metav1.TableColumnDefinition{
		nameColumn,
		{Name: "Value", Type: "integer", Description: schedulingv1.PriorityClass{}.SwaggerDoc()["value"]},
		{Name: "Global-Default", Type: "boolean", Description: schedulingv1.PriorityClass{}.SwaggerDoc()["globalDefault"]},
		ageColumn,
		{Name: "PreemptionPolicy", Type: "string", Description: schedulingv1.PriorityClass{}.SwaggerDoc()["preemptionPolicy"]},
	},
	cells: func(c *v1alpha1.TenantPriorityClass) ([]any, error) {
		return []any{c.Name, int64(c.Value), c.GlobalDefault, age(c), string(ptr.Deref(c.PreemptionPolicy, ""))}, nil
	},
}
