// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +tenancy:view=k8s.io/api/scheduling/v1.PriorityClass
// +genclient
// +genclient:nonNamespaced
// +genclient:onlyVerbs=get,list,watch
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// TenantPriorityClass is a PriorityClass that the caller may get. It carries the
// PriorityClass's own metadata (uid and resourceVersion included) and value;
// managedFields are left out.
type TenantPriorityClass struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object's metadata, that of the PriorityClass.
	// More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// value is the priority of the pods that name the class.
	// +optional
	Value int32 `json:"value" protobuf:"bytes,2,opt,name=value"`

	// globalDefault says whether the class is that of pods that name none.
	// +optional
	GlobalDefault bool `json:"globalDefault,omitempty" protobuf:"bytes,3,opt,name=globalDefault"`

	// description says when the class is to be used.
	// +optional
	Description string `json:"description,omitempty" protobuf:"bytes,4,opt,name=description"`

	// preemptionPolicy says whether the pods of the class preempt those of a lower priority.
	// +optional
	PreemptionPolicy *corev1.PreemptionPolicy `json:"preemptionPolicy,omitempty" protobuf:"bytes,5,opt,name=preemptionPolicy"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// TenantPriorityClassList is a list of the PriorityClasses that the caller may get.
type TenantPriorityClassList struct {
	metav1.TypeMeta `json:",inline"`
	// Standard list metadata; resourceVersion is a native one.
	// More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds
	// +optional
	metav1.ListMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// items are the PriorityClasses that the caller may get, in the order of their names.
	Items []TenantPriorityClass `json:"items" protobuf:"bytes,2,rep,name=items"`
}
