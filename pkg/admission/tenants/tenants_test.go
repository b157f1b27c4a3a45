// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
	"sigs.k8s.io/yaml"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// request returns a request about an object that is written as YAML.
func request(t testing.TB, kind string, operation admissionv1.Operation, old, given string) admission.Request {
	t.Helper()
	raw := func(text string) runtime.RawExtension {
		if text == "" {
			return runtime.RawExtension{}
		}
		document, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return runtime.RawExtension{Raw: document}
	}
	return admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		Operation: operation,
		Kind:      metav1.GroupVersionKind(capsulev1beta2.SchemeGroupVersion.WithKind(kind)),
		Resource:  metav1.GroupVersionResource(capsulev1beta2.SchemeGroupVersion.WithResource(strings.ToLower(kind) + "s")),
		Name:      "oil",
		Object:    raw(given),
		OldObject: raw(old),
	}}
}

// causes returns what is wrong, field by field.
func causes(response admission.Response) []string {
	var fields []string
	if response.Result.Details == nil {
		return nil
	}
	for _, cause := range response.Result.Details.Causes {
		fields = append(fields, cause.Field)
	}
	return fields
}

func TestValidate(t *testing.T) {
	tests := map[string]struct {
		spec string
		want []string
		warn []string
	}{
		"nothing": {spec: "{}"},
		"regular expressions": {
			spec: `
storageClasses: {allowedRegex: "("}
priorityClasses: {allowedRegex: "["}
runtimeClasses: {allowedRegex: "*"}
gatewayOptions: {allowedClasses: {allowedRegex: "("}}
ingressOptions: {allowedClasses: {allowedRegex: "("}, allowedHostnames: {allowedRegex: "("}}
containerRegistries: {allowedRegex: "("}
namespaceOptions:
  forbiddenLabels: {deniedRegex: "("}
  forbiddenAnnotations: {deniedRegex: "("}
  requiredMetadata: {labels: {env: "("}, annotations: {example.com/Contact: "("}}
serviceOptions:
  forbiddenLabels: {deniedRegex: "("}
  forbiddenAnnotations: {deniedRegex: "("}`,
			want: []string{
				"spec.containerRegistries.allowedRegex",
				"spec.gatewayOptions.allowedClasses.allowedRegex",
				"spec.ingressOptions.allowedClasses.allowedRegex",
				"spec.ingressOptions.allowedHostnames.allowedRegex",
				"spec.namespaceOptions.forbiddenAnnotations.deniedRegex",
				"spec.namespaceOptions.forbiddenLabels.deniedRegex",
				"spec.namespaceOptions.requiredMetadata.annotations[example.com/Contact]",
				"spec.namespaceOptions.requiredMetadata.labels[env]",
				"spec.priorityClasses.allowedRegex",
				"spec.runtimeClasses.allowedRegex",
				"spec.serviceOptions.forbiddenAnnotations.deniedRegex",
				"spec.serviceOptions.forbiddenLabels.deniedRegex",
				"spec.storageClasses.allowedRegex",
			},
		},
		"selectors": {
			spec: `
runtimeClasses: {matchExpressions: [{key: qos, operator: Like, values: [gold]}]}
deviceClasses: {matchLabels: {"a b": c}}
permissions: {matchOwners: [{matchLabels: {a: b}}, {matchLabels: {a: "b c"}}]}
namespaceOptions: {additionalMetadataList: [{namespaceSelector: {matchExpressions: [{key: a, operator: In}]}}]}
rules: [{namespaceSelector: {matchLabels: {a: "b c"}}, permissions: {promotions: [{selector: {matchLabels: {a: "b c"}}}]}}]`,
			want: []string{
				"spec.deviceClasses",
				"spec.namespaceOptions.additionalMetadataList[0].namespaceSelector",
				"spec.permissions.matchOwners[1]",
				"spec.rules[0].namespaceSelector",
				"spec.rules[0].permissions.promotions[0].selector",
				"spec.runtimeClasses",
			},
		},
		"Exists with values": {
			spec: `runtimeClasses: {matchExpressions: [{key: qos, operator: Exists, values: [gold]}]}`,
			warn: []string{"spec.runtimeClasses.matchExpressions[0]: operator Exists takes no values and is read as In: write In, or leave out the values"},
		},
		"labels and annotations": {
			spec: `
nodeSelector: {pool: oil, "a b": c, d: "e f"}
owners: [{kind: User, name: alice, labels: {"a b": c}, annotations: {"a b": c}}]
namespaceOptions:
  additionalMetadata: {labels: {a: "b c"}, annotations: {a.b/C: "anything at all", "x y": x}}
  additionalMetadataList: [{labels: {a: "{{ tenant.name }}", "b c": "{{ namespace }}", d: "e f"}}]
serviceOptions: {additionalMetadata: {labels: {a: "b c"}}}
podOptions: {additionalMetadata: {labels: {a: "b c", job-name: x}}}`,
			want: []string{
				"spec.namespaceOptions.additionalMetadata.annotations",
				"spec.namespaceOptions.additionalMetadata.labels",
				"spec.namespaceOptions.additionalMetadataList[0].labels",
				"spec.namespaceOptions.additionalMetadataList[0].labels",
				"spec.nodeSelector",
				"spec.nodeSelector",
				"spec.owners[0].annotations",
				"spec.owners[0].labels",
				"spec.podOptions.additionalMetadata.labels",
				"spec.podOptions.additionalMetadata.labels[job-name]",
				"spec.serviceOptions.additionalMetadata.labels",
			},
		},
		"hostnames": {
			spec: `ingressOptions: {allowedHostnames: {allowed: [oil.example.com, "*.example.com", "*", "a_b", "a.*.com", OIL.example.com]}}`,
			want: []string{
				"spec.ingressOptions.allowedHostnames.allowed[2]",
				"spec.ingressOptions.allowedHostnames.allowed[3]",
				"spec.ingressOptions.allowedHostnames.allowed[4]",
				"spec.ingressOptions.allowedHostnames.allowed[5]",
			},
		},
		"roles": {
			spec: `
owners: [{kind: User, name: alice, clusterRoles: [admin, "a/b"]}]
additionalRoleBindings:
- clusterRoleName: view
  subjects:
  - {kind: User, name: bob}
  - {kind: Group, apiGroup: rbac.authorization.k8s.io, name: devs}
  - {kind: ServiceAccount, namespace: flux, name: deployer}
- clusterRoleName: ".."
  subjects:
  - {kind: User, apiGroup: example.com, name: bob}
  - {kind: ServiceAccount, name: deployer}
  - {kind: ServiceAccount, apiGroup: rbac.authorization.k8s.io, namespace: "a b", name: "c d"}
  - {kind: Robot, name: r2}
  - {kind: Group}
rules: [{permissions: {bindings: [{clusterRoleName: view, subjects: [{kind: ServiceAccount, name: x}]}]}}]`,
			want: []string{
				"spec.additionalRoleBindings[1].clusterRoleName",
				"spec.additionalRoleBindings[1].subjects[0].apiGroup",
				"spec.additionalRoleBindings[1].subjects[1].namespace",
				"spec.additionalRoleBindings[1].subjects[2].apiGroup",
				"spec.additionalRoleBindings[1].subjects[2].name",
				"spec.additionalRoleBindings[1].subjects[2].namespace",
				"spec.additionalRoleBindings[1].subjects[3].kind",
				"spec.additionalRoleBindings[1].subjects[4].name",
				"spec.owners[0].clusterRoles[1]",
				"spec.rules[0].permissions.bindings[0].subjects[0].namespace",
			},
		},
		"rules": {
			spec: `
rules:
- enforce:
    workloads: {registries: [{exp: "("}], schedulers: [{exp: "("}]}
    services: {loadBalancers: {cidrs: [10.0.0.0/8, 10.0.0.1]}, externalNames: {hostnames: [{exp: "("}]}}
    ingress: {hostnames: [{exact: [a]}, {exp: "("}]}
    metadata: [{kinds: [Pod], labels: {"a*": {values: [{exp: "("}]}}, annotations: {b: {values: [{exp: "("}]}}}]`,
			want: []string{
				"spec.rules[0].enforce.ingress.hostnames[1].exp",
				"spec.rules[0].enforce.metadata[0].annotations[b].values[0].exp",
				"spec.rules[0].enforce.metadata[0].labels[a*].values[0].exp",
				"spec.rules[0].enforce.services.externalNames.hostnames[0].exp",
				"spec.rules[0].enforce.services.loadBalancers.cidrs[1]",
				"spec.rules[0].enforce.workloads.registries[0].exp",
				"spec.rules[0].enforce.workloads.schedulers[0].exp",
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			given := "metadata: {name: oil}\nspec:\n  " + strings.ReplaceAll(test.spec, "\n", "\n  ")
			response := Validate(t.Context(), request(t, "Tenant", admissionv1.Create, "", given))
			if diff := cmp.Diff(test.want, causes(response)); diff != "" {
				t.Errorf("unexpected errors (-want +got):\n%s\n%s", diff, response.Result.Message)
			}
			if diff := cmp.Diff(test.warn, aboutMistakes(response.Warnings), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("unexpected warnings (-want +got):\n%s", diff)
			}
			if want := len(test.want) == 0; response.Allowed != want || !want && response.Result.Code != http.StatusUnprocessableEntity {
				t.Errorf("allowed=%t, code %d", response.Allowed, response.Result.Code)
			}
		})
	}
}

