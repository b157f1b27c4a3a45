// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1beta2

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:resource:scope=Cluster,shortName=to
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,priority=1,description="Whether the subject owns the tenants that select it"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`

// TenantOwner is a subject that owns the tenants that select it by its labels.
type TenantOwner struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Who the subject is.
	// +optional
	Spec TenantOwnerSpec `json:"spec,omitempty"`
	// What the subject owns.
	// +optional
	Status TenantOwnerStatus `json:"status,omitempty"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// TenantOwnerList is a list of TenantOwners.
type TenantOwnerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []TenantOwner `json:"items"`
}

// TenantOwnerSpec says who a subject is.
// +kubebuilder:validation:XValidation:rule="self.kind != 'ServiceAccount' || self.name.matches('^system:serviceaccount:[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?:[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')",fieldPath=".name",message="a service account is written in full: system:serviceaccount:NAMESPACE:NAME"
type TenantOwnerSpec struct {
	CoreOwnerSpec `json:",inline"`

	// Whether the subject counts as a capsule user, without being named in the
	// CapsuleConfiguration.
	// +optional
	// +kubebuilder:default=true
	Aggregate *bool `json:"aggregate,omitempty"`
}

// TenantOwnerStatus says what a subject owns.
type TenantOwnerStatus struct {
	// The generation of the TenantOwner that the rest of the status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// The names of the tenants that the subject owns, in alphabetical order.
	// +optional
	// +listType=atomic
	Tenants []string `json:"tenants,omitempty"`
	// The conditions of the TenantOwner: Ready says whether the tenants know it.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
