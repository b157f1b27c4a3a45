// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +tenancy:view=k8s.io/api/networking/v1.IngressClass
// +genclient
// +genclient:nonNamespaced
// +genclient:onlyVerbs=get,list,watch
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// TenantIngressClass is an IngressClass that the caller may get. It carries the
// IngressClass's own metadata (uid and resourceVersion included) and spec;
// managedFields are left out.
type TenantIngressClass struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object's metadata, that of the IngressClass.
	// More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// spec names the controller of the IngressClass and its parameters.
	// +optional
	Spec networkingv1.IngressClassSpec `json:"spec,omitempty" protobuf:"bytes,2,opt,name=spec"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// TenantIngressClassList is a list of the IngressClasses that the caller may get.
type TenantIngressClassList struct {
	metav1.TypeMeta `json:",inline"`
	// Standard list metadata; resourceVersion is a native one.
	// More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds
	// +optional
	metav1.ListMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// items are the IngressClasses that the caller may get, in the order of their names.
	Items []TenantIngressClass `json:"items" protobuf:"bytes,2,rep,name=items"`
}
