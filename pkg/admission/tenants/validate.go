// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
)

// validateTenant finds what is wrong with a Tenant, beyond what its schema tells:
// that are names, owners given twice, service accounts, external IPs.
func validateTenant(t *capsulev1beta2.Tenant) *findings {
	f := &findings{}
	spec, at := &t.Spec, field.NewPath("spec")
	for i := range spec.Owners {
		owner, at := &spec.Owners[i], at.Child("owners").Index(i)
		for j, role := range owner.ClusterRoles {
			f.clusterRole(at.Child("clusterRoles").Index(j), role)
		}
		f.metadata(at, owner.Labels, owner.Annotations)
	}
	if spec.Permissions != nil {
		for i := range spec.Permissions.MatchOwners {
			f.selector(at.Child("permissions", "matchOwners").Index(i), &spec.Permissions.MatchOwners[i])
		}
	}
	for i := range spec.Rules {
		f.rule(at.Child("rules").Index(i), &spec.Rules[i])
	}
	if spec.NamespaceOptions != nil {
		f.namespaceOptions(at.Child("namespaceOptions"), spec.NamespaceOptions)
	}
	f.classes(at, spec)
	if spec.ServiceOptions != nil {
		at := at.Child("serviceOptions")
		f.forbidden(at.Child("forbiddenLabels"), spec.ServiceOptions.ForbiddenLabels)
		f.forbidden(at.Child("forbiddenAnnotations"), spec.ServiceOptions.ForbiddenAnnotations)
	}
	_, errs := tenant.PodMetadata(spec)
	f.add(errs...)
	_, errs = tenant.ServiceMetadata(spec)
	f.add(errs...)
	if spec.ContainerRegistries != nil {
		f.regex(at.Child("containerRegistries", "allowedRegex"), spec.ContainerRegistries.AllowedRegex)
	}
	f.add(metav1validation.ValidateLabels(spec.NodeSelector, at.Child("nodeSelector"))...)
	for i := range spec.AdditionalRoleBindings {
		f.binding(at.Child("additionalRoleBindings").Index(i), &spec.AdditionalRoleBindings[i])
	}
	for _, path := range tenant.NotEnforced(spec) {
		f.warnings = append(f.warnings, path+": it is kept, and nothing acts upon it yet")
	}
	return f
}

func (f *findings) namespaceOptions(at *field.Path, options *capsulev1beta2.NamespaceOptions) {
	f.additional(at.Child("additionalMetadata"), options.AdditionalMetadata)
	for i := range options.AdditionalMetadataList {
		item, at := &options.AdditionalMetadataList[i], at.Child("additionalMetadataList").Index(i)
		f.selector(at.Child("namespaceSelector"), item.NamespaceSelector)
		f.templated(at, &item.AdditionalMetadata)
	}
	f.forbidden(at.Child("forbiddenLabels"), options.ForbiddenLabels)
	f.forbidden(at.Child("forbiddenAnnotations"), options.ForbiddenAnnotations)
	if options.RequiredMetadata != nil {
		f.required(at.Child("requiredMetadata", "labels"), options.RequiredMetadata.Labels)
		f.required(at.Child("requiredMetadata", "annotations"), options.RequiredMetadata.Annotations)
	}
}

// classes judges the lists of classes, and of hostnames.
func (f *findings) classes(at *field.Path, spec *capsulev1beta2.TenantSpec) {
	f.allowed(at.Child("storageClasses"), spec.StorageClasses)
	f.allowed(at.Child("priorityClasses"), spec.PriorityClasses)
	f.allowed(at.Child("runtimeClasses"), spec.RuntimeClasses)
	if spec.GatewayOptions != nil {
		f.allowed(at.Child("gatewayOptions", "allowedClasses"), spec.GatewayOptions.AllowedClasses)
	}
	if spec.DeviceClasses != nil {
		f.allowed(at.Child("deviceClasses"), &capsulev1beta2.DefaultAllowedList{SelectorAllowedList: *spec.DeviceClasses})
	}
	if spec.IngressOptions == nil {
		return
	}
	at = at.Child("ingressOptions")
	f.allowed(at.Child("allowedClasses"), spec.IngressOptions.AllowedClasses)
	if names := spec.IngressOptions.AllowedHostnames; names != nil {
		at := at.Child("allowedHostnames")
		for i, name := range names.Allowed {
			f.hostname(at.Child("allowed").Index(i), name)
		}
		f.regex(at.Child("allowedRegex"), names.AllowedRegex)
	}
}

// validateConfiguration finds what is wrong with a CapsuleConfiguration, beyond
// what its schema tells.
func validateConfiguration(c *capsulev1beta2.CapsuleConfiguration) *findings {
	f := &findings{}
	spec, at := &c.Spec, field.NewPath("spec")
	f.regex(at.Child("protectedNamespaceRegex"), spec.ProtectedNamespaceRegex)
	if spec.NodeMetadata != nil {
		f.forbidden(at.Child("nodeMetadata", "forbiddenLabels"), spec.NodeMetadata.ForbiddenLabels)
		f.forbidden(at.Child("nodeMetadata", "forbiddenAnnotations"), spec.NodeMetadata.ForbiddenAnnotations)
	}
	if rbac := spec.RBAC; rbac != nil {
		at := at.Child("rbac")
		if rbac.Provisioner != "" {
			f.ownRole(at.Child("provisioner"), rbac.Provisioner)
		}
		if rbac.Deleter != "" {
			f.ownRole(at.Child("deleter"), rbac.Deleter)
		}
		for i, role := range rbac.AdministrationClusterRoles {
			f.clusterRole(at.Child("administrationClusterRoles").Index(i), role)
		}
		for i, role := range rbac.PromotionClusterRoles {
			f.clusterRole(at.Child("promotionClusterRoles").Index(i), role)
		}
	}
	return f
}