func TestUpdateKeepsWhatWasThere(t *testing.T) {
	const tenant = "metadata: {name: oil}\nspec: "
	tests := map[string]struct {
		old, given string
		want       []string
		warn       int
	}{
		"the same, elsewhere changed": {
			old:   `{storageClasses: {allowedRegex: "("}}`,
			given: `{storageClasses: {allowedRegex: "(", allowed: [a]}, cordoned: true}`, warn: 1,
		},
		"another one": {
			old:   `{storageClasses: {allowedRegex: "("}}`,
			given: `{storageClasses: {allowedRegex: "["}}`, want: []string{"spec.storageClasses.allowedRegex"},
		},
		"the same in another place": {
			old:   `{storageClasses: {allowedRegex: "("}}`,
			given: `{priorityClasses: {allowedRegex: "("}}`, want: []string{"spec.priorityClasses.allowedRegex"},
		},
		"moved in a list": {
			old:   `{ingressOptions: {allowedHostnames: {allowed: [a_b]}}}`,
			given: `{ingressOptions: {allowedHostnames: {allowed: [a, a_b]}}}`, warn: 1,
		},
		"once more in a list": {
			old:   `{ingressOptions: {allowedHostnames: {allowed: [a_b]}}}`,
			given: `{ingressOptions: {allowedHostnames: {allowed: [a_b, a_b]}}}`,
			want:  []string{"spec.ingressOptions.allowedHostnames.allowed[1]"}, warn: 1,
		},
		"corrected": {
			old:   `{storageClasses: {allowedRegex: "("}}`,
			given: `{storageClasses: {allowedRegex: "a"}}`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			response := Validate(t.Context(), request(t, "Tenant", admissionv1.Update, tenant+test.old, tenant+test.given))
			if diff := cmp.Diff(test.want, causes(response)); diff != "" {
				t.Errorf("unexpected errors (-want +got):\n%s", diff)
			}
			if warnings := aboutMistakes(response.Warnings); len(warnings) != test.warn {
				t.Errorf("got warnings %q, want %d", warnings, test.warn)
			}
		})
	}
	t.Run("being deleted", func(t *testing.T) {
		going := `metadata: {name: oil, deletionTimestamp: "2026-01-02T03:04:05Z"}` + "\nspec: "
		if response := Validate(t.Context(), request(t, "Tenant", admissionv1.Update, going+"{}", going+`{nodeSelector: {"a b": c}}`)); !response.Allowed {
			t.Errorf("got %v", response.Result)
		}
	})
}

