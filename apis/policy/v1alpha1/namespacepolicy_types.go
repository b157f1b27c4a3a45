// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// NamespacePolicyName is the name of the one NamespacePolicy that counts in a
	// namespace.
	NamespacePolicyName = "capsule-tenancy"
	// NamespacePolicyLabel is on each NamespacePolicy that the controller made.
	NamespacePolicyLabel = "capsule.clastix.io/namespace-policy"
)

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:storageversion
// +kubebuilder:printcolumn:name="Tenant",type=string,JSONPath=`.metadata.labels.projectcapsule\.dev/tenant`,description="The Tenant that asks for it"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`

// NamespacePolicy is what a Tenant asks of the objects in one of its namespaces, as
// the API server reads it when they are written. The controller compiles it of the
// Tenant, and puts back what is changed. Only the one named capsule-tenancy counts.
type NamespacePolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What is asked.
	Spec NamespacePolicySpec `json:"spec"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// NamespacePolicyList is a list of NamespacePolicies.
type NamespacePolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []NamespacePolicy `json:"items"`
}

// NamespacePolicySpec says what is asked of the objects in a namespace.
type NamespacePolicySpec struct {
	// What pods carry.
	// +optional
	PodMetadata ObjectMetadata `json:"podMetadata,omitzero"`
	// What Services and EndpointSlices carry.
	// +optional
	ServiceMetadata ObjectMetadata `json:"serviceMetadata,omitzero"`
}

// ObjectMetadata is what objects carry, whatever else they carry.
type ObjectMetadata struct {
	// Labels, by key.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations, by key.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}
