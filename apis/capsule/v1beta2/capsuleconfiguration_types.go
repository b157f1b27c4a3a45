// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1beta2

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:resource:scope=Cluster
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,priority=1,description="Whether the configuration is in effect"
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1,description="Why the configuration is, or is not, in effect"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`

// CapsuleConfiguration says what holds for all tenants of the cluster. The one that
// the controller is told to use, default unless a flag names another, is in effect;
// the controller creates it when there is none.
type CapsuleConfiguration struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What the cluster administrator wants for all tenants.
	// +optional
	Spec CapsuleConfigurationSpec `json:"spec,omitempty"`
	// What the controller made of it.
	// +optional
	Status CapsuleConfigurationStatus `json:"status,omitempty"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// CapsuleConfigurationList is a list of CapsuleConfigurations.
type CapsuleConfigurationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []CapsuleConfiguration `json:"items"`
}

// CapsuleConfigurationSpec is what the cluster administrator wants for all tenants.
type CapsuleConfigurationSpec struct {
	// The capsule users: those who may create namespaces, each in tenants of theirs
	// only, and to whom the rules for namespaces apply.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:XValidation:rule="self.kind != 'ServiceAccount' || self.name.matches('^system:serviceaccount:[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?:[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')",fieldPath=".name",message="a service account is written in full: system:serviceaccount:NAMESPACE:NAME"
	// +listType=atomic
	Users []UserSpec `json:"users,omitempty"`
	// Groups of capsule users, which count as well as those in users.
	// +optional
	// +listType=atomic
	UserGroups []string `json:"userGroups,omitempty"`
	// Names of capsule users, which count as well as those in users. A name of the
	// form system:serviceaccount:NAMESPACE:NAME means a service account.
	// +optional
	// +listType=atomic
	UserNames []string `json:"userNames,omitempty"`
	// Groups whose members are not capsule users, whatever else they are.
	// +optional
	// +listType=atomic
	IgnoreUserWithGroups []string `json:"ignoreUserWithGroups,omitempty"`
	// Subjects that own all tenants, with the administrationClusterRoles.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:XValidation:rule="self.kind != 'ServiceAccount' || self.name.matches('^system:serviceaccount:[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?:[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')",fieldPath=".name",message="a service account is written in full: system:serviceaccount:NAMESPACE:NAME"
	// +listType=atomic
	Administrators []UserSpec `json:"administrators,omitempty"`
	// Whether service accounts become owners of their tenant by a label. A Tenant
	// may forbid it for itself.
	// +optional
	// +kubebuilder:default=false
	AllowServiceAccountPromotion bool `json:"allowServiceAccountPromotion,omitempty"`
	// Whether the names of namespaces have to begin with the name of their tenant and
	// a dash. A Tenant may decide otherwise for itself.
	// +optional
	// +kubebuilder:default=false
	ForceTenantPrefix bool `json:"forceTenantPrefix,omitempty"`
	// A regular expression (RE2 syntax). No namespace of a tenant may have a name of
	// which it matches any part.
	// +optional
	ProtectedNamespaceRegex string `json:"protectedNamespaceRegex,omitempty"`
	// What capsule users may not change on nodes.
	// +optional
	NodeMetadata *NodeMetadata `json:"nodeMetadata,omitempty"`
	// Whether the controller makes and renews the certificate of its webhooks by
	// itself. Leave it off where cert-manager or something else provides one.
	// +optional
	// +kubebuilder:default=false
	EnableTLSReconciler bool `json:"enableTLSReconciler,omitempty"`
	// Names of objects that are not the usual ones.
	// +optional
	// +kubebuilder:default={}
	Overrides *ConfigurationOverrides `json:"overrides,omitempty"`
	// The webhooks that are installed for capsule users.
	// +optional
	Admission *AdmissionConfiguration `json:"admission,omitempty"`
	// The ClusterRoles that are bound besides those of the owners.
	// +optional
	// +kubebuilder:default={}
	RBAC *RBACConfiguration `json:"rbac,omitempty"`
	// How long what was computed from regular expressions, paths and registries is
	// kept before it is computed anew. A duration, as in 30m or 24h.
	// +optional
	// +kubebuilder:default="24h"
	CacheInvalidation *metav1.Duration `json:"cacheInvalidation,omitempty"`
	// As whom the items of TenantResources and GlobalTenantResources are applied.
	// +optional
	Impersonation *ImpersonationConfiguration `json:"impersonation,omitempty"`
	// Where events are recorded.
	// +optional
	// +kubebuilder:default={}
	Events *EventsConfiguration `json:"events,omitempty"`
}

