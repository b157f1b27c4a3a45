// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1beta2

// Labels.
const (
	// TenantLabel names the tenant of a namespace and of a PersistentVolume.
	TenantLabel = "capsule.clastix.io/tenant"
	// ManagedTenantLabel names the tenant of an object that the controller made.
	ManagedTenantLabel = "projectcapsule.dev/tenant"
	// ManagedByLabel says what keeps an object as it is.
	ManagedByLabel = "projectcapsule.dev/managed-by"
	// CreatedByLabel says what created an object.
	CreatedByLabel = "projectcapsule.dev/created-by"
	// RoleBindingLabel carries the hash of a RoleBinding that the controller made.
	RoleBindingLabel = "capsule.clastix.io/role-binding"
	// NetworkPolicyLabel carries the index of a NetworkPolicy in its Tenant.
	NetworkPolicyLabel = "capsule.clastix.io/network-policy"
	// LimitRangeLabel carries the index of a LimitRange in its Tenant.
	LimitRangeLabel = "capsule.clastix.io/limit-range"
	// ResourceQuotaLabel carries the index of a ResourceQuota in its Tenant.
	ResourceQuotaLabel = "capsule.clastix.io/resource-quota"
	// CordonedLabel freezes a namespace when it is "true".
	CordonedLabel = "projectcapsule.dev/cordoned"
	// OwnerPromotionLabel makes a service account an owner of the Tenant that
	// PromotedForAnnotation names when it is "true".
	OwnerPromotionLabel = "owner.projectcapsule.dev/promote"
	// PromotionLabel gives a service account the roles of the promotions that
	// select it when it is "true".
	PromotionLabel = "projectcapsule.dev/promote"
)

// Values of labels.
const (
	// ManagedByController is the value of ManagedByLabel on the objects of tenants.
	ManagedByController = "controller"
	// CreatedByRBACController is the value of CreatedByLabel on the ClusterRoles
	// and ClusterRoleBindings of capsule users.
	CreatedByRBACController = "rbac-controller"
	// ManagedByReplications is the value of ManagedByLabel on the objects that
	// TenantResources and GlobalTenantResources ask for, and of CreatedByLabel on
	// those that were made for them.
	ManagedByReplications = "replications"
)

// Annotations.
const (
	// ReconcileAnnotation has an object looked at when its value changes.
	ReconcileAnnotation = "reconcile.projectcapsule.dev/requestedAt"
	// PromotedForAnnotation is the UID of the Tenant that a service account was made
	// an owner of. The webhook sets it with OwnerPromotionLabel.
	PromotedForAnnotation = "tenancy.capsule.io/promoted-for"
)

// Names.
const (
	// Finalizer keeps an object until the controller has tidied up after it.
	Finalizer = "controller.projectcapsule.dev/finalize"
	// LegacyResourcesFinalizer is that of an earlier operator on TenantResources and
	// GlobalTenantResources.
	LegacyResourcesFinalizer = "capsule.clastix.io/resources"
	// ProvisionerRole is the ClusterRole with which capsule users create namespaces.
	ProvisionerRole = "capsule-namespace-provisioner"
	// DeleterRole is the ClusterRole with which owners delete their namespaces.
	DeleterRole = "capsule-namespace-deleter"
	// DefaultConfigurationName is the CapsuleConfiguration that is used, unless a
	// flag says otherwise.
	DefaultConfigurationName = "default"
	// DefaultUserGroup and LegacyUserGroup are the groups of capsule users in the
	// configuration that the controller creates when there is none.
	DefaultUserGroup = "projectcapsule.dev"
	// LegacyUserGroup see DefaultUserGroup.
	LegacyUserGroup = "capsule.clastix.io"
)

// Condition types and their reasons.
const (
	// ReadyCondition says whether what an object asks for is in effect.
	ReadyCondition = "Ready"
	// CordonedCondition says whether a tenant or a namespace is frozen.
	CordonedCondition = "Cordoned"
	// SucceededReason is the reason of a Ready condition that is True.
	SucceededReason = "Succeeded"
	// FailedReason is the reason of a Ready condition that is False.
	FailedReason = "Failed"
	// ReconcilingReason is the reason of a Ready condition that is Unknown.
	ReconcilingReason = "Reconciling"
	// ActiveReason is the reason of a Cordoned condition that is False.
	ActiveReason = "Active"
	// CordonedReason is the reason of a Cordoned condition that is True.
	CordonedReason = "Cordoned"
	// TerminatingReason is the reason of a Ready condition of a namespace that is
	// being deleted.
	TerminatingReason = "Terminating"
)
