// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
)

// fieldsOf returns the paths of all fields below a schema.
func fieldsOf(path string, schema *apiextensionsv1.JSONSchemaProps) []string {
	switch {
	case schema.Items != nil && schema.Items.Schema != nil:
		return fieldsOf(path, schema.Items.Schema)
	case schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil:
		return fieldsOf(path, schema.AdditionalProperties.Schema)
	}
	var paths []string
	for name, property := range schema.Properties {
		paths = append(paths, path+"."+name)
		paths = append(paths, fieldsOf(path+"."+name, &property)...)
	}
	return paths
}

// explained returns the paths of the fields that kubectl explain --recursive prints:
// each on a line of its own, deeper ones further to the right.
func explained(path, output string) []string {
	_, fields, _ := strings.Cut(output, "FIELDS:\n")
	parents := []string{path}
	var paths []string
	for line := range strings.Lines(fields) {
		name, _, found := strings.Cut(strings.TrimLeft(line, " "), "\t<")
		if !found {
			continue // the values that a field may have
		}
		depth := (len(line) - len(strings.TrimLeft(line, " "))) / 2
		parents = append(parents[:depth], parents[depth-1]+"."+name)
		paths = append(paths, parents[depth])
	}
	return paths
}

// TestExampleExplain holds that kubectl explains every field of a Tenant.
func TestExampleExplain(t *testing.T) {
	client, err := dynamic.NewForConfig(system.AdminConfig(t))
	require.NoError(t, err)
	object, err := client.Resource(apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")).Get(t.Context(), "tenants.capsule.clastix.io", metav1.GetOptions{})
	require.NoError(t, err)
	var definition apiextensionsv1.CustomResourceDefinition
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &definition))
	i := slices.IndexFunc(definition.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == "v1beta2" })
	require.GreaterOrEqual(t, i, 0)
	spec := definition.Spec.Versions[i].Schema.OpenAPIV3Schema.Properties["spec"]
	want := fieldsOf("tenant.spec", &spec)
	slices.Sort(want)
	require.Greater(t, len(want), 200)

	forEachLogin(t, func(t *testing.T, login login) {
		got := explained("tenant.spec", login.kubectl(t, clusterAdmin).Output(t, "explain", "tenant.spec", "--recursive"))
		slices.Sort(got)
		compare(t, "fields", want, got)
	})
	t.Run("descriptions", func(t *testing.T) {
		kubectl := system.Kubectl(t, clusterAdmin)
		kubectl.Output(t, "explain", "tenant.spec") // fills the cache of the schema
		// What explains a field lists those below it, with their descriptions: fields
		// that have some are enough.
		parents := []string{"tenant.spec"}
		for _, path := range want {
			if slices.ContainsFunc(want, func(other string) bool { return strings.HasPrefix(other, path+".") }) {
				parents = append(parents, path)
			}
		}
		require.Greater(t, len(parents), 50)
		var group errgroup.Group
		group.SetLimit(2)
		outputs := make([]string, len(parents))
		for i, path := range parents {
			group.Go(func() error {
				out, err := kubectl.Command(t.Context(), "explain", path).CombinedOutput()
				outputs[i] = string(out)
				return err
			})
		}
		require.NoError(t, group.Wait())
		seen := map[string]string{}
		for i, path := range parents {
			head, fields, found := strings.Cut(outputs[i], "FIELDS:\n")
			require.True(t, found, "%s: %s", path, outputs[i])
			_, description, _ := strings.Cut(head, "DESCRIPTION:\n")
			require.NotContains(t, description, "<empty>", path)
			for field := range strings.SplitSeq(strings.TrimSpace(fields), "\n\n") {
				name, text, found := strings.Cut(field, "\n")
				name = path + "." + strings.Fields(name)[0]
				text = strings.TrimSpace(text)
				require.True(t, found && text != "" && !strings.Contains(text, "<no description>"), "%s has no description: %q", name, field)
				seen[name] = text
			}
		}
		// None is left out.
		var described []string
		for name := range seen {
			described = append(described, name)
		}
		slices.Sort(described)
		compare(t, "described fields", want, described)
	})
}