// NodeMetadata says what capsule users may not change on nodes.
type NodeMetadata struct {
	// Label keys that may neither be set nor changed.
	// +optional
	ForbiddenLabels *ForbiddenList `json:"forbiddenLabels,omitempty"`
	// Annotation keys that may neither be set nor changed.
	// +optional
	ForbiddenAnnotations *ForbiddenList `json:"forbiddenAnnotations,omitempty"`
}

// ConfigurationOverrides holds names of objects.
type ConfigurationOverrides struct {
	// The Secret with the certificate of the webhooks, in the namespace of the
	// controller.
	// +optional
	// +kubebuilder:default=capsule-tls
	TLSSecretName string `json:"TLSSecretName,omitempty"`
	// The MutatingWebhookConfiguration. It is read for compatibility and names
	// nothing.
	// +optional
	// +kubebuilder:default=capsule-mutating-webhook-configuration
	MutatingWebhookConfigurationName string `json:"mutatingWebhookConfigurationName,omitempty"`
	// The ValidatingWebhookConfiguration. It is read for compatibility and names
	// nothing.
	// +optional
	// +kubebuilder:default=capsule-validating-webhook-configuration
	ValidatingWebhookConfigurationName string `json:"validatingWebhookConfigurationName,omitempty"`
}

// AdmissionConfiguration says which webhooks are installed.
type AdmissionConfiguration struct {
	// The Service of the webhooks, for whose names their certificate is made.
	// +optional
	// +kubebuilder:default=capsule-webhook-service
	ServiceName string `json:"serviceName,omitempty"`
	// The webhooks that change objects.
	// +optional
	Mutating *WebhookConfiguration `json:"mutating,omitempty"`
	// The webhooks that accept or refuse objects.
	// +optional
	Validating *WebhookConfiguration `json:"validating,omitempty"`
}

// WebhookConfiguration is a set of webhooks.
type WebhookConfiguration struct {
	// The name of the object that registers the webhooks.
	// +optional
	Name string `json:"name,omitempty"`
	// Labels for that object.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations for that object.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
	// Where the webhooks are served: at a URL or by a Service. The path of each
	// webhook is added.
	// +optional
	Client *WebhookClient `json:"client,omitempty"`
	// The webhooks.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	Webhooks []Webhook `json:"webhooks,omitempty"`
}

// WebhookClient says where webhooks are served.
// +kubebuilder:validation:XValidation:rule="has(self.url) != has(self.service)",message="set either url or service, and not both"
type WebhookClient struct {
	// The URL under which the webhooks are served, beginning with https://.
	// +optional
	URL *string `json:"url,omitempty"`
	// The Service that serves the webhooks.
	// +optional
	Service *admissionregistrationv1.ServiceReference `json:"service,omitempty"`
	// The certificates, in PEM, of the authorities that may have signed the
	// certificate of the webhooks. Without it, those that the API server trusts.
	// +optional
	CABundle []byte `json:"caBundle,omitempty"`
}

// Webhook is one webhook.
type Webhook struct {
	// The name of the webhook, a domain name.
	Name string `json:"name"`
	// The path under which it is served.
	// +optional
	Path string `json:"path,omitempty"`
	// Whose requests are sent to it.
	// +optional
	Options *WebhookOptions `json:"opts,omitempty"`
	// The operations on resources that are sent to it.
	// +optional
	// +listType=atomic
	Rules []admissionregistrationv1.RuleWithOperations `json:"rules,omitempty"`
	// What happens to a request when the webhook does not answer: Fail refuses it,
	// Ignore lets it pass.
	// +optional
	FailurePolicy *admissionregistrationv1.FailurePolicyType `json:"failurePolicy,omitempty"`
	// Whether the rules mean the resources exactly as written (Exact), or under other
	// versions and groups, too (Equivalent).
	// +optional
	MatchPolicy *admissionregistrationv1.MatchPolicyType `json:"matchPolicy,omitempty"`
	// Which namespaces requests have to be for, by their labels. Without it, all.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// Which objects requests have to be about, by their labels. Without it, all.
	// +optional
	ObjectSelector *metav1.LabelSelector `json:"objectSelector,omitempty"`
	// Whether the webhook changes anything besides the object: None or NoneOnDryRun.
	// +optional
	SideEffects *admissionregistrationv1.SideEffectClass `json:"sideEffects,omitempty"`
	// After how many seconds without an answer the failure policy decides.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=30
	TimeoutSeconds *int32 `json:"timeoutSeconds,omitempty"`
	// The versions of AdmissionReview that the webhook understands, the preferred one
	// first.
	// +optional
	// +listType=atomic
	AdmissionReviewVersions []string `json:"admissionReviewVersions,omitempty"`
	// CEL expressions that all have to be true for a request to be sent.
	// +optional
	// +listType=atomic
	MatchConditions []admissionregistrationv1.MatchCondition `json:"matchConditions,omitempty"`
	// Whether a webhook that changes objects is called again when another one changed
	// the object after it: Never or IfNeeded.
	// +optional
	ReinvocationPolicy *admissionregistrationv1.ReinvocationPolicyType `json:"reinvocationPolicy,omitempty"`
}

