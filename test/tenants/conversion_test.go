// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"context"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta1 "tenancy.capsule.io/apis/capsule/v1beta1"
	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/test/framework"
)

// modern has what v1beta1 has no field for, beside what it has.
const modern = `
owners:
- kind: User
  name: convert-ann
  clusterRoles: [edit, capsule-namespace-deleter]
  labels: {team: a}
  annotations: {note: b}
  proxySettings: [{kind: RuntimeClasses, operations: [List]}, {kind: Tenant, operations: [List]}]
- kind: Group
  name: convert-team
permissions: {allowOwnerPromotion: false, matchOwners: [{matchLabels: {team: a}}]}
rules:
- namespaceSelector: {matchLabels: {env: prod}}
  enforce: {action: allow, workloads: {schedulers: [{exact: [mine]}]}}
data: {any: [{json: 1.5}, null, true]}
namespaceOptions:
  quota: 7
  additionalMetadata: {labels: {a: b}}
  additionalMetadataList: [{namespaceSelector: {matchLabels: {c: d}}, labels: {e: "{{ tenant.name }}"}}]
  forbiddenLabels: {denied: [f], deniedRegex: g.*}
  requiredMetadata: {labels: {env: prod|dev}}
  managedMetadataOnly: false
storageClasses: {default: fast, allowed: [slow], matchLabels: {tier: gold}}
priorityClasses: {allowedRegex: batch.*, matchExpressions: [{key: a, operator: In, values: [b]}]}
runtimeClasses: {allowed: [gvisor]}
gatewayOptions: {allowedClasses: {allowed: [public]}}
deviceClasses: {allowed: [gpu]}
ingressOptions: {hostnameCollisionScope: Tenant, allowWildcardHostnames: true, allowedClasses: {default: public, allowed: [public]}}
podOptions: {additionalMetadata: {labels: {h: i}}}
nodeSelector: {pool: convert}
cordoned: true
preventDeletion: true
forceTenantPrefix: false
`

