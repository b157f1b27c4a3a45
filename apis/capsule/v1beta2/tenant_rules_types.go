// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1beta2

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NamespaceRule is a policy for namespaces of a tenant.
type NamespaceRule struct {
	// Which namespaces of the tenant the rule is for, by their labels. Without it,
	// all.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// Whose requests the rule is for. Without it, everybody's.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +listType=atomic
	Audience []RuleAudience `json:"audience,omitempty"`
	// What objects may be.
	// +optional
	Enforce *RuleEnforcement `json:"enforce,omitempty"`
	// Who holds which ClusterRoles in the namespaces.
	// +optional
	Permissions *RulePermissions `json:"permissions,omitempty"`
	// Quotas that the selected namespaces share.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +listType=map
	// +listMapKey=name
	Quota []RuleQuota `json:"quota,omitempty"`
}

// AudienceKind is a kind of requester.
// +kubebuilder:validation:Enum=User;Group;ServiceAccount;Custom
type AudienceKind string

// The kinds of requesters.
const (
	UserAudience           AudienceKind = "User"
	GroupAudience          AudienceKind = "Group"
	ServiceAccountAudience AudienceKind = "ServiceAccount"
	CustomAudience         AudienceKind = "Custom"
)

// The names of requesters of the kind Custom.
const (
	CapsuleUserAudience   = "CapsuleUser"
	AdministratorAudience = "Administrator"
	TenantOwnerAudience   = "TenantOwner"
	ControllerAudience    = "Controller"
)

// RuleAudience names requesters.
// +kubebuilder:validation:XValidation:rule="self.kind != 'Custom' || self.name in ['CapsuleUser', 'Administrator', 'TenantOwner', 'Controller']",fieldPath=".name",message="of the kind Custom there are CapsuleUser, Administrator, TenantOwner and Controller"
type RuleAudience struct {
	// The kind of requester: User, Group, ServiceAccount, or Custom for those that
	// are known by their part in the tenant.
	Kind AudienceKind `json:"kind"`
	// The name of the requester; a service account is written in full, as
	// system:serviceaccount:NAMESPACE:NAME. Of the kind Custom there are
	// CapsuleUser, Administrator, TenantOwner and Controller.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Name string `json:"name"`
}

// RuleQuota is a quota that namespaces share.
type RuleQuota struct {
	// The name of the quota: a DNS label, unique in the rule.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`

	corev1.ResourceQuotaSpec `json:",inline"`
}

// RulePermissions says who holds which ClusterRoles in the namespaces of a rule.
type RulePermissions struct {
	// RoleBindings that are made in each of the namespaces.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	Bindings []AdditionalRoleBinding `json:"bindings,omitempty"`
	// ClusterRoles for service accounts that carry the label
	// projectcapsule.dev/promote.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +listType=atomic
	Promotions []RulePromotion `json:"promotions,omitempty"`
}

