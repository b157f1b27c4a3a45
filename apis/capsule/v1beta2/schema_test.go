// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1beta2_test

import (
	"context"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	crvalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiextensions-apiserver/pkg/crdserverscheme"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// definitionsDir has the generated definitions.
const definitionsDir = "../../../artifacts/base/crds"

// definitions returns the generated definitions by the plural of their kind.
func definitions(tb testing.TB) map[string]*apiextensionsv1.CustomResourceDefinition {
	tb.Helper()
	dir := os.DirFS(definitionsDir)
	files, err := fs.Glob(dir, "capsule.clastix.io_*.yaml")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no definitions in %s: %v", definitionsDir, err)
	}
	out := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for _, file := range files {
		data, err := fs.ReadFile(dir, file)
		if err != nil {
			tb.Fatal(err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(data, crd); err != nil {
			tb.Fatalf("%s: %v", file, err)
		}
		out[crd.Spec.Names.Plural] = crd
	}
	return out
}

// strategy is what the API server does with custom resources.
type strategy interface {
	Validate(ctx context.Context, obj runtime.Object) field.ErrorList
	ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList
}

// kindSchema accepts and refuses objects of one kind and version as the API server.
type kindSchema struct {
	structural *structuralschema.Structural
	strategy   strategy
}

// newKindSchema makes ready what the API server makes ready of a definition.
func newKindSchema(tb testing.TB, crd *apiextensionsv1.CustomResourceDefinition, version string) *kindSchema {
	tb.Helper()
	i := slices.IndexFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == version })
	if i < 0 {
		tb.Fatalf("%s has no version %s", crd.Name, version)
	}
	internal := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[i].Schema.OpenAPIV3Schema, internal, nil); err != nil {
		tb.Fatal(err)
	}
	structural, err := structuralschema.NewStructural(internal)
	if err != nil {
		tb.Fatal(err)
	}
	validator, _, err := crvalidation.NewSchemaValidator(internal)
	if err != nil {
		tb.Fatal(err)
	}
	status := internal.Properties["status"]
	statusValidator, _, err := crvalidation.NewSchemaValidator(&status)
	if err != nil {
		tb.Fatal(err)
	}
	gvk := schema.GroupVersionKind{Group: crd.Spec.Group, Version: version, Kind: crd.Spec.Names.Kind}
	return &kindSchema{structural: structural, strategy: customresource.NewStrategy(
		crdserverscheme.NewUnstructuredObjectTyper(), crd.Spec.Scope == apiextensionsv1.NamespaceScoped, gvk,
		validator, statusValidator, structural, &apiextensions.CustomResourceSubresourceStatus{}, nil, nil,
	)}
}

