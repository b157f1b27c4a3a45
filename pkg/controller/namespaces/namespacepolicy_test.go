// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	policyv1alpha1 "tenancy.capsule.io/apis/policy/v1alpha1"
)

func TestNamespacePolicies(t *testing.T) {
	pods := func(labels, annotations values) *capsulev1beta2.PodOptions {
		return &capsulev1beta2.PodOptions{AdditionalMetadata: &capsulev1beta2.AdditionalMetadata{Labels: labels, Annotations: annotations}}
	}
	for name, test := range map[string]struct {
		given capsulev1beta2.TenantSpec
		want  *policyv1alpha1.NamespacePolicySpec
	}{
		"nothing":      {},
		"nothing said": {given: capsulev1beta2.TenantSpec{PodOptions: pods(values{}, nil), ServiceOptions: &capsulev1beta2.ServiceOptions{}}},
		"nothing that can be said": {
			given: capsulev1beta2.TenantSpec{PodOptions: pods(values{"pod-template-hash": "x"}, nil)},
		},
		"of pods": {
			given: capsulev1beta2.TenantSpec{PodOptions: pods(values{"team": "oil", "no key": "x"}, values{"a": "{{ tenant.name }}"})},
			want: &policyv1alpha1.NamespacePolicySpec{
				PodMetadata: policyv1alpha1.ObjectMetadata{Labels: values{"team": "oil"}, Annotations: values{"a": "{{ tenant.name }}"}},
			},
		},
		"of Services": {
			given: capsulev1beta2.TenantSpec{ServiceOptions: &capsulev1beta2.ServiceOptions{
				AdditionalMetadata: &capsulev1beta2.AdditionalMetadata{Annotations: values{"pool": "oil"}},
			}},
			want: &policyv1alpha1.NamespacePolicySpec{ServiceMetadata: policyv1alpha1.ObjectMetadata{Annotations: values{"pool": "oil"}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t1 := oil(nil)
			t1.Spec = test.given
			var want []*policyv1alpha1.NamespacePolicy
			if test.want != nil {
				want = append(want, &policyv1alpha1.NamespacePolicy{ObjectMeta: metav1.ObjectMeta{
					Name: "capsule-tenancy", Labels: labelsOf("capsule.clastix.io/namespace-policy"),
					OwnerReferences: []metav1.OwnerReference{{
						APIVersion: "capsule.clastix.io/v1beta2", Kind: "Tenant", Name: "oil", UID: "oil-1", Controller: new(true),
					}},
				}, Spec: *test.want})
			}
			if diff := cmp.Diff(want, NamespacePolicies(t1), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("policies (-want +got):\n%s", diff)
			}
		})
	}
}
