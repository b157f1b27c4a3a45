// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:resource:scope=Cluster,shortName=tnt
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`,description="Whether the Tenant is Active or Cordoned"
// +kubebuilder:printcolumn:name="Namespace quota",type=integer,JSONPath=`.spec.namespaceOptions.quota`,description="How many namespaces the Tenant may have"
// +kubebuilder:printcolumn:name="Namespace count",type=integer,JSONPath=`.status.size`,description="How many namespaces the Tenant has"
// +kubebuilder:printcolumn:name="Node selector",type=string,JSONPath=`.spec.nodeSelector`,description="The labels of the nodes that the pods of the Tenant run on"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || (size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))",optionalOldSelf=true,fieldPath=".metadata",message="the name of a Tenant is a label value and a prefix of namespace names: use at most 63 lower case letters, digits and '-', with a letter or digit at both ends"

// Tenant is a group of namespaces that belongs to the same people, who create and
// delete namespaces in it by themselves, within what the Tenant allows. This version
// has fewer fields than v1beta2; annotations keep what it has no field for.
type Tenant struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What the cluster administrator wants of the tenant.
	// +optional
	Spec TenantSpec `json:"spec,omitempty"`
	// What the controller found and did.
	// +optional
	Status TenantStatus `json:"status,omitempty"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// TenantList is a list of Tenants.
type TenantList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Tenant `json:"items"`
}

// TenantSpec is what the cluster administrator wants of a tenant.
type TenantSpec struct {
	// Who owns the tenant: these subjects create namespaces in it, and hold
	// ClusterRoles in all of them. Each subject is listed once. Which ClusterRoles,
	// an annotation says: clusterrolenames.capsule.clastix.io/ followed by the
	// position of the owner in this list, counted from 0, or by its kind and name in
	// lower case, as in user.alice, with __AT__ for @. Without it, they are admin and
	// capsule-namespace-deleter.
	// +required
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:XValidation:rule="self.kind != 'ServiceAccount' || self.name.matches('^system:serviceaccount:[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?:[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')",fieldPath=".name",message="a service account is written in full: system:serviceaccount:NAMESPACE:NAME"
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=name
	Owners []OwnerSpec `json:"owners"`
	// How many namespaces there may be, and what metadata they carry.
	// +optional
	NamespaceOptions *NamespaceOptions `json:"namespaceOptions,omitempty"`
	// What Services may be, and what metadata is added to them.
	// +optional
	ServiceOptions *capsulev1beta2.ServiceOptions `json:"serviceOptions,omitempty"`
	// The StorageClasses that claims may name, and that owners are shown. Without
	// it, all.
	// +optional
	StorageClasses *capsulev1beta2.AllowedList `json:"storageClasses,omitempty"`
	// What Ingresses may be.
	// +optional
	IngressOptions *IngressOptions `json:"ingressOptions,omitempty"`
	// The registries that images may come from, as host or host:port. Without it,
	// all.
	// +optional
	ContainerRegistries *capsulev1beta2.AllowedList `json:"containerRegistries,omitempty"`
	// Labels of the nodes that are the tenant's. Owners are shown these nodes only;
	// the pods of the tenant are kept to them where the API server runs the
	// admission plugin PodNodeSelector. Without it, all nodes.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// NetworkPolicies for each namespace of the tenant.
	// +optional
	NetworkPolicies *capsulev1beta2.NetworkPolicies `json:"networkPolicies,omitempty"`
	// LimitRanges for each namespace of the tenant.
	// +optional
	LimitRanges *capsulev1beta2.LimitRanges `json:"limitRanges,omitempty"`
	// ResourceQuotas for the namespaces of the tenant.
	// +optional
	ResourceQuotas *capsulev1beta2.ResourceQuotas `json:"resourceQuotas,omitempty"`
	// RoleBindings for each namespace of the tenant, besides those of the owners.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	AdditionalRoleBindings []capsulev1beta2.AdditionalRoleBinding `json:"additionalRoleBindings,omitempty"`
	// The image pull policies that containers may have. Without it, all.
	// +optional
	// +listType=atomic
	ImagePullPolicies []capsulev1beta2.ImagePullPolicy `json:"imagePullPolicies,omitempty"`
	// The PriorityClasses that pods may name, and that owners are shown. Without it,
	// all.
	// +optional
	PriorityClasses *capsulev1beta2.AllowedList `json:"priorityClasses,omitempty"`
}

// OwnerSpec is a subject that owns a tenant.
type OwnerSpec struct {
	capsulev1beta2.UserSpec `json:",inline"`

	// What the owner sees of the objects of the whole cluster, one entry for each
	// kind. An owner without an entry for a kind sees nothing of it.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +listType=atomic
	ProxySettings []capsulev1beta2.ProxyOperations `json:"proxySettings,omitempty"`
}

// NamespaceOptions says how many namespaces a tenant may have, and what metadata
// they carry.
type NamespaceOptions struct {
	// The most namespaces that the tenant may have. Without it there is no limit. A
	// limit below the present number deletes nothing.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Quota *int32 `json:"quota,omitempty"`
	// Metadata that each namespace gets.
	// +optional
	AdditionalMetadata *capsulev1beta2.AdditionalMetadata `json:"additionalMetadata,omitempty"`
}

// IngressOptions says what the Ingresses of a tenant may be.
type IngressOptions struct {
	// The IngressClasses that Ingresses may name, and that owners are shown. Without
	// it, all.
	// +optional
	AllowedClasses *capsulev1beta2.AllowedList `json:"allowedClasses,omitempty"`
	// Where a hostname with a path may be in one Ingress only: in all of the
	// Cluster, in the namespaces of the Tenant, or in the Namespace. Disabled: it may
	// be used any number of times.
	// +optional
	// +kubebuilder:default=Disabled
	HostnameCollisionScope capsulev1beta2.HostnameCollisionScope `json:"hostnameCollisionScope,omitempty"`
	// The hostnames that Ingresses may have. Without it, all.
	// +optional
	AllowedHostnames *capsulev1beta2.AllowedList `json:"allowedHostnames,omitempty"`
}

// TenantState is whether a tenant is in use.
// +kubebuilder:validation:Enum=Active;Cordoned
type TenantState string

// Whether a tenant is in use.
const (
	TenantStateActive   TenantState = "Active"
	TenantStateCordoned TenantState = "Cordoned"
)

// TenantStatus is what the controller found and did about a tenant.
type TenantStatus struct {
	// Whether the tenant is Active, or Cordoned (frozen).
	// +optional
	// +kubebuilder:default=Active
	State TenantState `json:"state,omitempty"`
	// The number of namespaces that the tenant has.
	// +optional
	Size uint32 `json:"size"`
	// The names of the tenant's namespaces, in alphabetical order. Those that are
	// being deleted are among them until they are gone.
	// +optional
	// +listType=atomic
	Namespaces []string `json:"namespaces,omitempty"`
}
