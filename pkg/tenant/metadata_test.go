// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
)

type values = map[string]string

func allowing(names []string, regex string) *capsulev1beta2.DefaultAllowedList {
	list := &capsulev1beta2.DefaultAllowedList{}
	list.Allowed, list.AllowedRegex = names, regex
	return list
}

func TestNamespaceMetadata(t *testing.T) {
	selecting := func(selector *metav1.LabelSelector, labels values) capsulev1beta2.AdditionalMetadataSelector {
		return capsulev1beta2.AdditionalMetadataSelector{NamespaceSelector: selector, AdditionalMetadata: capsulev1beta2.AdditionalMetadata{Labels: labels}}
	}
	prod := &metav1.LabelSelector{MatchLabels: values{"stage": "prod"}}
	broken := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "stage", Operator: "Like"}}}
	for name, test := range map[string]struct {
		given func(t *capsulev1beta2.Tenant)
		// in is the name of the namespace, unless it is not known.
		unnamed         bool
		wantLabels      values
		wantAnnotations values
	}{
		"nothing": {given: func(*capsulev1beta2.Tenant) {}},
		"additional": {
			given: func(t *capsulev1beta2.Tenant) {
				t.Spec.NamespaceOptions.AdditionalMetadata = &capsulev1beta2.AdditionalMetadata{Labels: values{"a": "1"}, Annotations: values{"b": "2"}}
			},
			wantLabels: values{"a": "1"}, wantAnnotations: values{"b": "2"},
		},
		"what is selected, the first counts": {
			given: func(t *capsulev1beta2.Tenant) {
				t.Spec.NamespaceOptions.AdditionalMetadata = &capsulev1beta2.AdditionalMetadata{Labels: values{"a": "1"}}
				t.Spec.NamespaceOptions.AdditionalMetadataList = []capsulev1beta2.AdditionalMetadataSelector{
					selecting(nil, values{"a": "2", "b": "2"}), selecting(prod, values{"b": "3", "c": "3"}),
					selecting(&metav1.LabelSelector{MatchLabels: values{"stage": "dev"}}, values{"d": "4"}), selecting(broken, values{"e": "5"}),
				}
			},
			wantLabels: values{"a": "1", "b": "2", "c": "3"},
		},
		"what it refers to": {
			given: func(t *capsulev1beta2.Tenant) {
				t.Spec.NamespaceOptions.AdditionalMetadataList = []capsulev1beta2.AdditionalMetadataSelector{
					selecting(nil, values{"t": "{{ tenant.name }}", "n": "x-{{namespace}}", "u": "{{ other }}"}),
				}
			},
			wantLabels: values{"t": "oil", "n": "x-oil-prod"},
		},
		"a name that is not known": {
			unnamed: true,
			given: func(t *capsulev1beta2.Tenant) {
				t.Spec.NamespaceOptions.AdditionalMetadataList = []capsulev1beta2.AdditionalMetadataSelector{
					selecting(nil, values{"t": "{{tenant.name}}", "n": "{{ namespace }}"}),
				}
			},
			wantLabels: values{"t": "oil"},
		},
		"whose it is is not for sale": {
			given: func(t *capsulev1beta2.Tenant) {
				t.Spec.NamespaceOptions.AdditionalMetadata = &capsulev1beta2.AdditionalMetadata{
					Labels: values{"capsule.clastix.io/tenant": "gas", "kubernetes.io/metadata.name": "x"},
				}
			},
		},
		"what the tenant may use": {
			given: func(t *capsulev1beta2.Tenant) {
				t.Spec.NodeSelector = values{"pool": "oil", "arch": "arm64"}
				t.Spec.IngressOptions = &capsulev1beta2.IngressOptions{AllowedClasses: allowing([]string{"nginx", "haproxy"}, "")}
				t.Spec.StorageClasses = allowing(nil, "^ceph.*")
				t.Spec.ContainerRegistries = &capsulev1beta2.AllowedList{Allowed: []string{"docker.io"}, AllowedRegex: "quay"}
				t.Annotations = values{"capsule.clastix.io/forbidden-namespace-labels": "x", "other": "y"}
				t.Spec.Cordoned = true
			},
			wantLabels: values{"projectcapsule.dev/cordoned": "true"},
			wantAnnotations: values{
				"scheduler.alpha.kubernetes.io/node-selector":   "arch=arm64,pool=oil",
				"capsule.clastix.io/ingress-classes":            "nginx,haproxy",
				"capsule.clastix.io/storage-classes-regexp":     "^ceph.*",
				"capsule.clastix.io/allowed-registries":         "docker.io",
				"capsule.clastix.io/allowed-registries-regexp":  "quay",
				"capsule.clastix.io/forbidden-namespace-labels": "x",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			oil := &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "oil"}}
			oil.Spec.NamespaceOptions = &capsulev1beta2.NamespaceOptions{}
			before := oil.DeepCopy()
			test.given(oil)
			namespace := "oil-prod"
			if test.unnamed {
				namespace = ""
			}
			got := tenant.NamespaceMetadata(oil, namespace, values{"stage": "prod"})
			if diff := cmp.Diff(tenant.Metadata{Labels: test.wantLabels, Annotations: test.wantAnnotations}, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("metadata (-want +got):\n%s", diff)
			}
			if changed := name != "nothing"; tenant.SameNamespaceMetadata(before, oil) == changed {
				t.Errorf("want it to count as a change: %v", changed)
			}
		})
	}
}

func TestForbidden(t *testing.T) {
	keys := []string{"b", "a", "team/x"}
	for name, test := range map[string]struct {
		given *capsulev1beta2.ForbiddenList
		want  []string
	}{
		"no list":              {},
		"an empty list":        {given: &capsulev1beta2.ForbiddenList{}},
		"by name":              {given: &capsulev1beta2.ForbiddenList{Denied: []string{"a", "c", "team"}}, want: []string{"a"}},
		"by expression":        {given: &capsulev1beta2.ForbiddenList{DeniedRegex: "^team/"}, want: []string{"team/x"}},
		"no expression at all": {given: &capsulev1beta2.ForbiddenList{DeniedRegex: "("}, want: []string{"a", "b", "team/x"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, tenant.Forbidden(test.given, keys)); diff != "" {
				t.Errorf("forbidden (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMissing(t *testing.T) {
	for name, test := range map[string]struct {
		required values
		want     string
	}{
		"nothing is required": {},
		"all are there":       {required: values{"a": "^1$", "b": ""}},
		"one is not there":    {required: values{"a": "", "z": "x", "y": "x"}, want: "y"},
		"another value":       {required: values{"a": "^2$"}, want: "a"},
		"no expression":       {required: values{"a": "("}, want: "a"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, _ := tenant.Missing(test.required, values{"a": "1", "b": "2"}); got != test.want {
				t.Errorf("want %q, got %q", test.want, got)
			}
		})
	}
}

func TestIsCore(t *testing.T) {
	for key, want := range map[string]bool{
		"kubernetes.io/metadata.name": true, "capsule.clastix.io/tenant": true, "projectcapsule.dev/cordoned": true,
		"owner.projectcapsule.dev/promote": true, "kubectl.kubernetes.io/last-applied-configuration": true,
		"team": false, "pod-security.kubernetes.io/enforce": false, "evilprojectcapsule.dev/x": false,
	} {
		if got := tenant.IsCore(key); got != want {
			t.Errorf("%s: want %v, got %v", key, want, got)
		}
	}
}