func TestPreventDeletion(t *testing.T) {
	tests := map[string]struct {
		old  string
		want int32
	}{
		"protected":               {old: "metadata: {name: oil}\nspec: {preventDeletion: true}", want: http.StatusForbidden},
		"protected, on its way":   {old: "metadata: {name: oil, deletionTimestamp: \"2026-01-02T03:04:05Z\"}\nspec: {preventDeletion: true}", want: http.StatusOK},
		"not protected":           {old: "metadata: {name: oil}", want: http.StatusOK},
		"nothing to decide about": {want: http.StatusBadRequest},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			response := Validate(t.Context(), request(t, "Tenant", admissionv1.Delete, test.old, ""))
			if response.Result.Code != test.want || response.Allowed != (test.want == http.StatusOK) {
				t.Errorf("got allowed=%t, %v, want %d", response.Allowed, response.Result, test.want)
			}
		})
	}
}

func TestMutate(t *testing.T) {
	tests := map[string]struct {
		given string
		want  []webhook.JSONPatchOp
	}{
		"no labels":     {given: "metadata: {name: oil}", want: []webhook.JSONPatchOp{{Operation: "add", Path: "/metadata/labels", Value: map[string]string{"kubernetes.io/metadata.name": "oil"}}}},
		"other labels":  {given: "metadata: {name: oil, labels: {a: b}}", want: []webhook.JSONPatchOp{{Operation: "add", Path: "/metadata/labels/kubernetes.io~1metadata.name", Value: "oil"}}},
		"another value": {given: "metadata: {name: oil, labels: {kubernetes.io/metadata.name: gas}}", want: []webhook.JSONPatchOp{{Operation: "add", Path: "/metadata/labels/kubernetes.io~1metadata.name", Value: "oil"}}},
		"labelled":      {given: "metadata: {name: oil, labels: {kubernetes.io/metadata.name: oil}}"},
		"no name yet":   {given: "metadata: {generateName: oil-}"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			response := Mutate(t.Context(), request(t, "Tenant", admissionv1.Create, "", test.given))
			if diff := cmp.Diff(test.want, response.Patches); diff != "" || !response.Allowed {
				t.Errorf("allowed=%t, unexpected patches (-want +got):\n%s", response.Allowed, diff)
			}
		})
	}
}

