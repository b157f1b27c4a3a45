// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1beta2

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TenantState is whether a tenant is in use.
// +kubebuilder:validation:Enum=Active;Cordoned;Terminating
type TenantState string

// Whether a tenant is in use.
const (
	TenantStateActive      TenantState = "Active"
	TenantStateCordoned    TenantState = "Cordoned"
	TenantStateTerminating TenantState = "Terminating"
)

// TenantStatus is what the controller found and did about a tenant.
type TenantStatus struct {
	// Whether the tenant is Active, Cordoned (frozen by its spec) or Terminating
	// (being deleted).
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
	// What is known of each namespace of the tenant.
	// +optional
	// +listType=atomic
	Spaces []Space `json:"spaces,omitempty"`
	// All who own the tenant: the owners in the spec, the TenantOwners that are
	// selected, promoted service accounts and the administrators of the
	// configuration, each with all of its ClusterRoles.
	// +optional
	// +listType=atomic
	Owners []CoreOwnerSpec `json:"owners,omitempty"`
	// The service accounts that hold ClusterRoles by a promotion in a rule.
	// +optional
	// +listType=atomic
	Promotions []Promotion `json:"promotions,omitempty"`
	// The classes that the tenant may use at present.
	// +optional
	Classes *ClassStatus `json:"classes,omitempty"`
	// The generation of the Tenant that the rest of the status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// The conditions of the tenant: Ready says whether its spec is in effect,
	// Cordoned whether it is frozen.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Names of namespaces that were given a place in the namespace quota and were not
	// seen yet. A place is given back 30 seconds after its time.
	// +optional
	// +listType=atomic
	NamespaceReservations []NamespaceReservation `json:"namespaceReservations,omitempty"`
}

// Space is what is known of a namespace of a tenant.
type Space struct {
	// The name of the namespace.
	Name string `json:"name"`
	// The UID of the namespace, which tells it from an earlier one of the same name.
	// +optional
	UID types.UID `json:"uid,omitempty"`
	// The conditions of the namespace: Ready says whether everything that the tenant
	// gives it is there, Cordoned whether it is frozen.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// The metadata that the namespace has from its tenant.
	// +optional
	Metadata *SpaceMetadata `json:"metadata,omitempty"`
	// The policies that are in force in the namespace.
	// +optional
	Enforce *apiextensionsv1.JSON `json:"enforce,omitempty"`
}

// SpaceMetadata is the metadata that a namespace has from its tenant.
type SpaceMetadata struct {
	// The labels that the tenant gives the namespace.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// The annotations that the tenant gives the namespace.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Promotion is a service account that holds ClusterRoles by a promotion in a rule.
type Promotion struct {
	CoreOwnerSpec `json:",inline"`

	// The namespaces in which the ClusterRoles are bound.
	// +optional
	// +listType=atomic
	Targets []string `json:"targets,omitempty"`
}

// ClassStatus holds the names of the classes that a tenant may use at present.
type ClassStatus struct {
	// Names of StorageClasses.
	// +optional
	// +listType=atomic
	Storage []string `json:"storage,omitempty"`
	// Names of PriorityClasses.
	// +optional
	// +listType=atomic
	Priority []string `json:"priority,omitempty"`
	// Names of RuntimeClasses.
	// +optional
	// +listType=atomic
	Runtime []string `json:"runtime,omitempty"`
	// Names of GatewayClasses.
	// +optional
	// +listType=atomic
	Gateway []string `json:"gateway,omitempty"`
	// Names of DeviceClasses.
	// +optional
	// +listType=atomic
	Device []string `json:"device,omitempty"`
}

// NamespaceReservation is a place in the namespace quota of a tenant that was given
// to a namespace before it was seen.
type NamespaceReservation struct {
	// The name of the namespace.
	Name string `json:"name"`
	// The UID that the namespace will have: another one of that name needs a place of
	// its own.
	// +optional
	UID types.UID `json:"uid,omitempty"`
	// When the place was given.
	Time metav1.MicroTime `json:"time"`
}
