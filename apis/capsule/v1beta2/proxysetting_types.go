// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1beta2

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,priority=1,description="Whether the subjects see what is asked for"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`

// ProxySetting shows subjects that do not own a tenant what its owners see of the
// objects of the whole cluster. It belongs to the tenant whose namespace it is in;
// owners write it themselves.
type ProxySetting struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Who is shown what.
	// +optional
	Spec ProxySettingSpec `json:"spec,omitempty"`
	// What the controller granted.
	// +optional
	Status ProxySettingStatus `json:"status,omitempty"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// ProxySettingList is a list of ProxySettings.
type ProxySettingList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ProxySetting `json:"items"`
}

// ProxySettingSpec says who is shown what.
type ProxySettingSpec struct {
	// Who is shown what: one entry for each subject.
	// +required
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:XValidation:rule="self.kind != 'ServiceAccount' || self.name.matches('^system:serviceaccount:[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?:[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')",fieldPath=".name",message="a service account is written in full: system:serviceaccount:NAMESPACE:NAME"
	// +kubebuilder:validation:items:XValidation:rule="!has(self.clusterResources) || size(self.clusterResources) == 0",fieldPath=".clusterResources",message="clusterResources reach beyond the tenant: a cluster administrator grants them with a GlobalProxySettings object"
	// +listType=atomic
	Subjects []ProxySubject `json:"subjects,omitzero"`
}

// ProxySubject says what a subject is shown.
type ProxySubject struct {
	UserSpec `json:",inline"`

	// What the subject sees, one entry for each kind. It gets at most what an owner
	// of the tenant has; the rest is refused, and listed in the status.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +listType=atomic
	ProxySettings []ProxyOperations `json:"proxySettings,omitempty"`
	// This list has to be empty. Objects beyond those of the tenant are granted by a
	// cluster administrator, with GlobalProxySettings.
	// +optional
	// +listType=atomic
	ClusterResources []ClusterResource `json:"clusterResources,omitempty"`
}

// ProxySettingStatus says what the controller granted.
type ProxySettingStatus struct {
	// The generation of the ProxySetting that the rest of the status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// The conditions of the ProxySetting: Ready says whether everything that it asks
	// for is granted.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// What was asked for and not granted, because no owner of the tenant has it.
	// +optional
	// +listType=atomic
	Refused []RefusedOperation `json:"refused,omitempty"`
}

// RefusedOperation is an operation that a subject was not granted.
type RefusedOperation struct {
	// The subject that was not granted it.
	Subject UserSpec `json:"subject"`
	// The kind of object that it is about.
	Kind ProxyServiceKind `json:"kind"`
	// The operation that was not granted.
	Operation ProxyOperation `json:"operation"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:resource:scope=Cluster,path=globalproxysettings
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,priority=1,description="Whether the subjects see what is asked for"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`

// GlobalProxySettings shows subjects objects of the whole cluster that labels select,
// whatever tenants they own.
type GlobalProxySettings struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Who is shown what.
	// +optional
	Spec GlobalProxySettingsSpec `json:"spec,omitempty"`
	// What the controller granted.
	// +optional
	Status GlobalProxySettingsStatus `json:"status,omitempty"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// GlobalProxySettingsList is a list of GlobalProxySettings.
type GlobalProxySettingsList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []GlobalProxySettings `json:"items"`
}

// GlobalProxySettingsSpec says who is shown what.
type GlobalProxySettingsSpec struct {
	// Who is shown what: each rule gives all of its subjects all of its resources.
	// +required
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	// +listType=atomic
	Rules []GlobalRule `json:"rules,omitzero"`
}

// GlobalRule gives subjects resources.
type GlobalRule struct {
	// Who is shown the resources.
	// +required
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:XValidation:rule="self.kind != 'ServiceAccount' || self.name.startsWith('system:serviceaccount:')",fieldPath=".name",message="a service account is written in full: system:serviceaccount:NAMESPACE:NAME"
	// +listType=atomic
	Subjects []UserSpec `json:"subjects,omitzero"`
	// What they are shown.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	ClusterResources []ClusterResource `json:"clusterResources,omitempty"`
}

// ClusterOperation is what a subject may do with resources.
// +kubebuilder:validation:Enum=List;Get
type ClusterOperation string

// What a subject may do with resources.
const (
	ClusterListOperation ClusterOperation = "List"
	ClusterGetOperation  ClusterOperation = "Get"
)

// ClusterResource selects objects of the whole cluster.
type ClusterResource struct {
	// The API groups of the resources: a group, or group/version; the empty string
	// for the core group, and * for anything, also as a part.
	// +required
	// +listType=atomic
	APIGroups []string `json:"apiGroups,omitzero"`
	// The resources, in the plural as in a URL, or * for all of the groups.
	// +required
	// +listType=atomic
	Resources []string `json:"resources,omitzero"`
	// What may be done with the objects. List includes Get. Without it, both.
	// +optional
	// +kubebuilder:default={List,Get}
	// +kubebuilder:validation:MaxItems=10
	// +listType=atomic
	Operations []ClusterOperation `json:"operations,omitzero"`
	// Which objects are meant, by their labels. An empty selector means none.
	// +required
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// GlobalProxySettingsStatus says what the controller granted.
type GlobalProxySettingsStatus struct {
	// The generation of the object that the rest of the status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// The conditions of the object: Ready says whether everything that it asks for is
	// granted.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
