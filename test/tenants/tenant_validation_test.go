// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/test/framework"
)

// parse returns an object that is written as YAML.
func parse(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	require.NoError(t, yaml.Unmarshal([]byte(text), &object.Object))
	return object
}

// TestBadTenants sends what cannot be meant, as either version, to create it and to
// change a good one into it. Each is refused with a 422 that names the field.
func TestBadTenants(t *testing.T) {
	t.Parallel()
	const bob = "owners: [{kind: User, name: bob}]"
	tests := map[string]struct {
		// name is another than the default one.
		name, spec string
		// fields are what is wrong.
		fields []string
		says   string
		// only says that v1beta1 has no such field, or does not judge it.
		only bool
	}{
		"name with a dot":       {name: "bad.name", fields: []string{"metadata"}, says: "letter or digit at both ends"},
		"name too long":         {name: strings.Repeat("a", 64), fields: []string{"metadata"}, says: "at most 63"},
		"owner of no kind":      {spec: "owners: [{name: bob}]", fields: []string{"spec.owners[0].kind"}},
		"owner of another kind": {spec: "owners: [{kind: Robot, name: bob}]", fields: []string{"spec.owners[0].kind"}, says: "Unsupported value"},
		"owner without name":    {spec: "owners: [{kind: User}]", fields: []string{"spec.owners[0].name"}},
		"owner twice":           {spec: "owners: [{kind: User, name: bob}, {kind: User, name: bob}]", fields: []string{"spec.owners[1]"}, says: "Duplicate"},
		"service account of no namespace": {
			spec: "owners: [{kind: ServiceAccount, name: robot}]", fields: []string{"spec.owners[0].name"}, says: "system:serviceaccount:NAMESPACE:NAME",
		},
		"cluster role that is no name": {spec: "owners: [{kind: User, name: bob, clusterRoles: [a/b]}]", fields: []string{"spec.owners[0].clusterRoles[0]"}, says: "may not contain '/'", only: true},
		"operation unknown":            {spec: "owners: [{kind: User, name: bob, proxySettings: [{kind: Nodes, operations: [Watch]}]}]", fields: []string{"spec.owners[0].proxySettings[0].operations[0]"}, says: "Unsupported value"},
		"kind unknown":                 {spec: "owners: [{kind: User, name: bob, proxySettings: [{kind: Pods, operations: [List]}]}]", fields: []string{"spec.owners[0].proxySettings[0].kind"}, says: "Unsupported value"},
		"quota of nothing":             {spec: bob + "\nnamespaceOptions: {quota: 0}", fields: []string{"spec.namespaceOptions.quota"}, says: "greater than or equal to 1"},
		"regex of storage classes":     {spec: bob + "\nstorageClasses: {allowedRegex: '('}", fields: []string{"spec.storageClasses.allowedRegex"}, says: "missing closing )"},
		"regex of priority classes":    {spec: bob + "\npriorityClasses: {allowedRegex: '['}", fields: []string{"spec.priorityClasses.allowedRegex"}, says: "missing closing ]"},
		"regex of runtime classes":     {spec: bob + "\nruntimeClasses: {allowedRegex: '*'}", fields: []string{"spec.runtimeClasses.allowedRegex"}, says: "missing argument to repetition", only: true},
		"regex of ingress classes":     {spec: bob + "\ningressOptions: {allowedClasses: {allowedRegex: '('}}", fields: []string{"spec.ingressOptions.allowedClasses.allowedRegex"}, says: "missing closing )"},
		"regex of hostnames":           {spec: bob + "\ningressOptions: {allowedHostnames: {allowedRegex: '('}}", fields: []string{"spec.ingressOptions.allowedHostnames.allowedRegex"}, says: "missing closing )"},
		"hostname":                     {spec: bob + "\ningressOptions: {allowedHostnames: {allowed: [a.example.com, A_b]}}", fields: []string{"spec.ingressOptions.allowedHostnames.allowed[1]"}, says: "RFC 1123"},
		"scope of hostnames":           {spec: bob + "\ningressOptions: {hostnameCollisionScope: Universe}", fields: []string{"spec.ingressOptions.hostnameCollisionScope"}, says: "Unsupported value"},
		"selector of classes":          {spec: bob + "\nruntimeClasses: {matchExpressions: [{key: a, operator: In}]}", fields: []string{"spec.runtimeClasses"}, says: "values set can't be empty", only: true},
		"operator of a selector":       {spec: bob + "\nruntimeClasses: {matchExpressions: [{key: a, operator: Is, values: [b]}]}", fields: []string{"spec.runtimeClasses"}, says: "Is", only: true},
		"node selector":                {spec: bob + "\nnodeSelector: {a b: c}", fields: []string{"spec.nodeSelector"}, says: "name part must consist of"},
		"value of a node selector":     {spec: bob + "\nnodeSelector: {a: b c}", fields: []string{"spec.nodeSelector"}, says: "a valid label"},
		"external IP":                  {spec: bob + "\nserviceOptions: {externalIPs: {allowed: [10.0.0.0/33]}}", fields: []string{"spec.serviceOptions.externalIPs.allowed[0]"}, says: "10.0.0.0/33"},
		"registries":                   {spec: bob + "\ncontainerRegistries: {allowedRegex: '('}", fields: []string{"spec.containerRegistries.allowedRegex"}, says: "missing closing )"},
		"pull policy":                  {spec: bob + "\nimagePullPolicies: [Sometimes]", fields: []string{"spec.imagePullPolicies[0]"}, says: "Unsupported value"},
		"binding of nobody":            {spec: bob + "\nadditionalRoleBindings: [{clusterRoleName: view, subjects: []}]", fields: []string{"spec.additionalRoleBindings[0].subjects"}, says: "at least 1"},
		"binding of a nameless role":   {spec: bob + "\nadditionalRoleBindings: [{subjects: [{kind: User, name: bob}]}]", fields: []string{"spec.additionalRoleBindings[0].clusterRoleName"}},
		"binding of a strange kind":    {spec: bob + "\nadditionalRoleBindings: [{clusterRoleName: view, subjects: [{kind: Robot, name: bob}]}]", fields: []string{"spec.additionalRoleBindings[0].subjects[0].kind"}, says: "Unsupported value"},
		"binding without a namespace":  {spec: bob + "\nadditionalRoleBindings: [{clusterRoleName: view, subjects: [{kind: ServiceAccount, name: bob}]}]", fields: []string{"spec.additionalRoleBindings[0].subjects[0].namespace"}, says: "service account"},
		"metadata for namespaces":      {spec: bob + "\nnamespaceOptions: {additionalMetadata: {labels: {a: b c}}}", fields: []string{"spec.namespaceOptions.additionalMetadata.labels"}, says: "a valid label"},
		"forbidden labels":             {spec: bob + "\nnamespaceOptions: {forbiddenLabels: {deniedRegex: '('}}", fields: []string{"spec.namespaceOptions.forbiddenLabels.deniedRegex"}, says: "missing closing )", only: true},
		"required metadata":            {spec: bob + "\nnamespaceOptions: {requiredMetadata: {labels: {env: '('}}}", fields: []string{"spec.namespaceOptions.requiredMetadata.labels[env]"}, says: "missing closing )", only: true},
		"scope of quotas":              {spec: bob + "\nresourceQuotas: {scope: Cluster}", fields: []string{"spec.resourceQuotas.scope"}, says: "Unsupported value"},
		"selector of owners":           {spec: bob + "\npermissions: {matchOwners: [{matchExpressions: [{key: a, operator: In}]}]}", fields: []string{"spec.permissions.matchOwners[0]"}, says: "values set can't be empty", only: true},
		"selector of a rule":           {spec: bob + "\nrules: [{namespaceSelector: {matchLabels: {a b: c}}}]", fields: []string{"spec.rules[0].namespaceSelector"}, says: "name part must consist of", only: true},
		"everything at once": {
			spec:   bob + "\nstorageClasses: {allowedRegex: '('}\npriorityClasses: {allowedRegex: '('}\nnodeSelector: {a b: c}",
			fields: []string{"spec.nodeSelector", "spec.priorityClasses.allowedRegex", "spec.storageClasses.allowedRegex"}, says: "missing closing )",
		},
	}
	client, err := dynamic.NewForConfig(system.Config(t, clusterAdmin))
	require.NoError(t, err)
	createTenant(t, "validated", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("bob")}})
	refused := func(t *testing.T, err error, fields []string, says string) {
		t.Helper()
		var status apierrors.APIStatus
		require.ErrorAs(t, err, &status, "it has to be refused")
		require.Equal(t, int32(http.StatusUnprocessableEntity), status.Status().Code, err)
		require.NotNil(t, status.Status().Details, err)
		var got []string
		for _, cause := range status.Status().Details.Causes {
			if !strings.Contains(cause.Message, "some validation rules were not checked") {
				got = append(got, cause.Field)
			}
		}
		slices.Sort(got)
		compare(t, "fields of: "+err.Error(), fields, slices.Compact(got))
		require.ErrorContains(t, err, says)
	}
	for name, test := range tests {
		for _, version := range []string{"v1beta2", "v1beta1"} {
			if test.only && version == "v1beta1" {
				continue
			}
			t.Run(name+"/"+version, func(t *testing.T) {
				resource := framework.Tenants
				resource.Version = version
				object := parse(t, "spec: {owners: []}")
				if test.spec != "" {
					object = parse(t, "spec:\n  "+strings.ReplaceAll(test.spec, "\n", "\n  "))
				}
				object.SetAPIVersion(resource.GroupVersion().String())
				object.SetKind("Tenant")
				object.SetName("validated-bad")
				if test.name != "" {
					object.SetName(test.name)
				}
				_, err := client.Resource(resource).Create(t.Context(), object, metav1.CreateOptions{})
				if err == nil {
					t.Cleanup(func() {
						_ = client.Resource(resource).Delete(context.WithoutCancel(t.Context()), object.GetName(), metav1.DeleteOptions{})
					})
				}
				refused(t, err, test.fields, test.says)
				if test.name != "" {
					return
				}
				object.SetName("validated")
				data, err := object.MarshalJSON()
				require.NoError(t, err)
				_, err = client.Resource(resource).Patch(t.Context(), "validated", "application/merge-patch+json", data, metav1.PatchOptions{})
				refused(t, err, test.fields, test.says)
			})
		}
	}
	// What kubectl says is what the user reads.
	kubectl := system.Kubectl(t, clusterAdmin)
	stderr := requireRefused(t, kubectl, "missing closing )", "patch", "tenant", "validated", "--type=merge", "-p", `{"spec":{"storageClasses":{"allowedRegex":"("}}}`)
	require.Contains(t, stderr, `The Tenant "validated" is invalid: spec.storageClasses.allowedRegex: Invalid value: "(":`)
}

