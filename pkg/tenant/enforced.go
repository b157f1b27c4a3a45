// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// NotEnforced returns the fields of a Tenant that are kept, and that nothing acts upon:
// who wrote them may rely on them.
func NotEnforced(spec *capsulev1beta2.TenantSpec) []string {
	ingress := spec.IngressOptions
	hostnames := ingress != nil && (ingress.AllowedHostnames != nil || ingress.HostnameCollisionScope != "" &&
		ingress.HostnameCollisionScope != capsulev1beta2.HostnameCollisionScopeDisabled)
	services := spec.ServiceOptions
	if services == nil {
		services = &capsulev1beta2.ServiceOptions{}
	}
	var fields []string
	for _, field := range []struct {
		path string
		set  bool
	}{
		{"spec.rules", len(spec.Rules) > 0},
		{"spec.gatewayOptions", spec.GatewayOptions != nil},
		{"spec.deviceClasses", spec.DeviceClasses != nil},
		{"spec.ingressOptions", hostnames},
		{"spec.serviceOptions.allowedServices", services.AllowedServices != nil},
		{"spec.serviceOptions.externalIPs", services.ExternalServiceIPs != nil},
		{"spec.serviceOptions.forbiddenLabels", services.ForbiddenLabels != nil},
		{"spec.serviceOptions.forbiddenAnnotations", services.ForbiddenAnnotations != nil},
		{"spec.containerRegistries", spec.ContainerRegistries != nil},
		{"spec.imagePullPolicies", len(spec.ImagePullPolicies) > 0},
	} {
		if field.set {
			fields = append(fields, field.path)
		}
	}
	return fields
}
