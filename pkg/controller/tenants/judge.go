// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"maps"
	"regexp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
)

// judge returns the fields of a Tenant that cannot be understood and have no effect,
// and those that are read as something else. The webhook lets neither in, but
// Tenants may be older than it.
func judge(t *capsulev1beta2.Tenant) (invalid, corrected []string) {
	f := &findings{}
	f.tenant(field.NewPath("spec"), &t.Spec)
	for _, err := range f.errs {
		invalid = append(invalid, err.Error())
	}
	return invalid, f.corrections
}

// findings collects what is wrong.
type findings struct {
	errs        field.ErrorList
	corrections []string
}

func (f *findings) tenant(at *field.Path, spec *capsulev1beta2.TenantSpec) {
	for i, owner := range spec.Owners {
		if _, err := tenant.Subject(owner.UserSpec); err != nil {
			f.errs = append(f.errs, field.Invalid(at.Child("owners").Index(i).Child("name"), owner.Name, err.Error()))
		}
	}
	if spec.Permissions != nil {
		for i := range spec.Permissions.MatchOwners {
			f.selector(at.Child("permissions", "matchOwners").Index(i), &spec.Permissions.MatchOwners[i])
		}
	}
	if options := spec.NamespaceOptions; options != nil {
		f.namespaces(at.Child("namespaceOptions"), options)
	}
	f.allowed(at.Child("storageClasses"), spec.StorageClasses)
	f.allowed(at.Child("priorityClasses"), spec.PriorityClasses)
	f.allowed(at.Child("runtimeClasses"), spec.RuntimeClasses)
	if spec.GatewayOptions != nil {
		f.allowed(at.Child("gatewayOptions", "allowedClasses"), spec.GatewayOptions.AllowedClasses)
	}
	if spec.DeviceClasses != nil {
		f.allowed(at.Child("deviceClasses"), &capsulev1beta2.DefaultAllowedList{SelectorAllowedList: *spec.DeviceClasses})
	}
	if options := spec.IngressOptions; options != nil {
		f.allowed(at.Child("ingressOptions", "allowedClasses"), options.AllowedClasses)
		f.list(at.Child("ingressOptions", "allowedHostnames"), options.AllowedHostnames)
	}
	if options := spec.ServiceOptions; options != nil {
		f.forbidden(at.Child("serviceOptions", "forbiddenLabels"), options.ForbiddenLabels)
		f.forbidden(at.Child("serviceOptions", "forbiddenAnnotations"), options.ForbiddenAnnotations)
	}
	_, errs := tenant.PodMetadata(spec)
	f.errs = append(f.errs, errs...)
	_, errs = tenant.ServiceMetadata(spec)
	f.errs = append(f.errs, errs...)
	f.list(at.Child("containerRegistries"), spec.ContainerRegistries)
	f.errs = append(f.errs, metav1validation.ValidateLabels(spec.NodeSelector, at.Child("nodeSelector"))...)
}

func (f *findings) namespaces(at *field.Path, options *capsulev1beta2.NamespaceOptions) {
	for i := range options.AdditionalMetadataList {
		f.selector(at.Child("additionalMetadataList").Index(i).Child("namespaceSelector"), options.AdditionalMetadataList[i].NamespaceSelector)
	}
	f.forbidden(at.Child("forbiddenLabels"), options.ForbiddenLabels)
	f.forbidden(at.Child("forbiddenAnnotations"), options.ForbiddenAnnotations)
	if required := options.RequiredMetadata; required != nil {
		f.regexes(at.Child("requiredMetadata", "labels"), required.Labels)
		f.regexes(at.Child("requiredMetadata", "annotations"), required.Annotations)
	}
}

func (f *findings) allowed(at *field.Path, list *capsulev1beta2.DefaultAllowedList) {
	_, errs := tenant.NewAllowed(at, list)
	f.errs = append(f.errs, errs...)
	if list != nil {
		f.correct(at, &list.LabelSelector)
	}
}

func (f *findings) selector(at *field.Path, selector *metav1.LabelSelector) {
	if selector == nil {
		return
	}
	_, errs := tenant.Selector(at, selector)
	f.errs = append(f.errs, errs...)
	f.correct(at, selector)
}

func (f *findings) correct(at *field.Path, selector *metav1.LabelSelector) {
	for _, i := range tenant.ExistsWithValues(selector) {
		f.corrections = append(f.corrections, tenant.ExistsWithValuesWarning(at, i))
	}
}

func (f *findings) list(at *field.Path, list *capsulev1beta2.AllowedList) {
	if list != nil {
		f.regex(at.Child("allowedRegex"), list.AllowedRegex)
	}
}

func (f *findings) forbidden(at *field.Path, list *capsulev1beta2.ForbiddenList) {
	if list != nil {
		f.regex(at.Child("deniedRegex"), list.DeniedRegex)
	}
}

func (f *findings) regexes(at *field.Path, expressions map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(expressions)) {
		f.regex(at.Key(key), expressions[key])
	}
}

func (f *findings) regex(at *field.Path, expression string) {
	if _, err := regexp.Compile(expression); err != nil {
		f.errs = append(f.errs, field.Invalid(at, expression, err.Error()))
	}
}
