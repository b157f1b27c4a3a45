// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1beta2

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:resource:scope=Namespaced,shortName=tr
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:printcolumn:name="Items",type=integer,JSONPath=`.status.size`,description="How many objects there are of it"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,priority=1,description="Whether all objects are as they should be"
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1,description="Why they are, or are not"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`

// TenantResource keeps copies of objects in the namespaces of the tenant whose
// namespace it is in.
type TenantResource struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What is copied where.
	// +optional
	Spec TenantResourceSpec `json:"spec,omitempty"`
	// What the controller made.
	// +optional
	Status TenantResourceStatus `json:"status,omitempty"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// TenantResourceList is a list of TenantResources.
type TenantResourceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []TenantResource `json:"items"`
}

// TenantResourceSpec says what is copied where in a tenant.
type TenantResourceSpec struct {
	ReplicationSpec `json:",inline"`

	// The service account, in the same namespace, with whose rights objects are read
	// and written. Without it, the one that the CapsuleConfiguration names.
	// +optional
	ServiceAccount *LocalServiceAccountReference `json:"serviceAccount,omitempty"`
}

// LocalServiceAccountReference names a service account in the same namespace.
type LocalServiceAccountReference struct {
	// The name of the service account.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// TenantResourceStatus says what the controller made.
type TenantResourceStatus struct {
	ReplicationStatus `json:",inline"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:resource:scope=Cluster,shortName=gtr
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:printcolumn:name="Items",type=integer,JSONPath=`.status.size`,description="How many objects there are of it"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,priority=1,description="Whether all objects are as they should be"
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1,description="Why they are, or are not"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`

// GlobalTenantResource keeps copies of objects in the namespaces of the tenants that
// it selects.
type GlobalTenantResource struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What is copied where.
	// +optional
	Spec GlobalTenantResourceSpec `json:"spec,omitempty"`
	// What the controller made.
	// +optional
	Status GlobalTenantResourceStatus `json:"status,omitempty"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// GlobalTenantResourceList is a list of GlobalTenantResources.
type GlobalTenantResourceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []GlobalTenantResource `json:"items"`
}

// ReplicationScope is what objects are made once for.
// +kubebuilder:validation:Enum=Namespace;Tenant;None
type ReplicationScope string

// What objects are made once for.
const (
	ReplicationScopeNamespace ReplicationScope = "Namespace"
	ReplicationScopeTenant    ReplicationScope = "Tenant"
	ReplicationScopeNone      ReplicationScope = "None"
)

// GlobalTenantResourceSpec says what is copied where in which tenants.
type GlobalTenantResourceSpec struct {
	ReplicationSpec `json:",inline"`

	// Which tenants, by their labels. Without it, all.
	// +optional
	TenantSelector *metav1.LabelSelector `json:"tenantSelector,omitempty"`
	// What the objects are made once for: each Namespace of the tenants, each Tenant,
	// or None, which makes them once in all.
	// +optional
	// +kubebuilder:default=Namespace
	Scope ReplicationScope `json:"scope,omitempty"`
	// The service account with whose rights objects are read and written. Without
	// it, the one that the CapsuleConfiguration names.
	// +optional
	ServiceAccount *ServiceAccountReference `json:"serviceAccount,omitempty"`
}

// ServiceAccountReference names a service account.
type ServiceAccountReference struct {
	// The name of the service account.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// The namespace of the service account.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
}

// GlobalTenantResourceStatus says what the controller made.
type GlobalTenantResourceStatus struct {
	ReplicationStatus `json:",inline"`

	// The names of the tenants that are selected, in alphabetical order.
	// +optional
	// +listType=atomic
	SelectedTenants []string `json:"selectedTenants,omitempty"`
}

// ReplicationSpec says what is copied, and how the copies are kept.
type ReplicationSpec struct {
	// After how long the objects are looked at again though nothing is known to have
	// changed. A duration, as in 60s or 1h.
	// +optional
	// +kubebuilder:default="60s"
	ResyncPeriod *metav1.Duration `json:"resyncPeriod,omitempty"`
	// Whether the objects are deleted with this object. Otherwise they stay, and
	// nobody keeps them any more.
	// +optional
	// +kubebuilder:default=true
	PruningOnDelete *bool `json:"pruningOnDelete,omitempty"`
	// What is copied.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	Resources []ReplicatedResources `json:"resources,omitempty"`
	// Objects of the same kind that have to be ready before this one is looked at.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +listType=atomic
	DependsOn []ReplicationDependency `json:"dependsOn,omitempty"`
	// How objects are written that are there already.
	// +optional
	// +kubebuilder:default={}
	Settings *ReplicationSettings `json:"settings,omitempty"`
	// Whether the objects are left alone, as they are.
	// +optional
	// +kubebuilder:default=false
	Cordoned bool `json:"cordoned,omitempty"`
}

// ReplicationDependency names an object that has to be ready first.
type ReplicationDependency struct {
	// The name of the object; for a TenantResource it is in the same namespace.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
}

// ReplicationSettings says how objects are written that are there already.
type ReplicationSettings struct {
	// Whether objects that somebody else made are taken over. Otherwise they are left
	// alone, and the item fails.
	// +optional
	// +kubebuilder:default=false
	Adopt bool `json:"adopt,omitempty"`
	// Whether fields that somebody else set are overwritten. Otherwise the item
	// fails.
	// +optional
	// +kubebuilder:default=false
	Force bool `json:"force,omitempty"`
}

// ReplicatedResources is a set of objects for the same namespaces.
type ReplicatedResources struct {
	// Which namespaces of the tenant get the objects, by their labels. Without it,
	// all.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// Objects that exist and are copied.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	NamespacedItems []ObjectSelector `json:"namespacedItems,omitempty"`
	// Objects as they are to be. {{tenant.name}} and {{namespace}} in their values
	// are replaced.
	// +optional
	// +kubebuilder:validation:items:XEmbeddedResource
	// +kubebuilder:validation:items:XPreserveUnknownFields
	// +listType=atomic
	RawItems []runtime.RawExtension `json:"rawItems,omitempty"`
	// Metadata that each of the objects gets.
	// +optional
	AdditionalMetadata *AdditionalMetadata `json:"additionalMetadata,omitempty"`
	// Go templates that make objects.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	Generators []ResourceGenerator `json:"generators,omitempty"`
	// What the templates are given.
	// +optional
	Context *TemplateContext `json:"context,omitempty"`
}

// ObjectSelector selects objects of one kind, by name or by label.
type ObjectSelector struct {
	// The group and version of the objects, as in apps/v1.
	APIVersion string `json:"apiVersion"`
	// The kind of the objects.
	Kind string `json:"kind"`
	// The name of the object. Without it, the selector decides.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// The namespace of the objects. A TenantResource that names none reads from its
	// own, and may read from those of its tenant.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Namespace string `json:"namespace,omitempty"`
	// Which objects are meant, by their labels.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
	// Whether it is no failure when there is no such object.
	// +optional
	// +kubebuilder:default=true
	Optional *bool `json:"optional,omitempty"`
}

// MissingKey is what a template does about a key that is not there.
// +kubebuilder:validation:Enum=invalid;zero;error
type MissingKey string

// What a template does about a key that is not there.
const (
	MissingKeyInvalid MissingKey = "invalid"
	MissingKeyZero    MissingKey = "zero"
	MissingKeyError   MissingKey = "error"
)

// ResourceGenerator is a template that makes objects.
type ResourceGenerator struct {
	// A Go template with functions of sprig (those of slim-sprig that give the same
	// answer each time), toYaml and fromYaml. What comes out is YAML, of up to 1000
	// objects. It is given tenant.metadata and namespace.metadata (name, labels,
	// annotations) and the objects of the context. What others may write, such as an
	// annotation, is to be quoted, or it may become an object of its own.
	Template string `json:"template"`
	// What happens when the template refers to a key that is not there: it prints "no
	// value" (invalid), nothing (zero), or fails (error).
	// +optional
	// +kubebuilder:default=zero
	MissingKey MissingKey `json:"missingKey,omitempty"`
}

// TemplateContext is what templates are given.
type TemplateContext struct {
	// Objects that templates may refer to.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +listType=atomic
	Resources []ContextResource `json:"resources,omitempty"`
}

// ContextResource is a set of objects that templates refer to by a name.
type ContextResource struct {
	// The name under which templates find the objects.
	// +optional
	Index string `json:"index,omitempty"`

	ObjectSelector `json:",inline"`
}

// ReplicationStatus says what the controller made.
type ReplicationStatus struct {
	// The generation of the object that the rest of the status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// The conditions of the object: Ready says whether all items are as they should
	// be, Cordoned whether they are left alone.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// The number of items.
	// +optional
	Size uint32 `json:"size,omitempty"`
	// The objects that were written.
	// +optional
	// +listType=atomic
	ProcessedItems []ProcessedItem `json:"processedItems,omitempty"`
	// The service account with whose rights they were written.
	// +optional
	ServiceAccount *ProcessedServiceAccount `json:"serviceAccount,omitempty"`
}

// ProcessedServiceAccount names the service account that was used.
type ProcessedServiceAccount struct {
	// The name of the service account.
	// +optional
	Name string `json:"name,omitempty"`
	// The namespace of the service account.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// ProcessedItem is an object that was written.
type ProcessedItem struct {
	// The tenant that it was written for.
	// +optional
	Tenant string `json:"tenant,omitempty"`
	// Where in the spec it comes from.
	// +optional
	Origin string `json:"origin,omitempty"`
	// The API group of the object. It is empty for the core group.
	// +optional
	Group string `json:"group,omitempty"`
	// The API version of the object.
	// +optional
	Version string `json:"version,omitempty"`
	// The kind of the object.
	// +optional
	Kind string `json:"kind,omitempty"`
	// The name of the object.
	// +optional
	Name string `json:"name,omitempty"`
	// The namespace of the object.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// How it went.
	// +optional
	Status ProcessedItemStatus `json:"status,omitzero"`
}

// ProcessedItemStatus says how the writing of an object went.
type ProcessedItemStatus struct {
	// Whether the object is as it should be: True, False or Unknown.
	// +optional
	// +kubebuilder:validation:Enum=True;False;Unknown
	Status metav1.ConditionStatus `json:"status,omitempty"`
	// The type of the condition that the status is about.
	// +optional
	Type string `json:"type,omitempty"`
	// What went wrong.
	// +optional
	Message string `json:"message,omitempty"`
	// When the object was last written.
	// +optional
	LastApply *metav1.Time `json:"lastApply,omitempty"`
	// Whether the object was made here. Otherwise it was taken over.
	// +optional
	Created bool `json:"created,omitempty"`
	// Whether the object is in no namespace.
	// +optional
	ClusterScoped bool `json:"clusterScoped,omitempty"`
}
