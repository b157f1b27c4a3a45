// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
)

// findings are what is wrong with an object, and what is only odd.
type findings struct {
	errs     field.ErrorList
	warnings []string
}

func (f *findings) add(errs ...*field.Error) { f.errs = append(f.errs, errs...) }

func (f *findings) regex(at *field.Path, expression string) {
	if _, err := regexp.Compile(expression); err != nil {
		f.add(field.Invalid(at, expression, err.Error()))
	}
}

func (f *findings) selector(at *field.Path, selector *metav1.LabelSelector) {
	if selector == nil {
		return
	}
	_, errs := tenant.Selector(at, selector)
	f.add(errs...)
	for _, i := range tenant.ExistsWithValues(selector) {
		f.warnings = append(f.warnings, tenant.ExistsWithValuesWarning(at, i))
	}
}

func (f *findings) allowed(at *field.Path, list *capsulev1beta2.DefaultAllowedList) {
	if list == nil {
		return
	}
	f.regex(at.Child("allowedRegex"), list.AllowedRegex)
	f.selector(at, &list.LabelSelector)
}

func (f *findings) forbidden(at *field.Path, list *capsulev1beta2.ForbiddenList) {
	if list != nil {
		f.regex(at.Child("deniedRegex"), list.DeniedRegex)
	}
}

// metadata judges labels and annotations that the controller is to write.
func (f *findings) metadata(at *field.Path, labels, annotations map[string]string) {
	f.add(metav1validation.ValidateLabels(labels, at.Child("labels"))...)
	f.add(apivalidation.ValidateAnnotations(annotations, at.Child("annotations"))...)
}

func (f *findings) additional(at *field.Path, metadata *capsulev1beta2.AdditionalMetadata) {
	if metadata != nil {
		f.metadata(at, metadata.Labels, metadata.Annotations)
	}
}

// templated judges metadata whose values may be templates: these are judged once
// they are filled in.
func (f *findings) templated(at *field.Path, metadata *capsulev1beta2.AdditionalMetadata) {
	labels := make(map[string]string, len(metadata.Labels))
	for key, value := range metadata.Labels {
		if strings.Contains(value, "{{") {
			value = ""
		}
		labels[key] = value
	}
	f.metadata(at, labels, metadata.Annotations)
}

// required judges keys that must be there, each with a regular expression.
func (f *findings) required(at *field.Path, expressions map[string]string) {
	for key, expression := range expressions {
		for _, message := range validation.IsQualifiedName(strings.ToLower(key)) {
			f.add(field.Invalid(at, key, message))
		}
		f.regex(at.Key(key), expression)
	}
}

// hostname judges a name that Ingresses may have.
func (f *findings) hostname(at *field.Path, name string) {
	messages := validation.IsDNS1123Subdomain(name)
	if strings.HasPrefix(name, "*") {
		messages = validation.IsWildcardDNS1123Subdomain(name)
	}
	for _, message := range messages {
		f.add(field.Invalid(at, name, message))
	}
}

func (f *findings) cidr(at *field.Path, cidr string) {
	if _, err := netip.ParsePrefix(cidr); err != nil {
		f.add(field.Invalid(at, cidr, "write a range in CIDR notation, as in 10.0.0.0/8"))
	}
}

// clusterRole judges the name of a ClusterRole that is to be bound.
func (f *findings) clusterRole(at *field.Path, name string) {
	if name == "" {
		f.add(field.Required(at, "the name of a ClusterRole"))
		return
	}
	for _, message := range content.IsPathSegmentName(name) {
		f.add(field.Invalid(at, name, message))
	}
}

// ownRole judges the name of a ClusterRole that the controller is to make. Capsule
// users are bound to it in the whole cluster: it must not be one that others fill.
func (f *findings) ownRole(at *field.Path, name string) {
	f.clusterRole(at, name)
	if slices.Contains([]string{"admin", "edit", "view", "cluster-admin"}, name) ||
		slices.ContainsFunc([]string{"system:", "tenancy:", "tenancy-"}, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
		f.add(field.Invalid(at, name, "it is a role of the cluster's: choose a name for a role of its own"))
	}
}

// binding judges a RoleBinding that is to be made, as the API server will.
func (f *findings) binding(at *field.Path, binding *capsulev1beta2.AdditionalRoleBinding) {
	f.clusterRole(at.Child("clusterRoleName"), binding.ClusterRoleName)
	for i := range binding.Subjects {
		f.subject(at.Child("subjects").Index(i), &binding.Subjects[i])
	}
	f.metadata(at, binding.Labels, binding.Annotations)
}

func (f *findings) subject(at *field.Path, subject *rbacv1.Subject) {
	if subject.Name == "" {
		f.add(field.Required(at.Child("name"), "name whom it is bound to"))
	}
	switch subject.Kind {
	case rbacv1.ServiceAccountKind:
		if subject.APIGroup != "" {
			f.add(field.NotSupported(at.Child("apiGroup"), subject.APIGroup, []string{""}))
		}
		if subject.Namespace == "" {
			f.add(field.Required(at.Child("namespace"), "a service account is written with its namespace"))
		} else {
			f.dns(at.Child("namespace"), subject.Namespace, apivalidation.ValidateNamespaceName)
		}
		if subject.Name != "" {
			f.dns(at.Child("name"), subject.Name, apivalidation.ValidateServiceAccountName)
		}
	case rbacv1.UserKind, rbacv1.GroupKind:
		// The API server fills in the group.
		if subject.APIGroup != "" && subject.APIGroup != rbacv1.GroupName {
			f.add(field.NotSupported(at.Child("apiGroup"), subject.APIGroup, []string{rbacv1.GroupName}))
		}
	default:
		f.add(field.NotSupported(at.Child("kind"), subject.Kind, []string{rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind}))
	}
}

func (f *findings) dns(at *field.Path, name string, validate apivalidation.ValidateNameFunc) {
	for _, message := range validate(name, false) {
		f.add(field.Invalid(at, name, message))
	}
}

// index matches the position in a list, which says nothing: lists are edited.
var index = regexp.MustCompile(`\[\d+\]`)

// since leaves of the findings what was not there before: the rest becomes
// warnings. An element is known by its value, not by its place in a list.
func (f *findings) since(before *findings) {
	known := map[string]int{}
	for _, err := range before.errs {
		known[identity(err)]++
	}
	errs := f.errs
	f.errs = nil
	for _, err := range errs {
		key := identity(err)
		if known[key] == 0 {
			f.add(err)
			continue
		}
		known[key]--
		f.warnings = append(f.warnings, fmt.Sprintf("%s: it was so before and has no effect", err.Error()))
	}
}

func identity(err *field.Error) string {
	return fmt.Sprintf("%s\n%s\n%v\n%s", err.Type, index.ReplaceAllString(err.Field, "[]"), err.BadValue, err.Detail)
}