// read does what the API server does with what it is sent. It returns the paths of the
// fields that would be lost.
func (s *kindSchema) read(obj map[string]any) (unknown []string) {
	unknown = pruning.PruneWithOptions(obj, s.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	defaulting.PruneNonNullableNullsWithoutDefaults(obj, s.structural)
	defaulting.Default(obj, s.structural)
	return unknown
}

// create returns why the object cannot be created.
func (s *kindSchema) create(ctx context.Context, obj map[string]any) []string {
	return messages(s.strategy.Validate(ctx, &unstructured.Unstructured{Object: obj}))
}

// update returns why the object cannot be updated.
func (s *kindSchema) update(ctx context.Context, obj, old map[string]any) []string {
	before, after := &unstructured.Unstructured{Object: old}, &unstructured.Unstructured{Object: obj}
	before.SetResourceVersion("1")
	after.SetResourceVersion("1")
	return messages(s.strategy.ValidateUpdate(ctx, after, before))
}

func messages(errs field.ErrorList) []string {
	var out []string
	for _, err := range errs {
		// The server says that CEL comes after the rest.
		if !strings.Contains(err.Detail, "some validation rules were not checked") {
			out = append(out, err.Error())
		}
	}
	return out
}

// eachSchema calls f for each kind and version.
func eachSchema(tb testing.TB, f func(crd *apiextensionsv1.CustomResourceDefinition, version *apiextensionsv1.CustomResourceDefinitionVersion)) {
	tb.Helper()
	for _, crd := range definitions(tb) {
		for i := range crd.Spec.Versions {
			f(crd, &crd.Spec.Versions[i])
		}
	}
}

// object parses one object.
func object(tb testing.TB, manifest string) map[string]any {
	tb.Helper()
	data, err := yaml.YAMLToJSONStrict([]byte(manifest))
	if err != nil {
		tb.Fatalf("%v in:\n%s", err, manifest)
	}
	// Integers are int64, as in the API server.
	obj := map[string]any{}
	if err := utiljson.Unmarshal(data, &obj); err != nil {
		tb.Fatalf("%v in:\n%s", err, manifest)
	}
	return obj
}

func TestEveryFieldIsDescribed(t *testing.T) {
	fields := 0
	eachSchema(t, func(crd *apiextensionsv1.CustomResourceDefinition, version *apiextensionsv1.CustomResourceDefinitionVersion) {
		var walk func(path string, s *apiextensionsv1.JSONSchemaProps)
		walk = func(path string, s *apiextensionsv1.JSONSchemaProps) {
			for name, property := range s.Properties {
				// The API server describes the metadata by itself.
				if path == "" && name == "metadata" {
					continue
				}
				fields++
				if strings.TrimSpace(property.Description) == "" {
					t.Errorf("%s/%s: %s.%s has no description", crd.Name, version.Name, path, name)
				}
				walk(path+"."+name, &property)
			}
			if s.Items != nil && s.Items.Schema != nil {
				walk(path+"[]", s.Items.Schema)
			}
			if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
				walk(path+"{}", s.AdditionalProperties.Schema)
			}
		}
		root := version.Schema.OpenAPIV3Schema
		if root.Description == "" {
			t.Errorf("%s/%s has no description", crd.Name, version.Name)
		}
		walk("", root)
	})
	if fields < 500 {
		t.Errorf("walked %d fields only", fields)
	}
}

func TestDefinitionsAreValid(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for name, crd := range definitions(t) {
		t.Run(name, func(t *testing.T) {
			scheme.Default(crd)
			internal := &apiextensions.CustomResourceDefinition{}
			if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd, internal, nil); err != nil {
				t.Fatal(err)
			}
			// The server notes the storage version before it validates.
			for _, version := range crd.Spec.Versions {
				if version.Storage {
					internal.Status.StoredVersions = append(internal.Status.StoredVersions, version.Name)
				}
			}
			for _, err := range crdvalidation.ValidateCustomResourceDefinition(t.Context(), internal) {
				t.Error(err)
			}
		})
	}
}

