// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
)

func TestObjectMetadata(t *testing.T) {
	const labels, annotations = "spec.podOptions.additionalMetadata.labels", "spec.podOptions.additionalMetadata.annotations"
	for name, test := range map[string]struct {
		given                       *capsulev1beta2.AdditionalMetadata
		wantLabels, wantAnnotations values
		// wantErrs are the fields that something is wrong with.
		wantErrs []string
	}{
		"nothing": {},
		"valid": {
			given:      &capsulev1beta2.AdditionalMetadata{Labels: values{"example.com/team": "oil", "b": ""}, Annotations: values{"Example.com/A": "{{ namespace }}"}},
			wantLabels: values{"example.com/team": "oil", "b": ""}, wantAnnotations: values{"Example.com/A": "{{ namespace }}"},
		},
		"what is invalid is left out": {
			given: &capsulev1beta2.AdditionalMetadata{
				Labels:      values{"no key": "x", "a": "no value", "b": "c", "d": "{{ namespace }}"},
				Annotations: values{"no key": "x", "b": "any value"},
			},
			wantLabels: values{"b": "c"}, wantAnnotations: values{"b": "any value"},
			wantErrs: []string{labels, labels, labels, annotations},
		},
		"what is reserved is left out": {
			given: &capsulev1beta2.AdditionalMetadata{
				Labels: values{"pod-template-hash": "x", "batch.kubernetes.io/job-name": "x", "kubernetes.io/service-name": "x", "app.kubernetes.io/name": "x"},
				Annotations: values{
					"kubernetes.io/config.mirror": "x", "container.apparmor.security.beta.kubernetes.io/c": "x",
					"service.beta.kubernetes.io/load-balancer-source-ranges": "x", "service.beta.kubernetes.io/azure-load-balancer-internal": "true",
				},
			},
			wantLabels:      values{"app.kubernetes.io/name": "x"},
			wantAnnotations: values{"service.beta.kubernetes.io/azure-load-balancer-internal": "true"},
			wantErrs: []string{
				labels + "[batch.kubernetes.io/job-name]", labels + "[kubernetes.io/service-name]", labels + "[pod-template-hash]",
				annotations + "[container.apparmor.security.beta.kubernetes.io/c]", annotations + "[kubernetes.io/config.mirror]",
				annotations + "[service.beta.kubernetes.io/load-balancer-source-ranges]",
			},
		},
		"annotations that are too large together": {
			given:      &capsulev1beta2.AdditionalMetadata{Labels: values{"a": "b"}, Annotations: values{"a": strings.Repeat("x", 200<<10), "b": strings.Repeat("x", 100<<10)}},
			wantLabels: values{"a": "b"}, wantErrs: []string{annotations},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, errs := tenant.PodMetadata(&capsulev1beta2.TenantSpec{PodOptions: &capsulev1beta2.PodOptions{AdditionalMetadata: test.given}})
			if diff := cmp.Diff(tenant.Metadata{Labels: test.wantLabels, Annotations: test.wantAnnotations}, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("metadata (-want +got):\n%s", diff)
			}
			var fields []string
			for _, err := range errs {
				fields = append(fields, err.Field)
			}
			if diff := cmp.Diff(test.wantErrs, fields); diff != "" {
				t.Errorf("fields of errors (-want +got):\n%s", diff)
			}
			services, errs := tenant.ServiceMetadata(&capsulev1beta2.TenantSpec{ServiceOptions: &capsulev1beta2.ServiceOptions{AdditionalMetadata: test.given}})
			if diff := cmp.Diff(got, services); diff != "" || len(errs) != len(test.wantErrs) {
				t.Errorf("of Services: %v, metadata (-of pods +of Services):\n%s", errs, diff)
			}
		})
	}
}
