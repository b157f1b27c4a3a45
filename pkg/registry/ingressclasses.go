// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	"tenancy.capsule.io/pkg/internal/feed"
)

var ingressClasses = definition[v1alpha1.TenantIngressClass, *v1alpha1.TenantIngressClass, *networkingv1.IngressClass]{
	plural: "tenantingressclasses", singular: "tenantingressclass", shortName: "tic", kind: "TenantIngressClass",
	native: schema.GroupResource{Group: networkingv1.GroupName, Resource: "ingressclasses"},
	source: func(d Dependencies) cache.ListerWatcher {
		client := d.Clients.Kubernetes.NetworkingV1().IngressClasses()
		return feed.Source(d.Clients.Kubernetes, client.List, client.Watch)
	},
	fromNative: func(c *networkingv1.IngressClass) *v1alpha1.TenantIngressClass {
		return (*v1alpha1.TenantIngressClass)(c)
	},
	newList: func(m metav1.ListMeta, items []v1alpha1.TenantIngressClass) runtime.Object {
		return &v1alpha1.TenantIngressClassList{ListMeta: m, Items: items}
	},
	columns: []metav1.TableColumnDefinition{
		nameColumn,
		{Name: "Controller", Type: "string", Description: "Controller that is responsible for handling this class"},
		{Name: "Parameters", Type: "string", Description: "A reference to a resource with additional parameters"},
		ageColumn,
	},
	cells: func(c *v1alpha1.TenantIngressClass) ([]any, error) {
		return []any{classNameCell(c, networkingv1.AnnotationIsDefaultIngressClass), c.Spec.Controller, parameters(c), age(c)}, nil
	},
}

func parameters(c *v1alpha1.TenantIngressClass) string {
	p := c.Spec.Parameters
	if p == nil {
		return none
	}
	kind := p.Kind
	if p.APIGroup != nil {
		kind += "." + *p.APIGroup
	}
	return kind + "/" + p.Name
}