func TestValidateConfiguration(t *testing.T) {
	given := `
metadata: {name: default}
spec:
  protectedNamespaceRegex: "("
  nodeMetadata: {forbiddenLabels: {deniedRegex: "("}, forbiddenAnnotations: {deniedRegex: "("}}
  rbac: {provisioner: "a/b", deleter: ".", administrationClusterRoles: [a, "%"], promotionClusterRoles: [".."]}`
	want := []string{
		"spec.nodeMetadata.forbiddenAnnotations.deniedRegex",
		"spec.nodeMetadata.forbiddenLabels.deniedRegex",
		"spec.protectedNamespaceRegex",
		"spec.rbac.administrationClusterRoles[1]",
		"spec.rbac.deleter",
		"spec.rbac.promotionClusterRoles[0]",
		"spec.rbac.provisioner",
	}
	response := ValidateConfiguration(t.Context(), request(t, "CapsuleConfiguration", admissionv1.Create, "", given))
	if diff := cmp.Diff(want, causes(response)); diff != "" {
		t.Errorf("unexpected errors (-want +got):\n%s", diff)
	}
	response = ValidateConfiguration(t.Context(), request(t, "CapsuleConfiguration", admissionv1.Update, given, given))
	if !response.Allowed || len(response.Warnings) != len(want) {
		t.Errorf("got %v, warnings %q", response.Result, response.Warnings)
	}
}

// aboutMistakes leaves out the warnings about what is right and has no effect.
func aboutMistakes(warnings []string) []string {
	return slices.DeleteFunc(slices.Clone(warnings), func(warning string) bool { return strings.HasSuffix(warning, noEffect) })
}

const noEffect = ": it is kept, and nothing acts upon it yet"

