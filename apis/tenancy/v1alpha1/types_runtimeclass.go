// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +tenancy:view=k8s.io/api/node/v1.RuntimeClass
// +genclient
// +genclient:nonNamespaced
// +genclient:onlyVerbs=get,list,watch
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// TenantRuntimeClass is a RuntimeClass that the caller may get. It carries the
// RuntimeClass's own metadata (uid and resourceVersion included) and handler;
// managedFields are left out.
type TenantRuntimeClass struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object's metadata, that of the RuntimeClass.
	// More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// handler names the configuration of the container runtime that runs the pods of the class.
	Handler string `json:"handler" protobuf:"bytes,2,opt,name=handler"`

	// overhead is what running a pod of the class takes beside the pod.
	// +optional
	Overhead *nodev1.Overhead `json:"overhead,omitempty" protobuf:"bytes,3,opt,name=overhead"`

	// scheduling holds the constraints that make pods of the class run on nodes that support it.
	// +optional
	Scheduling *nodev1.Scheduling `json:"scheduling,omitempty" protobuf:"bytes,4,opt,name=scheduling"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// TenantRuntimeClassList is a list of the RuntimeClasses that the caller may get.
type TenantRuntimeClassList struct {
	metav1.TypeMeta `json:",inline"`
	// Standard list metadata; resourceVersion is a native one.
	// More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds
	// +optional
	metav1.ListMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// items are the RuntimeClasses that the caller may get, in the order of their names.
	Items []TenantRuntimeClass `json:"items" protobuf:"bytes,2,rep,name=items"`
}