// TestOldVersionKeepsTheNew has clients of v1beta1, who know nothing of v1beta2,
// write what they read.
func TestOldVersionKeepsTheNew(t *testing.T) {
	t.Parallel()
	old := schema.GroupVersionResource{Group: framework.Tenants.Group, Version: "v1beta1", Resource: "tenants"}
	tenants, err := dynamic.NewForConfig(system.Config(t, clusterAdmin))
	require.NoError(t, err)
	kubectl := system.Kubectl(t, clusterAdmin)
	created, err := tenants.Resource(framework.Tenants).Create(t.Context(), parse(t,
		"apiVersion: capsule.clastix.io/v1beta2\nkind: Tenant\nmetadata: {name: convert, annotations: {mine: kept}}\nspec:"+strings.ReplaceAll(modern, "\n", "\n  ")), metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := tenants.Resource(framework.Tenants).Patch(context.WithoutCancel(t.Context()), "convert", "application/merge-patch+json", []byte(`{"spec":{"preventDeletion":false}}`), metav1.PatchOptions{})
		require.NoError(t, err)
		system.DeleteTenant(t, "convert")
	})
	spec := func(object *unstructured.Unstructured) map[string]any {
		t.Helper()
		spec, found, err := unstructured.NestedMap(object.Object, "spec")
		require.NoError(t, err)
		require.True(t, found)
		return spec
	}
	want := spec(created)
	require.Contains(t, want, "deviceClasses")
	// holds that v1beta2 says what it should.
	holds := func(what string) {
		t.Helper()
		is, err := tenants.Resource(framework.Tenants).Get(t.Context(), "convert", metav1.GetOptions{})
		require.NoError(t, err)
		compare(t, what, want, spec(is))
		annotations := maps.Clone(is.GetAnnotations())
		delete(annotations, "kubectl.kubernetes.io/last-applied-configuration")
		compare(t, what+": annotations", map[string]string{"mine": "kept"}, annotations)
	}
	read := func() *unstructured.Unstructured {
		t.Helper()
		is, err := tenants.Resource(old).Get(t.Context(), "convert", metav1.GetOptions{})
		require.NoError(t, err)
		return is
	}
	write := func(object *unstructured.Unstructured) {
		t.Helper()
		// The controller writes the status meanwhile.
		object.SetResourceVersion("")
		object.SetResourceVersion(read().GetResourceVersion())
		await(t, "update", true, func(ctx context.Context) (bool, error) {
			_, err := tenants.Resource(old).Update(ctx, object, metav1.UpdateOptions{})
			if err != nil {
				object.SetResourceVersion(read().GetResourceVersion())
			}
			return err == nil, err
		})
	}

	seen := read()
	require.Equal(t, "capsule.clastix.io/v1beta1", seen.GetAPIVersion())
	require.NotContains(t, spec(seen), "deviceClasses")
	require.Equal(t, "true", seen.GetAnnotations()["capsule.clastix.io/cordon"])
	require.Contains(t, seen.GetAnnotations(), "capsule.clastix.io/protected")
	require.Equal(t, "edit,capsule-namespace-deleter", seen.GetAnnotations()["clusterrolenames.capsule.clastix.io/0"])
	write(seen)
	holds("written as read")

	seen = read()
	require.NoError(t, unstructured.SetNestedField(seen.Object, int64(9), "spec", "namespaceOptions", "quota"))
	require.NoError(t, unstructured.SetNestedStringMap(seen.Object, map[string]string{"pool": "other"}, "spec", "nodeSelector"))
	write(seen)
	require.NoError(t, unstructured.SetNestedField(want, int64(9), "namespaceOptions", "quota"))
	require.NoError(t, unstructured.SetNestedStringMap(want, map[string]string{"pool": "other"}, "nodeSelector"))
	holds("changed by an update")

	kubectl.Output(t, "patch", "tenants.v1beta1.capsule.clastix.io", "convert", "--type=merge", "-p", `{"spec":{"storageClasses":{"allowed":["slow","slower"]}}}`)
	require.NoError(t, unstructured.SetNestedStringSlice(want, []string{"slow", "slower"}, "storageClasses", "allowed"))
	holds("changed by a patch")

	kubectl.Output(t, "label", "tenants.v1beta1.capsule.clastix.io", "convert", "labelled=true")
	holds("labelled")
	kubectl.Output(t, "annotate", "tenants.v1beta1.capsule.clastix.io", "convert", "capsule.clastix.io/cordon=false", "--overwrite")
	want["cordoned"] = false
	holds("uncordoned by the annotation")

	// Server-side apply of a manifest that has only what v1beta1 knows.
	kubectl.Output(t, "apply", "--server-side", "--force-conflicts", "-f", writeFile(t, `
apiVersion: capsule.clastix.io/v1beta1
kind: Tenant
metadata: {name: convert}
spec: {owners: [{kind: User, name: convert-ann}, {kind: Group, name: convert-team}], nodeSelector: {pool: third}}`))
	require.NoError(t, unstructured.SetNestedStringMap(want, map[string]string{"pool": "third"}, "nodeSelector"))
	holds("applied on the server's side")

	// An owner less, whose place another one takes: the roles stay with their owner.
	seen = read()
	owners, _, err := unstructured.NestedSlice(seen.Object, "spec", "owners")
	require.NoError(t, err)
	require.NoError(t, unstructured.SetNestedSlice(seen.Object, append(owners[1:], owners[0]), "spec", "owners"))
	annotations := seen.GetAnnotations()
	annotations["clusterrolenames.capsule.clastix.io/1"] = annotations["clusterrolenames.capsule.clastix.io/0"]
	delete(annotations, "clusterrolenames.capsule.clastix.io/0")
	seen.SetAnnotations(annotations)
	write(seen)
	owners, _, err = unstructured.NestedSlice(want, "owners")
	require.NoError(t, err)
	require.NoError(t, unstructured.SetNestedSlice(want, append(owners[1:], owners[0]), "owners"))
	holds("owners in another order")
}

