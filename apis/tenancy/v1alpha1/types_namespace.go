// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +tenancy:view=k8s.io/api/core/v1.Namespace
// +genclient
// +genclient:nonNamespaced
// +genclient:onlyVerbs=get,list,watch
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// TenantNamespace is a Namespace that the caller may get. It carries the
// Namespace's own metadata (uid and resourceVersion included), spec and status;
// managedFields are left out.
type TenantNamespace struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object's metadata, that of the Namespace.
	// More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// spec describes the behavior of the Namespace.
	// +optional
	Spec corev1.NamespaceSpec `json:"spec,omitempty" protobuf:"bytes,2,opt,name=spec"`

	// status describes the current status of the Namespace.
	// +optional
	Status corev1.NamespaceStatus `json:"status,omitempty" protobuf:"bytes,3,opt,name=status"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// TenantNamespaceList is a list of the Namespaces that the caller may get.
type TenantNamespaceList struct {
	metav1.TypeMeta `json:",inline"`
	// Standard list metadata; resourceVersion is a native one.
	// More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds
	// +optional
	metav1.ListMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// items are the Namespaces that the caller may get, in the order of their names.
	Items []TenantNamespace `json:"items" protobuf:"bytes,2,rep,name=items"`
}
