// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1beta2_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	capsulev1beta1 "tenancy.capsule.io/apis/capsule/v1beta1"
	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

const examplesDir = "../../../artifacts/examples"

// schemas makes the schemas of kinds, each once.
type schemas struct {
	definitions map[string]*apiextensionsv1.CustomResourceDefinition
	made        map[schema.GroupVersionKind]*kindSchema
}

func newSchemas(tb testing.TB) *schemas {
	tb.Helper()
	return &schemas{definitions: definitions(tb), made: map[schema.GroupVersionKind]*kindSchema{}}
}

func (s *schemas) of(tb testing.TB, obj map[string]any) *kindSchema {
	tb.Helper()
	apiVersion, _ := obj["apiVersion"].(string)
	kind, _ := obj["kind"].(string)
	gvk := schema.FromAPIVersionAndKind(apiVersion, kind)
	if made := s.made[gvk]; made != nil {
		return made
	}
	for _, crd := range s.definitions {
		if crd.Spec.Names.Kind == kind {
			s.made[gvk] = newKindSchema(tb, crd, gvk.Version)
			return s.made[gvk]
		}
	}
	tb.Fatalf("%s is not ours", gvk)
	return nil
}

// ours returns the documents of our group in the examples, and those with every field.
func ours(tb testing.TB) map[string]string {
	tb.Helper()
	out, files := map[string]string{}, 0
	for _, dir := range []fs.FS{os.DirFS(examplesDir), os.DirFS("testdata")} {
		names, err := fs.Glob(dir, "*.yaml")
		if err != nil {
			tb.Fatal(err)
		}
		files += len(names)
		for _, name := range names {
			data, err := fs.ReadFile(dir, name)
			if err != nil {
				tb.Fatal(err)
			}
			for i, manifest := range strings.Split(string(data), "\n---\n") {
				if strings.Contains(manifest, "apiVersion: "+capsulev1beta2.GroupName+"/") {
					out[name+"/"+strconv.Itoa(i)] = manifest
				}
			}
		}
	}
	if files < 13 {
		tb.Fatalf("%d files only", files)
	}
	return out
}

func newScheme(tb testing.TB) *runtime.Scheme {
	tb.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{capsulev1beta2.AddToScheme, capsulev1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			tb.Fatal(err)
		}
	}
	return scheme
}

// TestManifestsAreAccepted: what people have is accepted, kept, and known to the types.
func TestManifestsAreAccepted(t *testing.T) {
	all, scheme := newSchemas(t), newScheme(t)
	for name, manifest := range ours(t) {
		t.Run(name, func(t *testing.T) {
			obj := object(t, manifest)
			s := all.of(t, obj)
			if unknown := s.read(obj); len(unknown) > 0 {
				t.Errorf("pruned: %v", unknown)
			}
			for _, message := range s.create(t.Context(), obj) {
				t.Error(message)
			}

			apiVersion, _ := obj["apiVersion"].(string)
			kind, _ := obj["kind"].(string)
			typed, err := scheme.New(schema.FromAPIVersionAndKind(apiVersion, kind))
			if err != nil {
				t.Fatal(err)
			}
			if err := yaml.UnmarshalStrict([]byte(manifest), typed); err != nil {
				t.Fatal(err)
			}
			// What the types read and write is still what was written.
			want := object(t, manifest)
			s.read(want)
			data, err := json.Marshal(typed)
			if err != nil {
				t.Fatal(err)
			}
			got := object(t, string(data))
			s.read(got)
			for _, obj := range []map[string]any{want, got} {
				delete(obj, "metadata")
				delete(obj, "status")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("through the types (-want +got):\n%s", diff)
			}
		})
	}
}

const (
	tenantV1beta2 = "{apiVersion: capsule.clastix.io/v1beta2, kind: Tenant, metadata: {name: oil}, spec: %SPEC%}"
	tenantV1beta1 = "{apiVersion: capsule.clastix.io/v1beta1, kind: Tenant, metadata: {name: oil}, spec: %SPEC%}"
	configuration = "{apiVersion: capsule.clastix.io/v1beta2, kind: CapsuleConfiguration, metadata: {name: default}, spec: %SPEC%}"
	proxySetting  = "{apiVersion: capsule.clastix.io/v1beta2, kind: ProxySetting, metadata: {name: a, namespace: b}, spec: %SPEC%}"
	globalSetting = "{apiVersion: capsule.clastix.io/v1beta2, kind: GlobalProxySettings, metadata: {name: a}, spec: %SPEC%}"
	tenantOwner   = "{apiVersion: capsule.clastix.io/v1beta2, kind: TenantOwner, metadata: {name: a}, spec: %SPEC%}"
)