// TestOldVersionIsServed reads and watches Tenants as v1beta1, and makes one.
func TestOldVersionIsServed(t *testing.T) {
	t.Parallel()
	const name = "served"
	kubectl, c := system.Kubectl(t, clusterAdmin), admin(t)
	t.Cleanup(func() { system.DeleteTenant(t, name) })
	require.Equal(t, "tenant.capsule.clastix.io/served created\n", kubectl.Output(t, "apply", "-f", writeFile(t, `
apiVersion: capsule.clastix.io/v1beta1
kind: Tenant
metadata: {name: served, annotations: {clusterrolenames.capsule.clastix.io/user.served-ann: "view,capsule-namespace-deleter"}}
spec: {owners: [{kind: User, name: served-ann}], namespaceOptions: {quota: 3}, nodeSelector: {pool: served}}`)))
	awaitTable(t, kubectl, [][]string{
		{"NAME", "STATE", "NAMESPACE QUOTA", "NAMESPACE COUNT", "NODE SELECTOR"}, {name, "Active", "3", "0", `{"pool":"served"}`},
	}, "get", "tenants.v1beta1.capsule.clastix.io", name)
	is := &capsulev1beta2.Tenant{}
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Name: name}, is))
	require.Len(t, is.Spec.Owners, 1)
	compare(t, "roles by the annotation", []string{"view", "capsule-namespace-deleter"}, is.Spec.Owners[0].ClusterRoles)
	compare(t, "quota", 3, int(*is.Spec.NamespaceOptions.Quota))
	system.AwaitKnown(t, is)
	require.NoError(t, as(t, "served-ann").Create(t.Context(), newNamespace("served-1")))
	awaitBindings(t, "served-1", "ClusterRole capsule-namespace-deleter: User /served-ann", "ClusterRole view: User /served-ann")
	await(t, "status as v1beta1", capsulev1beta1.TenantStatus{State: "Active", Size: 1, Namespaces: []string{"served-1"}}, func(ctx context.Context) (capsulev1beta1.TenantStatus, error) {
		var as capsulev1beta1.Tenant
		err := c.Get(ctx, client.ObjectKey{Name: name}, &as)
		return as.Status, err
	})
	// Lists convert several at once.
	var list capsulev1beta1.TenantList
	require.NoError(t, c.List(t.Context(), &list))
	require.NotEmpty(t, list.Items)
	require.NotContains(t, kubectl.Output(t, "get", "tenants.v1beta1.capsule.clastix.io"), "Error")

	config := system.AdminConfig(t)
	definitions, err := dynamic.NewForConfig(config)
	require.NoError(t, err)
	definition, err := definitions.Resource(apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")).Get(t.Context(), "tenants.capsule.clastix.io", metav1.GetOptions{})
	require.NoError(t, err)
	stored, _, err := unstructured.NestedStringSlice(definition.Object, "status", "storedVersions")
	require.NoError(t, err)
	compare(t, "versions in etcd", []string{"v1beta2"}, stored)
}

// TestProxySettingsInBothVersions are the same object.
func TestProxySettingsInBothVersions(t *testing.T) {
	t.Parallel()
	createTenant(t, "twice", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("twice-ann", lists(capsulev1beta2.NodesProxy)...)}})
	createNamespace(t, "twice-ann", "twice-1")
	ann := system.Kubectl(t, "twice-ann", users)
	awaitCan(t, ann, "create", "proxysettings", "--namespace=twice-1")
	ann.Output(t, "apply", "-f", writeFile(t, `
apiVersion: capsule.clastix.io/v1beta2
kind: ProxySetting
metadata: {name: share, namespace: twice-1}
spec: {subjects: [{kind: User, name: twice-ben, proxySettings: [{kind: Nodes, operations: [List]}, {kind: StorageClasses, operations: [List]}]}]}`))
	for _, version := range []string{"v1beta1", "v1beta2"} {
		resource := "proxysettings." + version + ".capsule.clastix.io"
		await(t, "status as "+version, "False Refused twice-ben StorageClasses List", func(context.Context) (string, error) {
			return ann.Output(t, "get", resource, "share", "--namespace=twice-1", "-o",
				`jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].reason} {.status.refused[*].subject.name} {.status.refused[*].kind} {.status.refused[*].operation}`), nil
		})
	}
	// One with clusterResources is refused at once: those are not an owner's to give.
	stderr := requireRefused(t, ann, "clusterResources", "patch", "proxysetting", "share", "--namespace=twice-1", "--type=json", "-p",
		`[{"op":"add","path":"/spec/subjects/0/clusterResources","value":[{"apiGroups":[""],"resources":["nodes"],"selector":{"matchLabels":{"a":"b"}}}]}]`)
	require.Contains(t, stderr, "GlobalProxySettings")
}