// RulePromotion gives ClusterRoles to service accounts of a tenant.
type RulePromotion struct {
	// The ClusterRoles that the service accounts get in each of the namespaces.
	// +optional
	// +listType=atomic
	ClusterRoles []string `json:"clusterRoles,omitempty"`
	// Which of the service accounts with the label get them, by their labels.
	// Without it, all.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// RuleAction is what a match of a rule means.
// +kubebuilder:validation:Enum=allow;deny;audit
type RuleAction string

// What a match of a rule means.
const (
	AllowAction RuleAction = "allow"
	DenyAction  RuleAction = "deny"
	AuditAction RuleAction = "audit"
)

// RuleEnforcement says what objects may be.
type RuleEnforcement struct {
	// What it means for a value to match. deny refuses it. allow admits it, and
	// refuses every value that no rule admits. audit changes nothing and records an
	// event.
	// +optional
	// +kubebuilder:default=deny
	Action RuleAction `json:"action,omitempty"`
	// What pods may be.
	// +optional
	Workloads *RuleWorkloads `json:"workloads,omitempty"`
	// What Services may be.
	// +optional
	Services *RuleServices `json:"services,omitempty"`
	// Which hostnames Ingresses, Routes and Gateways may have.
	// +optional
	Ingress *RuleIngress `json:"ingress,omitempty"`
	// Which labels and annotations objects may have.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	Metadata []RuleMetadata `json:"metadata,omitempty"`
}

// RuleExpression matches a value: when it is one of the exact values or the regular
// expression matches, and the other way round when it is negated.
type RuleExpression struct {
	// Values that match, exactly as they are.
	// +optional
	// +listType=atomic
	Exact []string `json:"exact,omitempty"`
	// A regular expression (RE2 syntax). It matches a value when it matches any part
	// of it.
	// +optional
	Expression string `json:"exp,omitempty"`
	// Whether the values that neither exact nor exp matches are meant.
	// +optional
	// +kubebuilder:default=false
	Negate bool `json:"negate,omitempty"`
}

// WorkloadTarget is a part of a pod.
// +kubebuilder:validation:Enum=pod;pod/initcontainers;pod/ephemeralcontainers;pod/containers;pod/volumes
type WorkloadTarget string

// The parts of a pod.
const (
	PodTarget                 WorkloadTarget = "pod"
	InitContainersTarget      WorkloadTarget = "pod/initcontainers"
	EphemeralContainersTarget WorkloadTarget = "pod/ephemeralcontainers"
	ContainersTarget          WorkloadTarget = "pod/containers"
	VolumesTarget             WorkloadTarget = "pod/volumes"
)

// PodQOSClass is a quality of service class of pods.
// +kubebuilder:validation:Enum=Guaranteed;Burstable;BestEffort
type PodQOSClass string

// RuleWorkloads says what pods may be.
type RuleWorkloads struct {
	// The parts of a pod that are judged. Without it, those that a matcher is
	// usually about.
	// +optional
	// +listType=atomic
	Targets []WorkloadTarget `json:"targets,omitempty"`
	// Image references, those of image volumes included. What is matched is the
	// whole reference, as the pod has it.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	Registries []RuleRegistry `json:"registries,omitempty"`
	// Names of schedulers. Pods that name none are not judged.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	Schedulers []RuleExpression `json:"schedulers,omitempty"`
	// Quality of service classes. The class is computed from the requests and limits
	// of all containers, init containers included.
	// +optional
	// +listType=atomic
	QOSClasses []PodQOSClass `json:"qosClasses,omitempty"`
	// What happens to the resource requests and limits of containers.
	// +optional
	Resources *RuleResources `json:"resources,omitempty"`
}

// RuleRegistry matches an image, and when it is pulled.
type RuleRegistry struct {
	RuleExpression `json:",inline"`

	// The pull policies that a container with such an image may have. Without it,
	// all.
	// +optional
	// +listType=atomic
	Policy []ImagePullPolicy `json:"policy,omitempty"`
}

// RuleResources says what happens to the resource requests and limits of containers.
type RuleResources struct {
	// By resource name, what happens to the request.
	// +optional
	Requests map[corev1.ResourceName]RuleRequest `json:"requests,omitempty"`
	// By resource name, what happens to the limit.
	// +optional
	Limits map[corev1.ResourceName]RuleLimit `json:"limits,omitempty"`
}

// RequestPolicy is what happens to a resource request.
// +kubebuilder:validation:Enum=Preserve;Default;Remove
type RequestPolicy string

// What happens to a resource request.
const (
	PreserveRequest RequestPolicy = "Preserve"
	DefaultRequest  RequestPolicy = "Default"
	RemoveRequest   RequestPolicy = "Remove"
)

// RuleRequest says what happens to a resource request.
type RuleRequest struct {
	// Preserve leaves the request as it is, Default sets it to the value where there
	// is none, Remove takes it away.
	Policy RequestPolicy `json:"policy"`
	// The amount for the policy Default.
	// +optional
	Value *resource.Quantity `json:"value,omitempty"`
}

// LimitPolicy is what happens to a resource limit.
// +kubebuilder:validation:Enum=Preserve;Default;Remove;MatchRequest;Ratio
type LimitPolicy string

// What happens to a resource limit.
const (
	PreserveLimit     LimitPolicy = "Preserve"
	DefaultLimit      LimitPolicy = "Default"
	RemoveLimit       LimitPolicy = "Remove"
	MatchRequestLimit LimitPolicy = "MatchRequest"
	RatioLimit        LimitPolicy = "Ratio"
)

// RuleLimit says what happens to a resource limit.
type RuleLimit struct {
	// Preserve leaves the limit as it is, Default sets it to the value where there is
	// none, Remove takes it away, MatchRequest sets it to the request, and Ratio
	// allows at most the request times the value.
	Policy LimitPolicy `json:"policy"`
	// The amount for the policy Default, the factor for the policy Ratio.
	// +optional
	Value *resource.Quantity `json:"value,omitempty"`
}

// ServiceType is a type of Services.
// +kubebuilder:validation:Enum=ClusterIP;NodePort;LoadBalancer;ExternalName
type ServiceType string

// RuleServices says what Services may be.
type RuleServices struct {
	// Types of Services.
	// +optional
	// +listType=atomic
	Types []ServiceType `json:"types,omitempty"`
	// More about Services of the type LoadBalancer.
	// +optional
	LoadBalancers *RuleLoadBalancers `json:"loadBalancers,omitempty"`
	// More about Services of the type ExternalName.
	// +optional
	ExternalNames *RuleExternalNames `json:"externalNames,omitempty"`
	// More about the node ports of Services.
	// +optional
	NodePorts *RuleNodePorts `json:"nodePorts,omitempty"`
}

// RuleLoadBalancers matches Services of the type LoadBalancer.
type RuleLoadBalancers struct {
	// Ranges in CIDR notation. The load balancer's IP and all source ranges of a
	// Service have to be in them.
	// +optional
	// +listType=atomic
	CIDRs []string `json:"cidrs,omitempty"`
}

// RuleExternalNames matches Services of the type ExternalName.
type RuleExternalNames struct {
	// The names that a Service may stand for.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	Hostnames []RuleExpression `json:"hostnames,omitempty"`
}

// RuleNodePorts matches the node ports of Services.
type RuleNodePorts struct {
	// Ranges of ports. A Service with node ports has to ask for them by number, in
	// one of the ranges.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	Ports []PortRange `json:"ports,omitempty"`
}

// PortRange is a range of ports.
// +kubebuilder:validation:XValidation:rule="self.from <= self.to",fieldPath=".to",message="a range ends where it begins or after it: write the lower port in from"
type PortRange struct {
	// The first port of the range.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	From int32 `json:"from"`
	// The last port of the range.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	To int32 `json:"to"`
}

// IngressType is a kind of object that has hostnames.
// +kubebuilder:validation:Enum=Ingress;Route;ListenerSet;HTTPRoute;Gateway;TLSRoute;GRPCRoute
type IngressType string

// RuleIngress matches hostnames.
type RuleIngress struct {
	// The kinds of objects that are judged.
	// +optional
	// +listType=atomic
	Types []IngressType `json:"types,omitempty"`
	// Hostnames: of rules, of TLS and of listeners.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	Hostnames []RuleExpression `json:"hostnames,omitempty"`
}

// RuleMetadata matches labels and annotations of objects in namespaces.
type RuleMetadata struct {
	// The API groups of the objects: a group, or group/version; the empty string for
	// the core group, and * for all.
	// +optional
	// +listType=atomic
	APIGroups []string `json:"apiGroups,omitempty"`
	// The kinds of the objects, in which * stands for anything. Namespace is meant
	// only where it is written out.
	// +required
	// +kubebuilder:validation:MinItems=1
	// +listType=atomic
	Kinds []string `json:"kinds,omitzero"`
	// By label key, in which * stands for anything, what the value may be.
	// +optional
	Labels map[string]RuleMetadataValue `json:"labels,omitempty"`
	// By annotation key, in which * stands for anything, what the value may be.
	// +optional
	Annotations map[string]RuleMetadataValue `json:"annotations,omitempty"`
}

// RuleMetadataValue says what the value of a label or of an annotation may be.
type RuleMetadataValue struct {
	// Whether the key has to be there. It counts only in a rule that allows.
	// +optional
	// +kubebuilder:default=false
	Required bool `json:"required,omitempty"`
	// The values that match. Without it, all.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	Values []RuleExpression `json:"values,omitempty"`
	// The value that an object gets at its creation when it does not have the key.
	// +optional
	Default *string `json:"default,omitempty"`
	// The value that an object always has, whatever is written.
	// +optional
	Managed *string `json:"managed,omitempty"`
}
