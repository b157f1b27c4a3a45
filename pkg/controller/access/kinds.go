// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

// kind is a kind of objects to which access is compiled.
type kind struct {
	// group, version and resource are what rules name it by.
	group, version, resource string
	// service is its name in proxySettings; empty if they do not know it.
	service capsulev1beta2.ProxyServiceKind
	// object returns an empty object, list an empty list of what the cache keeps.
	object func() client.Object
	list   func() client.ObjectList
	// selected returns which objects are a Tenant's.
	selected func(t *capsulev1beta2.Tenant) (*selection, field.ErrorList)
	// companions are readable with an object, under its name: what kubectl asks for
	// beside it.
	companions []companion
}

// companion is a resource whose objects bear the names of another's.
type companion struct{ namespace, group, resource string }

// nodeCompanions are a node's usage (kubectl top) and its heartbeat (kubectl
// describe).
var nodeCompanions = []companion{
	{group: "metrics.k8s.io", resource: "nodes"},
	{namespace: corev1.NamespaceNodeLease, group: coordinationv1.GroupName, resource: "leases"},
}

// selection decides which objects of a kind are meant. The zero selection selects
// nothing.
type selection struct {
	// all is for everything, whatever it is called: one rule without names.
	all     bool
	matches func(metav1.Object) bool
	// index, if set, finds all that can match in the cache.
	index client.MatchingFields
}

func (s *selection) selects(object metav1.Object) bool {
	return s.all || s.matches != nil && s.matches(object)
}

// kinds are those to which Tenants and ProxySettings give access by name. The
// Tenant itself needs no entry: its name is known.
var kinds = []kind{
	{
		version: objects.NodeKind.Version, resource: "nodes", service: capsulev1beta2.NodesProxy,
		object:   func() client.Object { return objects.Metadata(objects.NodeKind) },
		list:     func() client.ObjectList { return objects.MetadataList(objects.NodeKind) },
		selected: selectNodes, companions: nodeCompanions,
	},
	{
		version: corev1.SchemeGroupVersion.Version, resource: "persistentvolumes", service: capsulev1beta2.PersistentVolumesProxy,
		object:   func() client.Object { return &corev1.PersistentVolume{} },
		list:     func() client.ObjectList { return &corev1.PersistentVolumeList{} },
		selected: selectVolumes,
	},
	classKind(objects.StorageClassKind, "storageclasses", capsulev1beta2.StorageClassesProxy, func(t *capsulev1beta2.TenantSpec) (*field.Path, *capsulev1beta2.DefaultAllowedList) {
		return field.NewPath("spec", "storageClasses"), t.StorageClasses
	}),
	classKind(objects.IngressClassKind, "ingressclasses", capsulev1beta2.IngressClassesProxy, func(t *capsulev1beta2.TenantSpec) (*field.Path, *capsulev1beta2.DefaultAllowedList) {
		path := field.NewPath("spec", "ingressOptions", "allowedClasses")
		if t.IngressOptions == nil {
			return path, nil
		}
		return path, t.IngressOptions.AllowedClasses
	}),
	classKind(objects.PriorityClassKind, "priorityclasses", capsulev1beta2.PriorityClassesProxy, func(t *capsulev1beta2.TenantSpec) (*field.Path, *capsulev1beta2.DefaultAllowedList) {
		return field.NewPath("spec", "priorityClasses"), t.PriorityClasses
	}),
	classKind(objects.RuntimeClassKind, "runtimeclasses", capsulev1beta2.RuntimeClassesProxy, func(t *capsulev1beta2.TenantSpec) (*field.Path, *capsulev1beta2.DefaultAllowedList) {
		return field.NewPath("spec", "runtimeClasses"), t.RuntimeClasses
	}),
}

// classKind returns a kind of classes, of which a Tenant may use those on a list.
func classKind(gvk schema.GroupVersionKind, resource string, service capsulev1beta2.ProxyServiceKind,
	allowed func(*capsulev1beta2.TenantSpec) (*field.Path, *capsulev1beta2.DefaultAllowedList),
) kind {
	return kind{
		group: gvk.Group, version: gvk.Version, resource: resource, service: service,
		object: func() client.Object { return objects.Metadata(gvk) },
		list:   func() client.ObjectList { return objects.MetadataList(gvk) },
		selected: func(t *capsulev1beta2.Tenant) (*selection, field.ErrorList) {
			list, errs := tenant.NewAllowed(allowed(&t.Spec))
			return &selection{all: list.Unrestricted(), matches: list.Matches}, errs
		},
	}
}

// selectNodes selects the nodes that the Tenant's pods may run on, which are all
// of them if it says nothing.
func selectNodes(t *capsulev1beta2.Tenant) (*selection, field.ErrorList) {
	if len(t.Spec.NodeSelector) == 0 {
		return &selection{all: true}, nil
	}
	selector, err := labels.ValidatedSelectorFromSet(t.Spec.NodeSelector)
	if err != nil {
		return &selection{}, field.ErrorList{field.Invalid(field.NewPath("spec", "nodeSelector"), t.Spec.NodeSelector, err.Error())}
	}
	return &selection{matches: func(node metav1.Object) bool { return selector.Matches(labels.Set(node.GetLabels())) }}, nil
}

// selectVolumes selects the volumes that carry the Tenant's label.
func selectVolumes(t *capsulev1beta2.Tenant) (*selection, field.ErrorList) {
	return &selection{
		matches: func(volume metav1.Object) bool { return volume.GetLabels()[capsulev1beta2.TenantLabel] == t.Name },
		index:   client.MatchingFields{objects.TenantOfVolume: t.Name},
	}, nil
}