func TestDefinitions(t *testing.T) {
	type definition struct {
		Kind, Scope string
		ShortNames  []string
		// Versions with their columns, the stored one with a star.
		Versions map[string][]string
	}
	want := map[string]definition{
		"capsuleconfigurations": {"CapsuleConfiguration", "Cluster", nil, map[string][]string{
			"v1beta2*": {"Ready/1", "Status/1", "Age"},
		}},
		"globalproxysettings": {"GlobalProxySettings", "Cluster", nil, map[string][]string{
			"v1beta1": {"Ready/1", "Age"}, "v1beta2*": {"Ready/1", "Age"},
		}},
		"globaltenantresources": {"GlobalTenantResource", "Cluster", []string{"gtr"}, map[string][]string{
			"v1beta2*": {"Items", "Ready/1", "Status/1", "Age"},
		}},
		"proxysettings": {"ProxySetting", "Namespaced", nil, map[string][]string{
			"v1beta1": {"Ready/1", "Age"}, "v1beta2*": {"Ready/1", "Age"},
		}},
		"tenantowners": {"TenantOwner", "Cluster", []string{"to"}, map[string][]string{
			"v1beta2*": {"Ready/1", "Age"},
		}},
		"tenantresources": {"TenantResource", "Namespaced", []string{"tr"}, map[string][]string{
			"v1beta2*": {"Items", "Ready/1", "Status/1", "Age"},
		}},
		"tenants": {"Tenant", "Cluster", []string{"tnt"}, map[string][]string{
			"v1beta1":  {"State", "Namespace quota", "Namespace count", "Node selector", "Age"},
			"v1beta2*": {"State", "Namespace quota", "Namespace count", "Node selector", "Ready/1", "Status/1", "Age"},
		}},
	}
	got := map[string]definition{}
	eachSchema(t, func(crd *apiextensionsv1.CustomResourceDefinition, version *apiextensionsv1.CustomResourceDefinitionVersion) {
		names := crd.Spec.Names
		d := got[names.Plural]
		d.Kind, d.Scope, d.ShortNames = names.Kind, string(crd.Spec.Scope), names.ShortNames
		if d.Versions == nil {
			d.Versions = map[string][]string{}
		}
		var columns []string
		for _, column := range version.AdditionalPrinterColumns {
			name := column.Name
			if column.Priority == 1 {
				name += "/1"
			}
			columns = append(columns, name)
		}
		name := version.Name
		if version.Storage {
			name += "*"
		}
		d.Versions[name] = columns
		got[names.Plural] = d
		if !version.Served {
			t.Errorf("%s/%s is not served", names.Plural, version.Name)
		}
		if version.Subresources == nil || version.Subresources.Status == nil {
			t.Errorf("%s/%s has no status subresource", names.Plural, version.Name)
		}
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("definitions (-want +got):\n%s", diff)
	}
}

// TestTenantColumns holds the Tenant to the columns of its view, see myTenantColumns in
// pkg/registry.
func TestTenantColumns(t *testing.T) {
	want := []apiextensionsv1.CustomResourceColumnDefinition{
		{Name: "State", Type: "string", JSONPath: `.status.conditions[?(@.type=="Cordoned")].reason`, Description: "Whether the Tenant is Active or Cordoned"},
		{Name: "Namespace quota", Type: "integer", JSONPath: ".spec.namespaceOptions.quota", Description: "How many namespaces the Tenant may have"},
		{Name: "Namespace count", Type: "integer", JSONPath: ".status.size", Description: "How many namespaces the Tenant has"},
		{Name: "Node selector", Type: "string", JSONPath: ".spec.nodeSelector", Description: "The labels of the nodes that the pods of the Tenant run on"},
		{Name: "Ready", Type: "string", Priority: 1, JSONPath: `.status.conditions[?(@.type=="Ready")].status`, Description: "Whether what the Tenant says is in effect"},
		{Name: "Status", Type: "string", Priority: 1, JSONPath: `.status.conditions[?(@.type=="Ready")].message`, Description: "Why the Tenant is, or is not, ready"},
		{Name: "Age", Type: "date", JSONPath: ".metadata.creationTimestamp"},
	}
	versions := definitions(t)["tenants"].Spec.Versions
	if diff := cmp.Diff(want, versions[len(versions)-1].AdditionalPrinterColumns); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
}

// TestSharedSchemas: kinds that are not converted have to be the same in all versions.
func TestSharedSchemas(t *testing.T) {
	for _, plural := range []string{"proxysettings", "globalproxysettings"} {
		versions := definitions(t)[plural].Spec.Versions
		if len(versions) != 2 {
			t.Fatalf("%s has %d versions, want 2", plural, len(versions))
		}
		if diff := cmp.Diff(versions[0].Schema, versions[1].Schema); diff != "" {
			t.Errorf("%s (-%s +%s):\n%s", plural, versions[0].Name, versions[1].Name, diff)
		}
	}
}
