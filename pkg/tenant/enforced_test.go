// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
)

func TestNotEnforced(t *testing.T) {
	for name, test := range map[string]struct {
		given capsulev1beta2.TenantSpec
		want  []string
	}{
		"nothing": {},
		"what is": {given: capsulev1beta2.TenantSpec{
			StorageClasses: allowing([]string{"a"}, ""), NodeSelector: values{"a": "b"}, LimitRanges: &capsulev1beta2.LimitRanges{},
			IngressOptions: &capsulev1beta2.IngressOptions{HostnameCollisionScope: capsulev1beta2.HostnameCollisionScopeDisabled},
			ServiceOptions: &capsulev1beta2.ServiceOptions{AdditionalMetadata: &capsulev1beta2.AdditionalMetadata{}}, PodOptions: &capsulev1beta2.PodOptions{},
		}},
		"what is not": {
			given: capsulev1beta2.TenantSpec{
				Rules: make([]capsulev1beta2.NamespaceRule, 1), GatewayOptions: &capsulev1beta2.GatewayOptions{},
				DeviceClasses:  &capsulev1beta2.SelectorAllowedList{},
				IngressOptions: &capsulev1beta2.IngressOptions{HostnameCollisionScope: capsulev1beta2.HostnameCollisionScopeTenant},
				ServiceOptions: &capsulev1beta2.ServiceOptions{
					AllowedServices: &capsulev1beta2.AllowedServices{}, ExternalServiceIPs: &capsulev1beta2.ExternalServiceIPs{},
					ForbiddenLabels: &capsulev1beta2.ForbiddenList{}, ForbiddenAnnotations: &capsulev1beta2.ForbiddenList{},
				},
				ContainerRegistries: &capsulev1beta2.AllowedList{}, ImagePullPolicies: make([]capsulev1beta2.ImagePullPolicy, 1),
			},
			want: []string{
				"spec.rules", "spec.gatewayOptions", "spec.deviceClasses", "spec.ingressOptions",
				"spec.serviceOptions.allowedServices", "spec.serviceOptions.externalIPs", "spec.serviceOptions.forbiddenLabels",
				"spec.serviceOptions.forbiddenAnnotations", "spec.containerRegistries", "spec.imagePullPolicies",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, tenant.NotEnforced(&test.given)); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
}