// WebhookOptions says whose requests are sent to a webhook.
type WebhookOptions struct {
	// Whether only requests of capsule users are sent.
	// +optional
	CapsuleUsers *bool `json:"capsuleUsers,omitempty"`
	// Whether requests of administrators are sent.
	// +optional
	Administrators *bool `json:"administrators,omitempty"`
}

// RBACConfiguration names the ClusterRoles that are bound besides those of owners.
type RBACConfiguration struct {
	// The ClusterRole with which capsule users create namespaces.
	// +optional
	// +kubebuilder:default=capsule-namespace-provisioner
	Provisioner string `json:"provisioner,omitempty"`
	// The ClusterRole with which owners delete their namespaces.
	// +optional
	// +kubebuilder:default=capsule-namespace-deleter
	Deleter string `json:"deleter,omitempty"`
	// The ClusterRoles that administrators hold in each namespace of each tenant. An
	// empty list gives none.
	// +optional
	// +kubebuilder:default={capsule-namespace-deleter}
	// +listType=atomic
	AdministrationClusterRoles []string `json:"administrationClusterRoles,omitzero"`
	// The ClusterRoles that service accounts hold when they are made owners by a
	// label. An empty list gives none.
	// +optional
	// +kubebuilder:default={capsule-namespace-provisioner,capsule-namespace-deleter}
	// +listType=atomic
	PromotionClusterRoles []string `json:"promotionClusterRoles,omitzero"`
}

// ImpersonationConfiguration says as whom items are applied.
// +kubebuilder:validation:XValidation:rule="!has(self.globalDefaultServiceAccount) || size(self.globalDefaultServiceAccount) == 0 || (has(self.globalDefaultServiceAccountNamespace) && size(self.globalDefaultServiceAccountNamespace) > 0)",fieldPath=".globalDefaultServiceAccountNamespace",message="name the namespace of the globalDefaultServiceAccount"
type ImpersonationConfiguration struct {
	// The URL of the API server that the items are sent to. Without it, the one that
	// the controller uses itself.
	// +optional
	Endpoint string `json:"endpoint,omitempty"`
	// The namespace of the Secret with the certificate of the endpoint's authority.
	// +optional
	CASecretNamespace string `json:"caSecretNamespace,omitempty"`
	// The name of that Secret.
	// +optional
	CASecretName string `json:"caSecretName,omitempty"`
	// The key in that Secret.
	// +optional
	// +kubebuilder:default=ca.crt
	CASecretKey string `json:"caSecretKey,omitempty"`
	// Whether the certificate of the endpoint is not verified. Anybody in between can
	// then read and change what is sent.
	// +optional
	// +kubebuilder:default=false
	SkipTLSVerify bool `json:"skipTlsVerify,omitempty"`
	// The service account for GlobalTenantResources that name none.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	GlobalDefaultServiceAccount string `json:"globalDefaultServiceAccount,omitempty"`
	// The namespace of that service account.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	GlobalDefaultServiceAccountNamespace string `json:"globalDefaultServiceAccountNamespace,omitempty"`
	// The service account, in their own namespace, for TenantResources that name
	// none.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	TenantDefaultServiceAccount string `json:"tenantDefaultServiceAccount,omitempty"`
}

// EventsConfiguration says where events are recorded.
type EventsConfiguration struct {
	// The namespace of events about objects that are in no namespace.
	// +optional
	// +kubebuilder:default=default
	Namespace string `json:"namespace,omitempty"`
}

// CapsuleConfigurationStatus is what the controller made of a configuration.
type CapsuleConfigurationStatus struct {
	// All capsule users: those in users, userGroups and userNames, and the
	// TenantOwners that are counted among them.
	// +optional
	// +listType=atomic
	Users []UserSpec `json:"users,omitempty"`
	// The names of all tenants, in alphabetical order.
	// +optional
	// +listType=atomic
	Tenants []string `json:"tenants,omitempty"`
	// The conditions of the configuration: Ready says whether it is in effect.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// The generation of the configuration that the rest of the status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
}
