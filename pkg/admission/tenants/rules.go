// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

func (f *findings) rule(at *field.Path, rule *capsulev1beta2.NamespaceRule) {
	f.selector(at.Child("namespaceSelector"), rule.NamespaceSelector)
	if rule.Enforce != nil {
		f.enforcement(at.Child("enforce"), rule.Enforce)
	}
	if rule.Permissions == nil {
		return
	}
	at = at.Child("permissions")
	for i := range rule.Permissions.Bindings {
		f.binding(at.Child("bindings").Index(i), &rule.Permissions.Bindings[i])
	}
	for i := range rule.Permissions.Promotions {
		promotion, at := &rule.Permissions.Promotions[i], at.Child("promotions").Index(i)
		for j, role := range promotion.ClusterRoles {
			f.clusterRole(at.Child("clusterRoles").Index(j), role)
		}
		f.selector(at.Child("selector"), promotion.Selector)
	}
}

func (f *findings) enforcement(at *field.Path, enforce *capsulev1beta2.RuleEnforcement) {
	if workloads := enforce.Workloads; workloads != nil {
		at := at.Child("workloads")
		for i := range workloads.Registries {
			f.regex(at.Child("registries").Index(i).Child("exp"), workloads.Registries[i].Expression)
		}
		f.expressions(at.Child("schedulers"), workloads.Schedulers)
	}
	if services := enforce.Services; services != nil {
		at := at.Child("services")
		if services.LoadBalancers != nil {
			for i, cidr := range services.LoadBalancers.CIDRs {
				f.cidr(at.Child("loadBalancers", "cidrs").Index(i), cidr)
			}
		}
		if services.ExternalNames != nil {
			f.expressions(at.Child("externalNames", "hostnames"), services.ExternalNames.Hostnames)
		}
	}
	if enforce.Ingress != nil {
		f.expressions(at.Child("ingress", "hostnames"), enforce.Ingress.Hostnames)
	}
	for i := range enforce.Metadata {
		metadata, at := &enforce.Metadata[i], at.Child("metadata").Index(i)
		f.values(at.Child("labels"), metadata.Labels)
		f.values(at.Child("annotations"), metadata.Annotations)
	}
}

func (f *findings) expressions(at *field.Path, expressions []capsulev1beta2.RuleExpression) {
	for i := range expressions {
		f.regex(at.Index(i).Child("exp"), expressions[i].Expression)
	}
}

func (f *findings) values(at *field.Path, values map[string]capsulev1beta2.RuleMetadataValue) {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		f.expressions(at.Key(key).Child("values"), values[key].Values)
	}
}
