// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1beta2

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:resource:scope=Cluster,shortName=tnt
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.conditions[?(@.type=="Cordoned")].reason`,description="Whether the Tenant is Active or Cordoned"
// +kubebuilder:printcolumn:name="Namespace quota",type=integer,JSONPath=`.spec.namespaceOptions.quota`,description="How many namespaces the Tenant may have"
// +kubebuilder:printcolumn:name="Namespace count",type=integer,JSONPath=`.status.size`,description="How many namespaces the Tenant has"
// +kubebuilder:printcolumn:name="Node selector",type=string,JSONPath=`.spec.nodeSelector`,description="The labels of the nodes that the pods of the Tenant run on"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,priority=1,description="Whether what the Tenant says is in effect"
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1,description="Why the Tenant is, or is not, ready"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || (size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))",optionalOldSelf=true,fieldPath=".metadata",message="the name of a Tenant is a label value and a prefix of namespace names: use at most 63 lower case letters, digits and '-', with a letter or digit at both ends"

// Tenant is a group of namespaces that belongs to the same people, who create and
// delete namespaces in it by themselves, within what the Tenant allows.
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
	// Who owns the tenant: these subjects create namespaces in it, and hold their
	// clusterRoles in all of them. Each subject is listed once.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:XValidation:rule="self.kind != 'ServiceAccount' || self.name.matches('^system:serviceaccount:[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?:[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')",fieldPath=".name",message="a service account is written in full: system:serviceaccount:NAMESPACE:NAME"
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=name
	Owners []OwnerSpec `json:"owners,omitempty"`
	// Who else may own the tenant.
	// +optional
	Permissions *Permissions `json:"permissions,omitempty"`
	// Policies for the namespaces of the tenant, or for some of them. For each value
	// that is judged, the last rule that matches decides.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	Rules []NamespaceRule `json:"rules,omitempty"`
	// Any JSON. It has no effect by itself: templates may refer to it.
	// +optional
	Data *apiextensionsv1.JSON `json:"data,omitempty"`
	// How many namespaces there may be, and what metadata they carry.
	// +optional
	NamespaceOptions *NamespaceOptions `json:"namespaceOptions,omitempty"`
	// The StorageClasses that claims may name, and that owners are shown. Without
	// it, all.
	// +optional
	StorageClasses *DefaultAllowedList `json:"storageClasses,omitempty"`
	// The PriorityClasses that pods may name, and that owners are shown. Without it,
	// all.
	// +optional
	PriorityClasses *DefaultAllowedList `json:"priorityClasses,omitempty"`
	// The RuntimeClasses that pods may name, and that owners are shown. Without it,
	// all.
	// +optional
	RuntimeClasses *DefaultAllowedList `json:"runtimeClasses,omitempty"`
	// What Gateways may be.
	// +optional
	GatewayOptions *GatewayOptions `json:"gatewayOptions,omitempty"`
	// The DeviceClasses that resource claims may name. Without it, all.
	// +optional
	DeviceClasses *SelectorAllowedList `json:"deviceClasses,omitempty"`
	// What Ingresses may be.
	// +optional
	IngressOptions *IngressOptions `json:"ingressOptions,omitempty"`
	// What Services may be, and what metadata is added to them.
	// +optional
	ServiceOptions *ServiceOptions `json:"serviceOptions,omitempty"`
	// What metadata is added to pods.
	// +optional
	PodOptions *PodOptions `json:"podOptions,omitempty"`
	// The registries that images may come from, as host or host:port. Without it,
	// all.
	// +optional
	ContainerRegistries *AllowedList `json:"containerRegistries,omitempty"`
	// The image pull policies that containers may have. Without it, all.
	// +optional
	// +listType=atomic
	ImagePullPolicies []ImagePullPolicy `json:"imagePullPolicies,omitempty"`
	// Labels of the nodes that are the tenant's. Owners are shown these nodes only;
	// the pods of the tenant are kept to them where the API server runs the
	// admission plugin PodNodeSelector. Without it, all nodes.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// NetworkPolicies for each namespace of the tenant.
	// +optional
	NetworkPolicies *NetworkPolicies `json:"networkPolicies,omitempty"`
	// LimitRanges for each namespace of the tenant.
	// +optional
	LimitRanges *LimitRanges `json:"limitRanges,omitempty"`
	// ResourceQuotas for the namespaces of the tenant.
	// +optional
	ResourceQuotas *ResourceQuotas `json:"resourceQuotas,omitempty"`
	// RoleBindings for each namespace of the tenant, besides those of the owners.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	AdditionalRoleBindings []AdditionalRoleBinding `json:"additionalRoleBindings,omitempty"`
	// Freezes the tenant: while it is true, its users can neither create, change nor
	// delete anything in it.
	// +optional
	// +kubebuilder:default=false
	Cordoned bool `json:"cordoned,omitempty"`
	// Refuses the deletion of this Tenant while it is true. Deleting a Tenant
	// deletes its namespaces.
	// +optional
	// +kubebuilder:default=false
	PreventDeletion bool `json:"preventDeletion,omitempty"`
	// Whether the names of the tenant's namespaces must begin with the name of the
	// tenant and a dash. Without it, the CapsuleConfiguration decides.
	// +optional
	ForceTenantPrefix *bool `json:"forceTenantPrefix,omitempty"`
}

// Permissions says who may own a tenant besides the owners in its spec.
type Permissions struct {
	// Selects TenantOwners by their labels: a TenantOwner that any of the selectors
	// matches owns the tenant. One with the label projectcapsule.dev/tenant and the
	// name of the tenant does so without a selector.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +listType=atomic
	MatchOwners []metav1.LabelSelector `json:"matchOwners,omitempty"`
	// Whether owners may make service accounts of the tenant owners, too, with the
	// label owner.projectcapsule.dev/promote. The CapsuleConfiguration has to allow
	// it as well.
	// +optional
	// +kubebuilder:default=true
	AllowOwnerPromotion *bool `json:"allowOwnerPromotion,omitempty"`
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
	AdditionalMetadata *AdditionalMetadata `json:"additionalMetadata,omitempty"`
	// Metadata for selected namespaces. Values may refer to {{ tenant.name }} and
	// {{ namespace }}.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	AdditionalMetadataList []AdditionalMetadataSelector `json:"additionalMetadataList,omitempty"`
	// Label keys that users may neither set nor change on their namespaces.
	// +optional
	ForbiddenLabels *ForbiddenList `json:"forbiddenLabels,omitempty"`
	// Annotation keys that users may neither set nor change on their namespaces.
	// +optional
	ForbiddenAnnotations *ForbiddenList `json:"forbiddenAnnotations,omitempty"`
	// Metadata without which a namespace is refused.
	// +optional
	RequiredMetadata *RequiredMetadata `json:"requiredMetadata,omitempty"`
	// Whether namespaces keep only the labels and annotations that the tenant gives
	// them: all others are removed.
	// +optional
	// +kubebuilder:default=false
	ManagedMetadataOnly *bool `json:"managedMetadataOnly,omitempty"`
}

// GatewayOptions says what the Gateways of a tenant may be.
type GatewayOptions struct {
	// The GatewayClasses that Gateways may name. Without it, all.
	// +optional
	AllowedClasses *DefaultAllowedList `json:"allowedClasses,omitempty"`
}

// HostnameCollisionScope is where a hostname and path may be used once only.
// +kubebuilder:validation:Enum=Cluster;Tenant;Namespace;Disabled
type HostnameCollisionScope string

// Where a hostname and path may be used once only.
const (
	HostnameCollisionScopeCluster   HostnameCollisionScope = "Cluster"
	HostnameCollisionScopeTenant    HostnameCollisionScope = "Tenant"
	HostnameCollisionScopeNamespace HostnameCollisionScope = "Namespace"
	HostnameCollisionScopeDisabled  HostnameCollisionScope = "Disabled"
)

// IngressOptions says what the Ingresses of a tenant may be.
type IngressOptions struct {
	// The IngressClasses that Ingresses may name, and that owners are shown. Without
	// it, all.
	// +optional
	AllowedClasses *DefaultAllowedList `json:"allowedClasses,omitempty"`
	// Where a hostname with a path may be in one Ingress only: in all of the
	// Cluster, in the namespaces of the Tenant, or in the Namespace. Disabled: it may
	// be used any number of times.
	// +optional
	// +kubebuilder:default=Disabled
	HostnameCollisionScope HostnameCollisionScope `json:"hostnameCollisionScope,omitempty"`
	// The hostnames that Ingresses may have. Without it, all.
	// +optional
	AllowedHostnames *AllowedList `json:"allowedHostnames,omitempty"`
	// Whether Ingresses may have wildcard hostnames, as in *.example.com.
	// +optional
	// +kubebuilder:default=false
	AllowWildcardHostnames bool `json:"allowWildcardHostnames,omitempty"`
}

// ServiceOptions says what the Services of a tenant may be, and what metadata is
// added to them.
type ServiceOptions struct {
	// Metadata that each Service and its endpoints get.
	// +optional
	AdditionalMetadata *AdditionalMetadata `json:"additionalMetadata,omitempty"`
	// The types that Services may have.
	// +optional
	AllowedServices *AllowedServices `json:"allowedServices,omitempty"`
	// The external IPs that Services may have. Without it, all.
	// +optional
	ExternalServiceIPs *ExternalServiceIPs `json:"externalIPs,omitempty"`
	// Label keys that users may neither set nor change on their Services.
	// +optional
	ForbiddenLabels *ForbiddenList `json:"forbiddenLabels,omitempty"`
	// Annotation keys that users may neither set nor change on their Services.
	// +optional
	ForbiddenAnnotations *ForbiddenList `json:"forbiddenAnnotations,omitempty"`
}

// AllowedServices says which types the Services of a tenant may have. ClusterIP is
// always allowed.
type AllowedServices struct {
	// Whether Services may be of the type NodePort.
	// +optional
	// +kubebuilder:default=true
	NodePort *bool `json:"nodePort,omitempty"`
	// Whether Services may be of the type ExternalName.
	// +optional
	// +kubebuilder:default=true
	ExternalName *bool `json:"externalName,omitempty"`
	// Whether Services may be of the type LoadBalancer.
	// +optional
	// +kubebuilder:default=true
	LoadBalancer *bool `json:"loadBalancer,omitempty"`
}

// AllowedIP is an IP address, or a range in CIDR notation.
// +kubebuilder:validation:MaxLength=64
type AllowedIP string

// ExternalServiceIPs says which external IPs the Services of a tenant may have.
type ExternalServiceIPs struct {
	// IP addresses, and ranges in CIDR notation. An empty list allows none.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) || isCIDR(self)",message="write an IP address, as in 10.0.0.1, or a range in CIDR notation, as in 10.0.0.0/8"
	// +listType=atomic
	Allowed []AllowedIP `json:"allowed,omitzero"`
}

// PodOptions says what metadata is added to the pods of a tenant.
type PodOptions struct {
	// Metadata that each pod gets.
	// +optional
	AdditionalMetadata *AdditionalMetadata `json:"additionalMetadata,omitempty"`
}

// NetworkPolicies are made in each namespace of a tenant.
type NetworkPolicies struct {
	// One NetworkPolicy is made of each item, in each namespace.
	// +optional
	// +listType=atomic
	Items []networkingv1.NetworkPolicySpec `json:"items,omitempty"`
}

// LimitRanges are made in each namespace of a tenant.
type LimitRanges struct {
	// One LimitRange is made of each item, in each namespace.
	// +optional
	// +listType=atomic
	Items []corev1.LimitRangeSpec `json:"items,omitempty"`
}

// ResourceQuotaScope is what a quota is shared by.
// +kubebuilder:validation:Enum=Tenant;Namespace
type ResourceQuotaScope string

// What a quota is shared by.
const (
	ResourceQuotaScopeTenant    ResourceQuotaScope = "Tenant"
	ResourceQuotaScopeNamespace ResourceQuotaScope = "Namespace"
)

// ResourceQuotas limit what the namespaces of a tenant use.
type ResourceQuotas struct {
	// What a quota counts: with Tenant, all namespaces of the tenant share it; with
	// Namespace, each has all of it.
	// +optional
	// +kubebuilder:default=Tenant
	Scope ResourceQuotaScope `json:"scope,omitempty"`
	// One ResourceQuota is made of each item, in each namespace.
	// +optional
	// +listType=atomic
	Items []corev1.ResourceQuotaSpec `json:"items,omitempty"`
}
