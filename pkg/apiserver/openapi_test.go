// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	"tenancy.capsule.io/generated/openapi"
)

func TestOwnKindsOnly(t *testing.T) {
	t.Parallel()
	gvk := func(group, version, kind string) any {
		return map[string]any{"group": group, "version": version, "kind": kind}
	}
	own := gvk("tenancy.capsule.io", "v1alpha1", "TenantNamespace")
	for name, test := range map[string]struct {
		given, want spec.Extensions
	}{
		"nothing":              {},
		"another extension":    {given: spec.Extensions{"x-other": "1"}, want: spec.Extensions{"x-other": "1"}},
		"our own kind":         {given: spec.Extensions{gvkExtension: []any{own}}, want: spec.Extensions{gvkExtension: []any{own}}},
		"another group's kind": {given: spec.Extensions{gvkExtension: []any{gvk("", "v1", "Status")}, "x-other": "1"}, want: spec.Extensions{"x-other": "1"}},
		"a kind of many groups": {
			given: spec.Extensions{gvkExtension: []any{gvk("", "v1", "DeleteOptions"), own, gvk("apps", "v1", "DeleteOptions")}},
			want:  spec.Extensions{gvkExtension: []any{own}},
		},
		"a group that begins with ours": {given: spec.Extensions{gvkExtension: []any{gvk("tenancy.capsule.io.example.com", "v1", "A")}}, want: spec.Extensions{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			friendly, got := ownKindsOnly(func(definition string) (string, spec.Extensions) {
				return "friendly " + definition, test.given
			})("name")
			assert.Equal(t, "friendly name", friendly)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("extensions (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDefinitionNames holds both documents, which are merged with those of the
// whole cluster, to claiming no kind of another group.
func TestDefinitionNames(t *testing.T) {
	t.Parallel()
	config := NewGenericConfig()
	definitions := openapi.GetOpenAPIDefinitions(func(string) spec.Ref { return spec.Ref{} })
	require.Contains(t, definitions, metav1.Status{}.OpenAPIModelName())
	for version, name := range map[string]func(string) (string, spec.Extensions){
		"v2": config.OpenAPIConfig.GetDefinitionName,
		"v3": config.OpenAPIV3Config.GetDefinitionName,
	} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			for definition := range definitions {
				_, extensions := name(definition)
				if _, found := extensions[gvkExtension]; !found {
					continue
				}
				for _, kind := range extensions[gvkExtension].([]any) {
					assert.Equal(t, v1alpha1.GroupName, kind.(map[string]any)["group"], definition)
				}
			}
			_, extensions := name(v1alpha1.TenantNamespace{}.OpenAPIModelName())
			assert.Equal(t, []any{map[string]any{"group": "tenancy.capsule.io", "version": "v1alpha1", "kind": "TenantNamespace"}}, extensions[gvkExtension])
			_, extensions = name(metav1.Status{}.OpenAPIModelName())
			assert.NotContains(t, extensions, gvkExtension)
		})
	}
}