func TestRefusals(t *testing.T) {
	const (
		nameRule    = "metadata: Invalid value: the name of a Tenant is a label value and a prefix of namespace names: use at most 63 lower case letters, digits and '-', with a letter or digit at both ends"
		accountRule = "a service account is written in full: system:serviceaccount:NAMESPACE:NAME"
	)
	named := func(name string) string {
		return strings.Replace(strings.Replace(tenantV1beta2, "oil", name, 1), "%SPEC%", "{}", 1)
	}
	tests := []struct {
		name, manifest, spec string
		want                 []string
	}{
		{"name with a dot", named("oil.prod"), "", []string{nameRule}},
		{"long name", named(strings.Repeat("a", 64)), "", []string{nameRule}},
		{"owner twice", tenantV1beta2, "{owners: [{kind: User, name: alice}, {kind: User, name: alice}]}", []string{
			`spec.owners[1]: Duplicate value: {"kind":"User","name":"alice"}`,
		}},
		{"owner twice in v1beta1", tenantV1beta1, "{owners: [{kind: User, name: alice}, {kind: User, name: alice}]}", []string{
			`spec.owners[1]: Duplicate value: {"kind":"User","name":"alice"}`,
		}},
		{"no owners in v1beta1", tenantV1beta1, "{}", []string{"spec.owners: Required value"}},
		{"owner of another kind", tenantV1beta2, "{owners: [{kind: Team, name: alice}]}", []string{
			`spec.owners[0].kind: Unsupported value: "Team": supported values: "User", "Group", "ServiceAccount"`,
		}},
		{"owner without a name", tenantV1beta2, `{owners: [{kind: Group, name: ""}]}`, []string{
			"spec.owners[0].name: Invalid value: \"\": spec.owners[0].name in body should be at least 1 chars long",
		}},
		{"short service account", tenantV1beta2, "{owners: [{kind: ServiceAccount, name: deployer}]}", []string{
			`spec.owners[0].name: Invalid value: ` + accountRule,
		}},
		{"service account without a name", tenantV1beta1, "{owners: [{kind: ServiceAccount, name: 'system:serviceaccount:ci:'}]}", []string{
			`spec.owners[0].name: Invalid value: ` + accountRule,
		}},
		{"unknown proxy setting", tenantV1beta2, "{owners: [{kind: User, name: a, proxySettings: [{kind: Pods, operations: [Create]}]}]}", []string{
			`spec.owners[0].proxySettings[0].kind: Unsupported value: "Pods": supported values: "Nodes", "StorageClasses", "IngressClasses", "PriorityClasses", "RuntimeClasses", "PersistentVolumes", "Tenant"`,
			`spec.owners[0].proxySettings[0].operations[0]: Unsupported value: "Create": supported values: "List", "Update", "Delete"`,
		}},
		{"no namespace", tenantV1beta2, "{namespaceOptions: {quota: 0}}", []string{
			"spec.namespaceOptions.quota: Invalid value: 0: spec.namespaceOptions.quota in body should be greater than or equal to 1",
		}},
		{"binding without subjects", tenantV1beta2, "{additionalRoleBindings: [{clusterRoleName: view, subjects: []}]}", []string{
			"spec.additionalRoleBindings[0].subjects: Invalid value: 0: spec.additionalRoleBindings[0].subjects in body should have at least 1 items",
		}},
		{"unknown hostname scope", tenantV1beta2, "{ingressOptions: {hostnameCollisionScope: World}}", []string{
			`spec.ingressOptions.hostnameCollisionScope: Unsupported value: "World": supported values: "Cluster", "Tenant", "Namespace", "Disabled"`,
		}},
		{"no address", tenantV1beta2, "{serviceOptions: {externalIPs: {allowed: [10.0.0.300]}}}", []string{
			"spec.serviceOptions.externalIPs.allowed[0]: Invalid value: \"10.0.0.300\": write an IP address, as in 10.0.0.1, or a range in CIDR notation, as in 10.0.0.0/8",
		}},
		{"range the wrong way round", tenantV1beta2, "{rules: [{enforce: {services: {nodePorts: {ports: [{from: 2, to: 1}]}}}}]}", []string{
			"spec.rules[0].enforce.services.nodePorts.ports[0].to: Invalid value: a range ends where it begins or after it: write the lower port in from",
		}},
		{"unknown audience", tenantV1beta2, "{rules: [{audience: [{kind: Custom, name: Everybody}]}]}", []string{
			"spec.rules[0].audience[0].name: Invalid value: of the kind Custom there are CapsuleUser, Administrator, TenantOwner and Controller",
		}},
		{"quota twice", tenantV1beta2, "{rules: [{quota: [{name: a}, {name: a}]}]}", []string{
			`spec.rules[0].quota[1]: Duplicate value: {"name":"a"}`,
		}},
		{"short service account as user", configuration, "{users: [{kind: ServiceAccount, name: a}]}", []string{
			`spec.users[0].name: Invalid value: ` + accountRule,
		}},
		{"webhook at two places", configuration, "{admission: {mutating: {client: {url: 'https://a', service: {namespace: a, name: b}}}}}", []string{
			"spec.admission.mutating.client: Invalid value: set either url or service, and not both",
		}},
		{"webhook nowhere", configuration, "{admission: {validating: {client: {}}}}", []string{
			"spec.admission.validating.client: Invalid value: set either url or service, and not both",
		}},
		{"account without namespace", configuration, "{impersonation: {globalDefaultServiceAccount: a}}", []string{
			"spec.impersonation.globalDefaultServiceAccountNamespace: Invalid value: name the namespace of the globalDefaultServiceAccount",
		}},
		{"proxy setting for nobody", proxySetting, "{subjects: []}", []string{
			"spec.subjects: Invalid value: 0: spec.subjects in body should have at least 1 items",
		}},
		{"proxy setting beyond the tenant", proxySetting, "{subjects: [{kind: User, name: bob, clusterResources: [{apiGroups: ['*'], resources: ['*'], selector: {}}]}]}", []string{
			"spec.subjects[0].clusterResources: Invalid value: clusterResources reach beyond the tenant: a cluster administrator grants them with a GlobalProxySettings object",
		}},
		{"global setting without selector", globalSetting, "{rules: [{subjects: [{kind: User, name: bob}], clusterResources: [{apiGroups: [''], resources: [nodes]}]}]}", []string{
			"spec.rules[0].clusterResources[0].selector: Required value",
		}},
		{"global setting for a short service account", globalSetting, "{rules: [{subjects: [{kind: ServiceAccount, name: bob}]}]}", []string{
			`spec.rules[0].subjects[0].name: Invalid value: ` + accountRule,
		}},
		{"tenant owner by a short name", tenantOwner, "{kind: ServiceAccount, name: a}", []string{
			`spec.name: Invalid value: ` + accountRule,
		}},
	}
	all := newSchemas(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			obj := object(t, strings.Replace(tt.manifest, "%SPEC%", tt.spec, 1))
			s := all.of(t, obj)
			if unknown := s.read(obj); len(unknown) > 0 {
				t.Fatalf("unknown fields %v", unknown)
			}
			// Properties are validated in the order of a map, which is none.
			anyOrder := cmpopts.SortSlices(strings.Compare)
			if diff := cmp.Diff(tt.want, s.create(t.Context(), obj), anyOrder); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

// TestOldObjectsStayWritable: what was stored before there were these rules can be
// changed where it is right.
func TestOldObjectsStayWritable(t *testing.T) {
	tests := []struct {
		name, metadata, spec string
	}{
		{"name", "{name: oil.prod}", "{}"},
		{"owner twice", "{name: oil}", "{owners: [{kind: User, name: alice}, {kind: User, name: alice}]}"},
		{"short service account", "{name: oil}", "{owners: [{kind: ServiceAccount, name: a}, {kind: User, name: b}]}"},
		{"external IP", "{name: oil}", "{serviceOptions: {externalIPs: {allowed: [everywhere]}}}"},
	}
	all := newSchemas(t)
	for _, version := range []string{"v1beta1", "v1beta2"} {
		for _, tt := range tests {
			t.Run(version+"/"+tt.name, func(t *testing.T) {
				manifest := "{apiVersion: capsule.clastix.io/" + version + ", kind: Tenant, metadata: " + tt.metadata + ", spec: " + tt.spec + "}"
				old, obj := object(t, manifest), object(t, manifest)
				spec, _ := obj["spec"].(map[string]any)
				spec["nodeSelector"] = map[string]any{"pool": "oil"}
				for _, o := range []map[string]any{old, obj} {
					spec, _ := o["spec"].(map[string]any)
					if spec["owners"] == nil {
						spec["owners"] = []any{}
					}
				}
				s := all.of(t, obj)
				s.read(old)
				s.read(obj)
				if messages := s.create(t.Context(), object(t, manifest)); len(messages) == 0 {
					t.Fatal("the object is right")
				}
				for _, message := range s.update(t.Context(), obj, old) {
					t.Error(message)
				}
			})
		}
	}
}

func TestDefaults(t *testing.T) {
	tests := []struct {
		name, manifest, spec, want string
	}{
		{
			"tenant", tenantV1beta2,
			"{owners: [{kind: User, name: alice}], permissions: {}, ingressOptions: {}, serviceOptions: {allowedServices: {}}, resourceQuotas: {}, namespaceOptions: {}}",
			`{owners: [{kind: User, name: alice, clusterRoles: [admin, capsule-namespace-deleter]}],
			permissions: {allowOwnerPromotion: true}, ingressOptions: {hostnameCollisionScope: Disabled, allowWildcardHostnames: false},
			serviceOptions: {allowedServices: {nodePort: true, externalName: true, loadBalancer: true}}, resourceQuotas: {scope: Tenant},
			namespaceOptions: {managedMetadataOnly: false}, cordoned: false, preventDeletion: false}`,
		},
		{
			"no roles", tenantV1beta2, "{owners: [{kind: User, name: alice, clusterRoles: []}]}",
			"{owners: [{kind: User, name: alice, clusterRoles: []}], cordoned: false, preventDeletion: false}",
		},
		{
			"nulls", tenantV1beta2, "{owners: [{kind: User, name: alice, clusterRoles: null}], networkPolicies: {items: [{podSelector: {matchLabels: null}}]}}",
			`{owners: [{kind: User, name: alice, clusterRoles: [admin, capsule-namespace-deleter]}],
			networkPolicies: {items: [{podSelector: {}}]}, cordoned: false, preventDeletion: false}`,
		},
		{
			"tenant in v1beta1", tenantV1beta1, "{owners: [], ingressOptions: {}, resourceQuotas: {}}",
			"{owners: [], ingressOptions: {hostnameCollisionScope: Disabled}, resourceQuotas: {scope: Tenant}}",
		},
		{
			"configuration", configuration, "{users: [{kind: User, name: alice}]}",
			`{users: [{kind: User, name: alice}], allowServiceAccountPromotion: false, forceTenantPrefix: false, enableTLSReconciler: false,
			overrides: {TLSSecretName: capsule-tls, mutatingWebhookConfigurationName: capsule-mutating-webhook-configuration,
				validatingWebhookConfigurationName: capsule-validating-webhook-configuration},
			rbac: {provisioner: capsule-namespace-provisioner, deleter: capsule-namespace-deleter,
				administrationClusterRoles: [capsule-namespace-deleter],
				promotionClusterRoles: [capsule-namespace-provisioner, capsule-namespace-deleter]},
			cacheInvalidation: 24h, events: {namespace: default}}`,
		},
		{
			"tenant owner", tenantOwner, "{kind: User, name: alice}",
			"{kind: User, name: alice, clusterRoles: [admin, capsule-namespace-deleter], aggregate: true}",
		},
		{
			"global proxy settings", globalSetting,
			"{rules: [{subjects: [{kind: User, name: bob}], clusterResources: [{apiGroups: [''], resources: [nodes], selector: {}}]}]}",
			"{rules: [{subjects: [{kind: User, name: bob}], clusterResources: [{apiGroups: [''], resources: [nodes], operations: [List, Get], selector: {}}]}]}",
		},
	}
	all := newSchemas(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			obj := object(t, strings.Replace(tt.manifest, "%SPEC%", tt.spec, 1))
			s := all.of(t, obj)
			s.read(obj)
			for _, message := range s.create(t.Context(), obj) {
				t.Error(message)
			}
			if diff := cmp.Diff(any(object(t, tt.want)), obj["spec"]); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
		})
	}
}