func TestNotEnforced(t *testing.T) {
	given := `{metadata: {name: oil}, spec: {imagePullPolicies: [Always], serviceOptions: {allowedServices: {}}, nodeSelector: {a: b}}}`
	response := Validate(t.Context(), request(t, "Tenant", admissionv1.Create, "", given))
	want := []string{"spec.serviceOptions.allowedServices" + noEffect, "spec.imagePullPolicies" + noEffect}
	if diff := cmp.Diff(want, response.Warnings); diff != "" || !response.Allowed {
		t.Errorf("allowed=%t, warnings (-want +got):\n%s", response.Allowed, diff)
	}
}

func TestOwnRoles(t *testing.T) {
	for name, allowed := range map[string]bool{
		"capsule-namespace-provisioner": true, "maker": true, "admin": false, "view": false, "cluster-admin": false,
		"system:node": false, "tenancy:viewer": false, "tenancy-controller:access": false,
	} {
		given := fmt.Sprintf(`{metadata: {name: default}, spec: {rbac: {provisioner: %q, deleter: %q}}}`, name, name)
		response := ValidateConfiguration(t.Context(), request(t, "CapsuleConfiguration", admissionv1.Create, "", given))
		if response.Allowed != allowed {
			t.Errorf("%s: want it to be allowed: %v, got %v", name, allowed, response.Result)
		}
	}
}

// TestExamples holds what people have to what is checked.
func TestExamples(t *testing.T) {
	examples := os.DirFS("../../../artifacts/examples")
	files, err := fs.Glob(examples, "*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %v, %v", files, err)
	}
	warned := map[string]int{}
	for _, file := range files {
		text, err := fs.ReadFile(examples, file)
		if err != nil {
			t.Fatal(err)
		}
		for document := range strings.SplitSeq(string(text), "\n---\n") {
			var kind metav1.TypeMeta
			if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
				t.Fatal(err)
			}
			validate := map[string]admission.HandlerFunc{"Tenant": Validate, "CapsuleConfiguration": ValidateConfiguration}[kind.Kind]
			if validate == nil {
				continue
			}
			response := validate(t.Context(), request(t, kind.Kind, admissionv1.Create, "", document))
			if !response.Allowed {
				t.Errorf("%s: %s", file, response.Result.Message)
			}
			if len(response.Warnings) > 0 {
				warned[file] += len(response.Warnings)
			}
		}
	}
	if diff := cmp.Diff(map[string]int{"runtimeclasses.yaml": 1}, warned); diff != "" {
		t.Errorf("unexpected warnings (-want +got):\n%s", diff)
	}
}

func TestOtherVersionsAreRefused(t *testing.T) {
	given := request(t, "Tenant", admissionv1.Create, "", "metadata: {name: oil}")
	given.Kind.Version = "v1beta1"
	for name, handler := range map[string]admission.HandlerFunc{"Validate": Validate, "Mutate": Mutate} {
		if response := handler(t.Context(), given); response.Allowed || response.Result.Code != http.StatusBadRequest {
			t.Errorf("%s: got allowed=%t, %v", name, response.Allowed, response.Result)
		}
	}
}

// FuzzValidate sends anything at all: a handler answers, and what it refuses is
// no obstacle once it is there.
func FuzzValidate(f *testing.F) {
	f.Add([]byte(`{"spec":{"storageClasses":{"allowedRegex":"("}}}`))
	f.Add([]byte(`{"spec":{"rules":[{"namespaceSelector":{"matchExpressions":[{"key":"a","operator":"Exists","values":["b"]}]}}]}}`))
	f.Fuzz(func(t *testing.T, object []byte) {
		if !json.Valid(object) {
			t.Skip()
		}
		given := request(t, "Tenant", admissionv1.Create, "", "")
		given.Object.Raw, given.OldObject.Raw = object, object
		response := Validate(t.Context(), given)
		if response.Result.Code == http.StatusBadRequest {
			return
		}
		given.Operation = admissionv1.Update
		if response := Validate(t.Context(), given); !response.Allowed {
			t.Fatalf("refused what is there: %v", response.Result)
		}
	})
}
