// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// +genclient
// +genclient:nonNamespaced
// +genclient:onlyVerbs=get,list,watch
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// MyTenant is a Tenant of capsule.clastix.io/v1beta2 that the caller may get. It
// carries the Tenant's own metadata (uid and resourceVersion included), spec and
// status, these two as they are, so that no field is lost that a later
// CustomResourceDefinition adds; managedFields are left out. It has no protobuf,
// as no custom resource has.
type MyTenant struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object's metadata, that of the Tenant.
	// More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is that of the Tenant, see "kubectl explain tenants.capsule.clastix.io.spec".
	// +optional
	Spec *runtime.RawExtension `json:"spec,omitempty"`

	// status is that of the Tenant, see "kubectl explain tenants.capsule.clastix.io.status".
	// +optional
	Status *runtime.RawExtension `json:"status,omitempty"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// MyTenantList is a list of the Tenants that the caller may get.
type MyTenantList struct {
	metav1.TypeMeta `json:",inline"`
	// Standard list metadata; resourceVersion is a native one.
	// More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds
	// +optional
	metav1.ListMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// items are the Tenants that the caller may get, in the order of their names.
	Items []MyTenant `json:"items" protobuf:"bytes,2,rep,name=items"`
}
