// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// TestDefinitionOfTenantsStays holds that nobody deletes it by the way, whatever the
// request looks like. All of them are dry runs.
func TestDefinitionOfTenantsStays(t *testing.T) {
	t.Parallel()
	const name, refusal = "tenants.capsule.clastix.io", "this would delete all tenants"
	dryRun := metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}
	for who, config := range map[string]*rest.Config{"system:masters": system.AdminConfig(t), "a cluster administrator": system.Config(t, clusterAdmin)} {
		t.Run(who, func(t *testing.T) {
			c, err := dynamic.NewForConfig(config)
			require.NoError(t, err)
			definitions := c.Resource(apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions"))
			requireForbidden(t, definitions.Delete(t.Context(), name, dryRun), refusal)
			requireForbidden(t, definitions.DeleteCollection(t.Context(), dryRun, metav1.ListOptions{}), refusal)
			requireForbidden(t, definitions.DeleteCollection(t.Context(), dryRun, metav1.ListOptions{FieldSelector: "metadata.name=" + name}), refusal)
			require.NoError(t, definitions.Delete(t.Context(), "tenantowners.capsule.clastix.io", dryRun))
		})
	}
}