// TestBadConfigurations is the same for the CapsuleConfiguration.
func TestBadConfigurations(t *testing.T) {
	t.Parallel()
	client, err := dynamic.NewForConfig(system.Config(t, clusterAdmin))
	require.NoError(t, err)
	for name, test := range map[string]struct{ spec, field string }{
		"regex":                 {"{protectedNamespaceRegex: '('}", "spec.protectedNamespaceRegex"},
		"role that is no name":  {"{rbac: {provisioner: a/b}}", "spec.rbac.provisioner"},
		"user of no known kind": {"{users: [{kind: Robot, name: a}]}", "spec.users[0].kind"},
	} {
		t.Run(name, func(t *testing.T) {
			object := parse(t, "{apiVersion: capsule.clastix.io/v1beta2, kind: CapsuleConfiguration, metadata: {name: validated-bad}, spec: "+test.spec+"}")
			_, err := client.Resource(capsulev1beta2.SchemeGroupVersion.WithResource("capsuleconfigurations")).Create(t.Context(), object, metav1.CreateOptions{})
			var status apierrors.APIStatus
			require.True(t, errors.As(err, &status) && apierrors.IsInvalid(err), "got %v", err)
			require.NotEmpty(t, status.Status().Details.Causes, err)
			compare(t, "field", test.field, status.Status().Details.Causes[0].Field)
		})
	}
}
