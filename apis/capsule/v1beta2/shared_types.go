// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1beta2

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// OwnerKind is a kind of subject.
// +kubebuilder:validation:Enum=User;Group;ServiceAccount
type OwnerKind string

// The kinds of subjects.
const (
	UserOwner           OwnerKind = "User"
	GroupOwner          OwnerKind = "Group"
	ServiceAccountOwner OwnerKind = "ServiceAccount"
)

// UserSpec names a subject.
type UserSpec struct {
	// The kind of the subject: User, Group or ServiceAccount.
	Kind OwnerKind `json:"kind"`
	// The name of the subject, exactly as the API server knows it after
	// authentication. A service account is written in full:
	// system:serviceaccount:NAMESPACE:NAME.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Name string `json:"name"`
}

// CoreOwnerSpec is a subject and the ClusterRoles that it holds in the namespaces of
// a tenant.
type CoreOwnerSpec struct {
	UserSpec `json:",inline"`

	// The ClusterRoles that are bound to the subject in each namespace of the
	// tenant, one RoleBinding for each. Without this list they are admin and
	// capsule-namespace-deleter; an empty list binds none.
	// +optional
	// +kubebuilder:default={admin,capsule-namespace-deleter}
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +listType=atomic
	ClusterRoles []string `json:"clusterRoles,omitzero"`
}

// OwnerSpec is a subject that owns a tenant.
type OwnerSpec struct {
	CoreOwnerSpec `json:",inline"`

	// What the owner sees of the objects of the whole cluster, one entry for each
	// kind. An owner without an entry for a kind sees nothing of it.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +listType=atomic
	ProxySettings []ProxyOperations `json:"proxySettings,omitempty"`
	// Labels for the RoleBindings that are made for the owner.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations for the RoleBindings that are made for the owner.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// ProxyServiceKind is a kind of object of the whole cluster that owners may be shown.
// +kubebuilder:validation:Enum=Nodes;StorageClasses;IngressClasses;PriorityClasses;RuntimeClasses;PersistentVolumes;Tenant
type ProxyServiceKind string

// The kinds of objects that owners may be shown.
const (
	NodesProxy             ProxyServiceKind = "Nodes"
	StorageClassesProxy    ProxyServiceKind = "StorageClasses"
	IngressClassesProxy    ProxyServiceKind = "IngressClasses"
	PriorityClassesProxy   ProxyServiceKind = "PriorityClasses"
	RuntimeClassesProxy    ProxyServiceKind = "RuntimeClasses"
	PersistentVolumesProxy ProxyServiceKind = "PersistentVolumes"
	TenantProxy            ProxyServiceKind = "Tenant"
)

// ProxyOperation is what a subject may do with the objects that it is shown.
// +kubebuilder:validation:Enum=List;Update;Delete
type ProxyOperation string

// The operations on the objects that a subject is shown.
const (
	ListOperation   ProxyOperation = "List"
	UpdateOperation ProxyOperation = "Update"
	DeleteOperation ProxyOperation = "Delete"
)

// ProxyOperations says what a subject may do with the objects of one kind that are
// its tenant's.
type ProxyOperations struct {
	// The kind of object. Which objects of it are the tenant's, the Tenant says: its
	// node selector, its class lists, the claims of its namespaces.
	Kind ProxyServiceKind `json:"kind"`
	// What may be done with them: List allows get, list and watch, Update allows
	// update and patch, Delete allows delete. None includes another.
	// +required
	// +kubebuilder:validation:MaxItems=10
	// +listType=atomic
	Operations []ProxyOperation `json:"operations,omitzero"`
}

// AllowedList is a choice of names.
type AllowedList struct {
	// Names that are allowed, exactly as they are.
	// +optional
	// +listType=atomic
	Allowed []string `json:"allowed,omitempty"`
	// A regular expression (RE2 syntax). A name is also allowed when any part of it
	// matches: write ^ and $ for the whole name to match.
	// +optional
	AllowedRegex string `json:"allowedRegex,omitempty"`
}

// SelectorAllowedList is a choice of objects: by name or by label. An object is
// allowed when any of the ways allows it.
type SelectorAllowedList struct {
	AllowedList          `json:",inline"`
	metav1.LabelSelector `json:",inline"`
}

// DefaultAllowedList is a choice of objects, one of which is the default.
type DefaultAllowedList struct {
	SelectorAllowedList `json:",inline"`

	// The name that is filled in where a user names none. It is always allowed.
	// +optional
	Default string `json:"default,omitempty"`
}

// ForbiddenList is a choice of keys that users may not set.
type ForbiddenList struct {
	// Keys that are denied, exactly as they are.
	// +optional
	// +listType=atomic
	Denied []string `json:"denied,omitempty"`
	// A regular expression (RE2 syntax). A key is also denied when any part of it
	// matches.
	// +optional
	DeniedRegex string `json:"deniedRegex,omitempty"`
}

// AdditionalMetadata is metadata that is added to objects.
type AdditionalMetadata struct {
	// Labels that are added.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations that are added.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// AdditionalMetadataSelector is metadata that is added to some namespaces.
type AdditionalMetadataSelector struct {
	AdditionalMetadata `json:",inline"`

	// Which namespaces of the tenant the metadata is added to, by their labels.
	// Without it, all.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
}

// RequiredMetadata is metadata that users have to write themselves.
type RequiredMetadata struct {
	// Label keys that must be there, each with a regular expression (RE2 syntax)
	// that its value has to match.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// Annotation keys that must be there, each with a regular expression (RE2
	// syntax) that its value has to match.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// AdditionalRoleBinding is a RoleBinding that is made in namespaces of a tenant.
type AdditionalRoleBinding struct {
	// The ClusterRole that is bound.
	// +kubebuilder:validation:MinLength=1
	ClusterRoleName string `json:"clusterRoleName"`
	// Whom it is bound to. Unlike an owner, a service account is written here as
	// RBAC has it: with namespace and name.
	// +required
	// +kubebuilder:validation:MinItems=1
	// +listType=atomic
	Subjects []rbacv1.Subject `json:"subjects,omitzero"`
	// Labels for the RoleBinding.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations for the RoleBinding.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// ImagePullPolicy is when an image is pulled.
// +kubebuilder:validation:Enum=Always;Never;IfNotPresent
type ImagePullPolicy string

// When an image is pulled.
const (
	PullAlways       ImagePullPolicy = "Always"
	PullNever        ImagePullPolicy = "Never"
	PullIfNotPresent ImagePullPolicy = "IfNotPresent"
)
