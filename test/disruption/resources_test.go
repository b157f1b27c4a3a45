// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"maps"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	"tenancy.capsule.io/test/framework"
)

// object is an object of a view.
type object interface {
	runtime.Object
	metav1.Object
}

// objects are, by name, the objects of one view that a client holds.
type objects map[string]object

// resource is what a world edits, and the view of it.
type resource struct {
	native, view schema.GroupVersionResource
	nativeKind   string
	shortName    string
	// new and newList return an object and a list of the view.
	new     func() object
	newList func() ctrlclient.ObjectList
	// content is what a native object has beside its metadata, fields what a field
	// selector may name of an object of the view, beside its name.
	content map[string]any
	fields  func(object) fields.Set
	// json says that the view has no other encoding.
	json bool
}

var (
	namespaces = &resource{
		native: schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}, nativeKind: "Namespace",
		view: v1alpha1.SchemeGroupVersion.WithResource("tenantnamespaces"), shortName: "tns",
		new:     func() object { return &v1alpha1.TenantNamespace{} },
		newList: func() ctrlclient.ObjectList { return &v1alpha1.TenantNamespaceList{} },
		fields: func(o object) fields.Set {
			return fields.Set{"status.phase": string(o.(*v1alpha1.TenantNamespace).Status.Phase)}
		},
	}
	// nodes are those whose status changes all the time, beside them.
	nodes = &resource{
		native: schema.GroupVersionResource{Version: "v1", Resource: "nodes"}, nativeKind: "Node",
		view: v1alpha1.SchemeGroupVersion.WithResource("tenantnodes"), shortName: "tno",
		new:     func() object { return &v1alpha1.TenantNode{} },
		newList: func() ctrlclient.ObjectList { return &v1alpha1.TenantNodeList{} },
		fields: func(o object) fields.Set {
			return fields.Set{"spec.unschedulable": strconv.FormatBool(o.(*v1alpha1.TenantNode).Spec.Unschedulable)}
		},
	}
	// tenants are a custom resource.
	tenants = &resource{
		native: framework.Tenants, nativeKind: "Tenant",
		view: v1alpha1.SchemeGroupVersion.WithResource("mytenants"), shortName: "mt",
		new:     func() object { return &v1alpha1.MyTenant{} },
		newList: func() ctrlclient.ObjectList { return &v1alpha1.MyTenantList{} },
		content: map[string]any{"spec": map[string]any{"owners": []any{map[string]any{"kind": "User", "name": "alice"}}}},
		fields:  func(object) fields.Set { return fields.Set{} },
		json:    true,
	}
	resources = []*resource{namespaces, nodes, tenants}
)

// String returns the name of the native resource.
func (r *resource) String() string { return r.native.Resource }

func (r *resource) viewPath() string {
	return "/apis/" + r.view.Group + "/" + r.view.Version + "/" + r.view.Resource
}

// object returns a native object that can be created.
func (r *resource) object(meta metav1.ObjectMeta) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{}}
	maps.Copy(o.Object, r.content)
	o = o.DeepCopy()
	o.SetGroupVersionKind(r.native.GroupVersion().WithKind(r.nativeKind))
	o.SetName(meta.Name)
	o.SetLabels(meta.Labels)
	return o
}

// viewOf returns a native object as the view shows it.
func (r *resource) viewOf(native *unstructured.Unstructured) (object, error) {
	o := r.new()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(native.Object, o); err != nil {
		return nil, err
	}
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	o.SetManagedFields(nil) // the view leaves them out
	return o, nil
}

// put adds a copy of what a client holds.
func (o objects) put(held object) {
	held = held.DeepCopyObject().(object)
	held.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	o[held.GetName()] = held
}
