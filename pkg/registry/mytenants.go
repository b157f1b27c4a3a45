// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"net/http"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	"tenancy.capsule.io/pkg/internal/feed"
)

// tenants is the resource that is read.
var tenants = schema.GroupVersionResource{Group: "capsule.clastix.io", Version: "v1beta2", Resource: "tenants"}

// myTenantColumns are those that Tenants have by their definition, in the version
// that is read.
var myTenantColumns = mustCustomColumns([]apiextensionsv1.CustomResourceColumnDefinition{
	{Name: "State", Type: "string", JSONPath: `.status.conditions[?(@.type=="Cordoned")].reason`, Description: "Whether the Tenant is Active or Cordoned"},
	{Name: "Namespace quota", Type: "integer", JSONPath: ".spec.namespaceOptions.quota", Description: "How many namespaces the Tenant may have"},
	{Name: "Namespace count", Type: "integer", JSONPath: ".status.size", Description: "How many namespaces the Tenant has"},
	{Name: "Node selector", Type: "string", JSONPath: ".spec.nodeSelector", Description: "The labels of the nodes that the pods of the Tenant run on"},
	{Name: "Ready", Type: "string", Priority: 1, JSONPath: `.status.conditions[?(@.type=="Ready")].status`, Description: "Whether what the Tenant says is in effect"},
	{Name: "Status", Type: "string", Priority: 1, JSONPath: `.status.conditions[?(@.type=="Ready")].message`, Description: "Why the Tenant is, or is not, ready"},
	{Name: "Age", Type: "date", JSONPath: ".metadata.creationTimestamp"},
})

// myTenants is the view of a custom resource, which a cluster may not have.
var myTenants = definition[v1alpha1.MyTenant, *v1alpha1.MyTenant, *v1alpha1.MyTenant]{
	plural: "mytenants", singular: "mytenant", shortName: "mt", kind: "MyTenant",
	native: tenants.GroupResource(),
	source: func(d Dependencies) cache.ListerWatcher {
		client := gentype.NewClientWithList(tenants.Resource, d.Clients.Tenants, metav1.ParameterCodec, metav1.NamespaceNone,
			func() *v1alpha1.MyTenant { return &v1alpha1.MyTenant{} },
			func() *v1alpha1.MyTenantList { return &v1alpha1.MyTenantList{} })
		return feed.OptionalSource(client.List, client.Watch, feed.Absence{
			Definitions: d.Clients.Metadata.Resource(apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")),
			Definition:  tenants.GroupResource().String(),
			NewList: func(resourceVersion string) runtime.Object {
				return &v1alpha1.MyTenantList{ListMeta: metav1.ListMeta{ResourceVersion: resourceVersion}}
			},
			NewBookmark: func(resourceVersion string) runtime.Object {
				return &v1alpha1.MyTenant{ObjectMeta: metav1.ObjectMeta{ResourceVersion: resourceVersion}}
			},
		})
	},
	fromNative: func(t *v1alpha1.MyTenant) *v1alpha1.MyTenant { return t },
	newList: func(m metav1.ListMeta, items []v1alpha1.MyTenant) runtime.Object {
		return &v1alpha1.MyTenantList{ListMeta: m, Items: items}
	},
	// A custom resource has no field but its name.
	fields:  map[string]func(*v1alpha1.MyTenant) string{},
	columns: myTenantColumns.columns,
	cells:   func(t *v1alpha1.MyTenant) ([]any, error) { return myTenantColumns.cells(t) },
}

// newTenantsClient returns a client that reads Tenants as MyTenants: under their
// own kind, JSON is decoded into the type of the view.
func newTenantsClient(config *rest.Config, client *http.Client) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	version := tenants.GroupVersion()
	scheme.AddKnownTypeWithName(version.WithKind("Tenant"), &v1alpha1.MyTenant{})
	scheme.AddKnownTypeWithName(version.WithKind("TenantList"), &v1alpha1.MyTenantList{})
	metav1.AddToGroupVersion(scheme, version)
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	config = rest.CopyConfig(config)
	config.APIPath = "/apis"
	config.GroupVersion = &version
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	return rest.RESTClientForConfigAndClient(config, client)
}
