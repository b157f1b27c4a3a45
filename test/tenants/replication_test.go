// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// seldom is a resyncPeriod that no test waits for.
var seldom = &metav1.Duration{Duration: time.Hour}

// replicator is a service account with which objects are replicated.
const replicator = "replicator"

// createReplicated makes a tenant with an owner and namespaces, in the first of which
// a service account has a role in all of them.
func createReplicated(t *testing.T, name, role string, namespaces ...string) {
	t.Helper()
	createTenant(t, name, capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner(name + "-ann")}})
	for _, namespace := range namespaces {
		createNamespace(t, name+"-ann", namespace)
		bindReplicator(t, namespaces[0], namespace, role)
	}
}

// bindReplicator gives the service account of one namespace a role in another.
func bindReplicator(t *testing.T, home, namespace, role string) {
	t.Helper()
	require.NoError(t, admin(t).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "replicator-" + home},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: home, Name: replicator}},
	}))
}

func raw(t *testing.T, object any) runtime.RawExtension {
	t.Helper()
	data, err := json.Marshal(object)
	require.NoError(t, err)
	return runtime.RawExtension{Raw: data}
}

// configMapItem returns a ConfigMap as an item.
func configMapItem(t *testing.T, name string, data map[string]string) runtime.RawExtension {
	t.Helper()
	return raw(t, map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name}, "data": data,
	})
}

// tenantResource returns one that is resynced seldom and acts as the replicator.
func tenantResource(namespace, name string, resources ...capsulev1beta2.ReplicatedResources) *capsulev1beta2.TenantResource {
	return &capsulev1beta2.TenantResource{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: capsulev1beta2.TenantResourceSpec{
			ServiceAccount:  &capsulev1beta2.LocalServiceAccountReference{Name: replicator},
			ReplicationSpec: capsulev1beta2.ReplicationSpec{ResyncPeriod: seldom, Resources: resources},
		},
	}
}

func items(raw ...runtime.RawExtension) capsulev1beta2.ReplicatedResources {
	return capsulev1beta2.ReplicatedResources{RawItems: raw}
}

// awaitReplication waits until a subject says what is wanted of its present spec, and
// returns the message.
func awaitReplication(t *testing.T, object client.Object, status metav1.ConditionStatus, reason string) string {
	t.Helper()
	c, message := admin(t), ""
	await(t, fmt.Sprintf("condition of %T %s", object, object.GetName()), string(status)+" "+reason, func(ctx context.Context) (string, error) {
		if err := c.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return "", err
		}
		replication := statusOf(object)
		ready := meta.FindStatusCondition(replication.Conditions, capsulev1beta2.ReadyCondition)
		if ready == nil || ready.ObservedGeneration != object.GetGeneration() {
			return "not yet", nil
		}
		message = ready.Message
		return string(ready.Status) + " " + ready.Reason, nil
	})
	return message
}

func awaitReplicated(t *testing.T, object client.Object) {
	t.Helper()
	awaitReplication(t, object, metav1.ConditionTrue, capsulev1beta2.SucceededReason)
}

func statusOf(object client.Object) capsulev1beta2.ReplicationStatus {
	switch o := object.(type) {
	case *capsulev1beta2.TenantResource:
		return o.Status.ReplicationStatus
	case *capsulev1beta2.GlobalTenantResource:
		return o.Status.ReplicationStatus
	default:
		return capsulev1beta2.ReplicationStatus{}
	}
}

// processed returns what a status says of its objects.
func processed(object client.Object) []string {
	lines := []string{}
	for _, item := range statusOf(object).ProcessedItems {
		line := fmt.Sprintf("%s %s %s/%s %s", item.Tenant, item.Kind, item.Namespace, item.Name, item.Status.Status)
		if item.Status.Created {
			line += " created"
		}
		lines = append(lines, line)
	}
	return lines
}

// awaitConfigMap waits until a ConfigMap holds this; nil if it is not to be there.
func awaitConfigMap(t *testing.T, namespace, name string, want map[string]string) *corev1.ConfigMap {
	t.Helper()
	c, configMap := admin(t), &corev1.ConfigMap{}
	await(t, "ConfigMap "+namespace+"/"+name, want, func(ctx context.Context) (map[string]string, error) {
		configMap = &corev1.ConfigMap{}
		err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, configMap)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return configMap.Data, err
	})
	return configMap
}

// requestReconcile has a subject looked at now.
func requestReconcile(t *testing.T, object client.Object) {
	t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, capsulev1beta2.ReconcileAnnotation, time.Now().Format(time.RFC3339Nano))
	require.NoError(t, admin(t).Patch(t.Context(), object, client.RawPatch("application/merge-patch+json", []byte(patch))))
}

// change changes an object, as it is now.
func change[T client.Object](t *testing.T, object T, how func(T)) {
	t.Helper()
	c := admin(t)
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(object), object))
	before, ok := object.DeepCopyObject().(client.Object)
	require.True(t, ok)
	how(object)
	require.NoError(t, c.Patch(t.Context(), object, client.MergeFrom(before), client.FieldOwner("somebody")))
}

// TestReplicationInTenant follows the objects of a TenantResource that an owner wrote.
func TestReplicationInTenant(t *testing.T) {
	t.Parallel()
	createReplicated(t, "copied", "edit", "copied-1", "copied-2")
	ann, c := as(t, "copied-ann"), admin(t)
	require.NoError(t, ann.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "copied-1", Name: "pull", Labels: map[string]string{"share": "yes", "team": "a"}},
		StringData: map[string]string{"k": "v"},
	}))
	r := tenantResource("copied-1", "all", capsulev1beta2.ReplicatedResources{
		RawItems: []runtime.RawExtension{configMapItem(t, "raw", map[string]string{"of": "{{ tenant.name }}, {{namespace}}", "b": "2"})},
		NamespacedItems: []capsulev1beta2.ObjectSelector{{
			APIVersion: "v1", Kind: "Secret", Namespace: "copied-1", Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"share": "yes"}},
		}},
		Generators: []capsulev1beta2.ResourceGenerator{{Template: `
{{- range $.settings }}{{ range $key := keys .data }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: made-{{ $key }}, namespace: kube-system}
data: {in: {{ $.namespace.metadata.name | quote }}}
{{ end }}{{ end }}`}},
		Context: &capsulev1beta2.TemplateContext{Resources: []capsulev1beta2.ContextResource{{
			Index: "settings", ObjectSelector: capsulev1beta2.ObjectSelector{APIVersion: "v1", Kind: "ConfigMap", Name: "settings", Optional: new(false)},
		}}},
		AdditionalMetadata: &capsulev1beta2.AdditionalMetadata{Labels: map[string]string{"of": "{{tenant.name}}"}},
	})
	require.NoError(t, ann.Create(t.Context(), r))
	message := awaitReplication(t, r, metav1.ConditionFalse, "Failed")
	require.Contains(t, message, `there is no such ConfigMap in the namespace "copied-1"`)

	// What does not depend on it is there.
	raw := awaitConfigMap(t, "copied-2", "raw", map[string]string{"of": "copied, copied-2", "b": "2"})
	compare(t, "labels", map[string]string{"of": "copied", capsulev1beta2.ManagedByLabel: "replications", capsulev1beta2.CreatedByLabel: "replications"}, raw.Labels)
	require.NoError(t, ann.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "copied-1", Name: "settings"}, Data: map[string]string{"x": "1"},
	}))
	requestReconcile(t, r)
	awaitReplicated(t, r)
	compare(t, "processed items", []string{
		"copied ConfigMap copied-1/made-x True created", "copied ConfigMap copied-1/raw True created",
		"copied ConfigMap copied-2/made-x True created", "copied ConfigMap copied-2/raw True created", "copied Secret copied-2/pull True created",
	}, processed(r))
	compare(t, "service account", &capsulev1beta2.ProcessedServiceAccount{Namespace: "copied-1", Name: replicator}, r.Status.ServiceAccount)
	awaitConfigMap(t, "copied-2", "made-x", map[string]string{"in": "copied-2"})
	awaitConfigMap(t, metav1.NamespaceSystem, "made-x", nil)
	var secret corev1.Secret
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Namespace: "copied-2", Name: "pull"}, &secret))
	compare(t, "copy", map[string][]byte{"k": []byte("v")}, secret.Data)
	compare(t, "labels of the copy", map[string]string{
		"team": "a", "of": "copied", capsulev1beta2.ManagedByLabel: "replications", capsulev1beta2.CreatedByLabel: "replications",
	}, secret.Labels)

	// A namespace that comes is not waited for.
	createNamespace(t, "copied-ann", "copied-3")
	bindReplicator(t, "copied-1", "copied-3", "edit")
	requestReconcile(t, r)
	awaitConfigMap(t, "copied-3", "raw", map[string]string{"of": "copied, copied-3", "b": "2"})
	awaitReplicated(t, r)

	// Drift is put back: what is missing, and, if it is to be, what is different.
	require.NoError(t, c.Delete(t.Context(), raw))
	requestReconcile(t, r)
	want := map[string]string{"of": "copied, copied-2", "b": "2"}
	raw = awaitConfigMap(t, "copied-2", "raw", want)
	change(t, raw, func(m *corev1.ConfigMap) { delete(m.Data, "b") })
	requestReconcile(t, r)
	raw = awaitConfigMap(t, "copied-2", "raw", want)
	awaitReplicated(t, r)
	change(t, raw, func(m *corev1.ConfigMap) { m.Data["b"] = "3" })
	requestReconcile(t, r)
	message = awaitReplication(t, r, metav1.ConditionFalse, "Failed")
	require.Contains(t, message, `ConfigMap copied-2/raw (resources[0].rawItems[0])`)
	require.Contains(t, message, `conflict with "somebody"`)
	require.Contains(t, message, `set spec.settings.force`)
	change(t, r, func(r *capsulev1beta2.TenantResource) {
		r.Spec.Settings = &capsulev1beta2.ReplicationSettings{Force: true}
	})
	awaitConfigMap(t, "copied-2", "raw", want)
	awaitReplicated(t, r)

	// What leaves the spec goes, and so does what was for a namespace that leaves.
	change(t, r, func(r *capsulev1beta2.TenantResource) {
		r.Spec.Resources[0].Generators = nil
		r.Spec.Resources[0].NamespaceSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: []string{"copied-3"}},
		}}
	})
	awaitConfigMap(t, "copied-2", "made-x", nil)
	awaitConfigMap(t, "copied-3", "raw", nil)
	awaitReplicated(t, r)
	compare(t, "processed items", []string{
		"copied ConfigMap copied-1/raw True created", "copied ConfigMap copied-2/raw True created", "copied Secret copied-2/pull True created",
	}, processed(r))

	require.NoError(t, ann.Delete(t.Context(), r))
	awaitGone(t, r)
	awaitConfigMap(t, "copied-2", "raw", nil)
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Namespace: "copied-1", Name: "pull"}, &secret), "the source stays")
	require.True(t, apierrors.IsNotFound(c.Get(t.Context(), client.ObjectKey{Namespace: "copied-2", Name: "pull"}, &secret)), "the copy goes")
}

// TestReplicationActsAsServiceAccount holds that nothing is written with other rights
// than those of the service account, and what is said when they do not suffice.
func TestReplicationActsAsServiceAccount(t *testing.T) {
	t.Parallel()
	createReplicated(t, "acting", "view", "acting-1", "acting-2")
	ann := as(t, "acting-ann")
	r := tenantResource("acting-1", "all", items(configMapItem(t, "x", map[string]string{"a": "1"})))
	require.NoError(t, ann.Create(t.Context(), r))
	message := awaitReplication(t, r, metav1.ConditionFalse, "Failed")
	require.Contains(t, message, "ConfigMap acting-1/x (resources[0].rawItems[0])")
	require.Contains(t, message, `User "system:serviceaccount:acting-1:replicator" cannot patch resource "configmaps"`)
	require.Contains(t, message, "give the service account acting-1/replicator that right")
	awaitConfigMap(t, "acting-1", "x", nil)

	change(t, r, func(r *capsulev1beta2.TenantResource) { r.Spec.ServiceAccount = nil })
	message = awaitReplication(t, r, metav1.ConditionFalse, "NoServiceAccount")
	require.Contains(t, message, "set spec.serviceAccount.name")
	change(t, r, func(r *capsulev1beta2.TenantResource) {
		r.Spec.ServiceAccount = &capsulev1beta2.LocalServiceAccountReference{Name: "default:kube-system"}
	})
	message = awaitReplication(t, r, metav1.ConditionFalse, "NoServiceAccount")
	require.Contains(t, message, "no service account is called")
	// Nothing has been made that a service account would have to delete.
	require.NoError(t, ann.Delete(t.Context(), r))
	awaitGone(t, r)
}

// TestReplicationStaysInTenant tries to reach what is not the tenant's with a service
// account that could.
func TestReplicationStaysInTenant(t *testing.T) {
	t.Parallel()
	createReplicated(t, "inside", "edit", "inside-1", "inside-2")
	createReplicated(t, "outside", "edit", "outside-1")
	createFree(t, "nobodys")
	ann, c := as(t, "inside-ann"), admin(t)
	// It may do anything.
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "tests:inside"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "inside-1", Name: replicator}},
	}
	require.NoError(t, c.Create(t.Context(), binding))
	t.Cleanup(func() { require.NoError(t, c.Delete(context.WithoutCancel(t.Context()), binding)) })
	for _, namespace := range []string{"outside-1", "nobodys"} {
		require.NoError(t, c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "theirs"}, Data: map[string]string{"k": namespace}}))
	}
	named := func(namespace string) runtime.RawExtension {
		return raw(t, map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "x", "namespace": namespace}, "data": map[string]string{"a": "1"}})
	}
	for name, test := range map[string]struct {
		resources capsulev1beta2.ReplicatedResources
		want      string
	}{
		"copies-of-another-tenant": {
			resources: capsulev1beta2.ReplicatedResources{NamespacedItems: []capsulev1beta2.ObjectSelector{{APIVersion: "v1", Kind: "ConfigMap", Namespace: "outside-1", Name: "theirs"}}},
			want:      "resources[0].namespacedItems[0]: namespace: outside-1 is not a namespace of the tenant inside",
		},
		"context-of-no-tenant": {
			resources: capsulev1beta2.ReplicatedResources{
				Generators: []capsulev1beta2.ResourceGenerator{{Template: "{{ range .x }}{{ end }}"}},
				Context: &capsulev1beta2.TemplateContext{Resources: []capsulev1beta2.ContextResource{{
					Index: "x", ObjectSelector: capsulev1beta2.ObjectSelector{APIVersion: "v1", Kind: "ConfigMap", Namespace: "nobodys", Name: "theirs"},
				}}},
			},
			want: "namespace: nobodys is not a namespace of the tenant inside",
		},
		"cluster-scoped": {
			resources: items(raw(t, map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": map[string]any{"name": "inside-x"}})),
			want:      "resources[0].rawItems[0]: ClusterRole inside-x: objects of this kind are in no namespace",
		},
		"cluster-scoped-made": {
			resources: capsulev1beta2.ReplicatedResources{Generators: []capsulev1beta2.ResourceGenerator{{Template: `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"inside-x"}}`}}},
			want:      "resources[0].generators[0]: Namespace inside-x: objects of this kind are in no namespace",
		},
	} {
		r := tenantResource("inside-1", name, test.resources)
		require.NoError(t, ann.Create(t.Context(), r))
		require.Contains(t, awaitReplication(t, r, metav1.ConditionFalse, "Failed"), test.want)
		compare(t, "processed items of "+name, []string{}, processed(r))
		require.NoError(t, ann.Delete(t.Context(), r))
	}
	r := tenantResource("inside-1", "named", items(named("outside-1")))
	require.NoError(t, ann.Create(t.Context(), r))
	awaitReplicated(t, r)
	compare(t, "processed items", []string{"inside ConfigMap inside-1/x True created", "inside ConfigMap inside-2/x True created"}, processed(r))
	awaitConfigMap(t, "outside-1", "x", nil)
	require.NoError(t, ann.Delete(t.Context(), r))
	awaitGone(t, r)

	requireForbidden(t, ann.Create(t.Context(), tenantResource("outside-1", "x")))
	lost := tenantResource("nobodys", "x", items(named("nobodys")))
	require.NoError(t, c.Create(t.Context(), lost))
	require.Contains(t, awaitReplication(t, lost, metav1.ConditionFalse, "NoTenant"), "the namespace nobodys belongs to no tenant")
	awaitConfigMap(t, "nobodys", "x", nil)
}

// TestReplicationLeavesForeignObjects holds that what others made is not touched
// unless it is to be adopted, and is given back then.
func TestReplicationLeavesForeignObjects(t *testing.T) {
	t.Parallel()
	createReplicated(t, "foreign", "edit", "foreign-1")
	ann, c := as(t, "foreign-ann"), admin(t)
	theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "foreign-1", Name: "x"}, Data: map[string]string{"theirs": "1"}}
	require.NoError(t, ann.Create(t.Context(), theirs))
	r := tenantResource("foreign-1", "all", items(
		configMapItem(t, "x", map[string]string{"ours": "1"}), configMapItem(t, "y", map[string]string{"ours": "1"})))
	require.NoError(t, ann.Create(t.Context(), r))
	require.Contains(t, awaitReplication(t, r, metav1.ConditionFalse, "Failed"),
		"ConfigMap foreign-1/x (resources[0].rawItems[0]): somebody else made it: delete it, or set spec.settings.adopt")
	compare(t, "processed items", []string{"foreign ConfigMap foreign-1/x False", "foreign ConfigMap foreign-1/y True created"}, processed(r))
	version := theirs.ResourceVersion
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(theirs), theirs))
	compare(t, "version", version, theirs.ResourceVersion)

	change(t, r, func(r *capsulev1beta2.TenantResource) {
		r.Spec.Settings = &capsulev1beta2.ReplicationSettings{Adopt: true}
	})
	awaitReplicated(t, r)
	compare(t, "processed items", []string{"foreign ConfigMap foreign-1/x True", "foreign ConfigMap foreign-1/y True created"}, processed(r))
	adopted := awaitConfigMap(t, "foreign-1", "x", map[string]string{"theirs": "1", "ours": "1"})
	compare(t, "labels", map[string]string{capsulev1beta2.ManagedByLabel: "replications"}, adopted.Labels)

	// Two that want the same conflict, visibly.
	second := tenantResource("foreign-1", "second", items(configMapItem(t, "y", map[string]string{"ours": "2"})))
	second.Spec.Settings = &capsulev1beta2.ReplicationSettings{Adopt: true}
	require.NoError(t, ann.Create(t.Context(), second))
	require.Contains(t, awaitReplication(t, second, metav1.ConditionFalse, "Failed"), `conflict with "tr/foreign-1/all/`)
	require.NoError(t, ann.Delete(t.Context(), second))
	awaitGone(t, second)
	awaitConfigMap(t, "foreign-1", "y", map[string]string{"ours": "1"})

	require.NoError(t, ann.Delete(t.Context(), r))
	awaitGone(t, r)
	adopted = awaitConfigMap(t, "foreign-1", "x", map[string]string{"theirs": "1"})
	require.Empty(t, adopted.Labels)
	awaitConfigMap(t, "foreign-1", "y", nil)

	// Without pruning it stays, and is nobody's.
	kept := tenantResource("foreign-1", "kept", items(configMapItem(t, "z", map[string]string{"ours": "1"})))
	kept.Spec.PruningOnDelete = new(false)
	require.NoError(t, ann.Create(t.Context(), kept))
	awaitReplicated(t, kept)
	require.NoError(t, ann.Delete(t.Context(), kept))
	awaitGone(t, kept)
	left := awaitConfigMap(t, "foreign-1", "z", map[string]string{"ours": "1"})
	require.Empty(t, left.Labels)
	for _, entry := range left.ManagedFields {
		require.NotContains(t, entry.Manager, "tr/foreign-1/kept")
	}
}

// TestReplicationOfAllTenants follows the objects of GlobalTenantResources.
func TestReplicationOfAllTenants(t *testing.T) {
	t.Parallel()
	createFree(t, "replicas")
	c := admin(t)
	for _, name := range []string{"spread-a", "spread-b"} {
		createReplicated(t, name, "edit", name+"-1")
		bindReplicator(t, "replicas", name+"-1", "edit")
		change(t, &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name}}, func(tenant *capsulev1beta2.Tenant) {
			metav1.SetMetaDataLabel(&tenant.ObjectMeta, "spread", name)
		})
	}
	bindReplicator(t, "replicas", "replicas", "edit")
	require.NoError(t, c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "replicas", Name: "ca"}, Data: map[string]string{"ca.crt": "x"}}))
	g := &capsulev1beta2.GlobalTenantResource{
		ObjectMeta: metav1.ObjectMeta{Name: "spread"},
		Spec: capsulev1beta2.GlobalTenantResourceSpec{
			ServiceAccount: &capsulev1beta2.ServiceAccountReference{Namespace: "replicas", Name: replicator},
			TenantSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"spread": "spread-a"}},
			ReplicationSpec: capsulev1beta2.ReplicationSpec{ResyncPeriod: seldom, Resources: []capsulev1beta2.ReplicatedResources{{
				NamespacedItems: []capsulev1beta2.ObjectSelector{{APIVersion: "v1", Kind: "ConfigMap", Namespace: "replicas", Name: "ca"}},
			}}},
		},
	}
	require.NoError(t, c.Create(t.Context(), g))
	awaitReplicated(t, g)
	compare(t, "tenants", []string{"spread-a"}, g.Status.SelectedTenants)
	compare(t, "processed items", []string{"spread-a ConfigMap spread-a-1/ca True created"}, processed(g))

	// A Tenant's label is not waited for, nor is a namespace.
	change(t, &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "spread-b"}}, func(tenant *capsulev1beta2.Tenant) {
		metav1.SetMetaDataLabel(&tenant.ObjectMeta, "spread", "spread-a")
	})
	awaitConfigMap(t, "spread-b-1", "ca", map[string]string{"ca.crt": "x"})
	change(t, &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "spread-a"}}, func(tenant *capsulev1beta2.Tenant) {
		metav1.SetMetaDataLabel(&tenant.ObjectMeta, "spread", "no")
	})
	awaitConfigMap(t, "spread-a-1", "ca", nil)

	once := &capsulev1beta2.GlobalTenantResource{
		ObjectMeta: metav1.ObjectMeta{Name: "spread-once"},
		Spec: capsulev1beta2.GlobalTenantResourceSpec{
			ServiceAccount: g.Spec.ServiceAccount, Scope: capsulev1beta2.ReplicationScopeTenant,
			TenantSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"spread": "spread-a"}},
			ReplicationSpec: capsulev1beta2.ReplicationSpec{
				ResyncPeriod: seldom, DependsOn: []capsulev1beta2.ReplicationDependency{{Name: "spread"}},
				Resources: []capsulev1beta2.ReplicatedResources{items(raw(t, map[string]any{
					"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "of-{{tenant.name}}", "namespace": "replicas"},
				}))},
			},
		},
	}
	require.NoError(t, c.Create(t.Context(), once))
	awaitReplicated(t, once)
	compare(t, "processed items", []string{"spread-b ConfigMap replicas/of-spread-b True created"}, processed(once))
	for _, object := range []client.Object{once, g} {
		require.NoError(t, c.Delete(t.Context(), object))
		awaitGone(t, object)
	}
	awaitConfigMap(t, "spread-b-1", "ca", nil)
}

// TestReplicasOfAllTenantsAreGuarded has the owner of a tenant, who is admin in its
// namespaces, try to change what a GlobalTenantResource put there.
func TestReplicasOfAllTenantsAreGuarded(t *testing.T) {
	t.Parallel()
	createReplicated(t, "guarded", "edit", "guarded-1", "guarded-2")
	c, ann := admin(t), as(t, "guarded-ann")
	for _, home := range []string{"guards", "guards-too"} {
		createFree(t, home)
		for _, namespace := range []string{"guarded-1", "guarded-2"} {
			bindReplicator(t, home, namespace, "edit")
		}
	}
	change(t, &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "guarded"}}, func(tenant *capsulev1beta2.Tenant) {
		metav1.SetMetaDataLabel(&tenant.ObjectMeta, "guarded", "yes")
	})
	g := &capsulev1beta2.GlobalTenantResource{
		ObjectMeta: metav1.ObjectMeta{Name: "guarded"},
		Spec: capsulev1beta2.GlobalTenantResourceSpec{
			ServiceAccount: &capsulev1beta2.ServiceAccountReference{Namespace: "guards", Name: replicator},
			TenantSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"guarded": "yes"}},
			ReplicationSpec: capsulev1beta2.ReplicationSpec{ResyncPeriod: seldom, Resources: []capsulev1beta2.ReplicatedResources{
				items(configMapItem(t, "x", map[string]string{"k": "1"})),
			}},
		},
	}
	require.NoError(t, c.Create(t.Context(), g))
	awaitReplicated(t, g)
	const (
		refusal = `this is what a GlobalTenantResource puts into the namespaces of tenant "guarded", or has its label: ask a cluster administrator`
		label   = "tenancy.capsule.io/replicated-by"
	)
	replica := awaitConfigMap(t, "guarded-1", "x", map[string]string{"k": "1"})
	compare(t, "labels", map[string]string{
		capsulev1beta2.ManagedByLabel: "replications", capsulev1beta2.CreatedByLabel: "replications", label: "GlobalTenantResource",
	}, replica.Labels)

	// The service account itself is nobody special, if it is not used for this.
	for _, who := range []client.Client{ann, as(t, "system:serviceaccount:guards:replicator")} {
		edited := replica.DeepCopy()
		edited.Data = map[string]string{"k": "2"}
		requireForbidden(t, who.Update(t.Context(), edited), refusal)
		edited = replica.DeepCopy()
		edited.Labels = nil
		requireForbidden(t, who.Update(t.Context(), edited), refusal)
		requireForbidden(t, who.Delete(t.Context(), replica), refusal)
	}
	requireForbidden(t, ann.DeleteAllOf(t.Context(), &corev1.ConfigMap{}, client.InNamespace("guarded-1"), client.MatchingLabels{label: "GlobalTenantResource"}), refusal)
	requireForbidden(t, ann.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: "guarded-1", Name: "mine", Labels: map[string]string{label: "GlobalTenantResource"},
	}}), refusal)

	// A TenantResource is the tenant's, whatever it asks for, and so is what it makes.
	r := tenantResource("guarded-1", "takes", items(
		configMapItem(t, "x", map[string]string{"k": "2"}), configMapItem(t, "mine", map[string]string{"k": "1"})))
	r.Spec.Settings = &capsulev1beta2.ReplicationSettings{Adopt: true, Force: true}
	require.NoError(t, ann.Create(t.Context(), r))
	require.Contains(t, awaitReplication(t, r, metav1.ConditionFalse, "Failed"), refusal)
	mine := awaitConfigMap(t, "guarded-1", "mine", map[string]string{"k": "1"})
	mine.Data = map[string]string{"k": "2"}
	require.NoError(t, ann.Update(t.Context(), mine))
	require.NoError(t, ann.Delete(t.Context(), r))
	awaitGone(t, r)

	// An administrator may change it; another service account takes over, and puts it
	// back.
	awaitConfigMap(t, "guarded-1", "x", map[string]string{"k": "1"})
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(replica), replica))
	replica.Data = map[string]string{"k": "3"}
	require.NoError(t, c.Update(t.Context(), replica))
	change(t, g, func(g *capsulev1beta2.GlobalTenantResource) {
		g.Spec.ServiceAccount.Namespace = "guards-too"
		g.Spec.Settings = &capsulev1beta2.ReplicationSettings{Force: true}
		g.Spec.Resources[0].RawItems[0] = configMapItem(t, "x", map[string]string{"k": "4"})
	})
	awaitReplicated(t, g)
	awaitConfigMap(t, "guarded-1", "x", map[string]string{"k": "4"})

	// Neither the end of a namespace nor that of the GlobalTenantResource is held up.
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "guarded-2"}}
	require.NoError(t, ann.Delete(t.Context(), namespace))
	awaitGone(t, namespace)
	require.NoError(t, c.Delete(t.Context(), g))
	awaitGone(t, g)
	awaitConfigMap(t, "guarded-1", "x", nil)
}

// TestDeletedWithoutServiceAccount deletes a tenant that has a TenantResource for which
// nobody names a service account any more.
func TestDeletedWithoutServiceAccount(t *testing.T) {
	t.Parallel()
	createReplicated(t, "orphaned", "edit", "orphaned-1", "orphaned-2")
	ann, c := as(t, "orphaned-ann"), admin(t)
	r := tenantResource("orphaned-1", "all", items(configMapItem(t, "x", map[string]string{"k": "1"})))
	other := tenantResource("orphaned-2", "other", items(configMapItem(t, "y", map[string]string{"k": "1"})))
	bindReplicator(t, "orphaned-2", "orphaned-1", "edit")
	bindReplicator(t, "orphaned-2", "orphaned-2", "edit")
	for _, r := range []*capsulev1beta2.TenantResource{r, other} {
		require.NoError(t, ann.Create(t.Context(), r))
		awaitReplicated(t, r)
		change(t, r, func(r *capsulev1beta2.TenantResource) { r.Spec.ServiceAccount = nil })
		awaitReplication(t, r, metav1.ConditionFalse, "NoServiceAccount")
	}
	// One of them while its namespaces live.
	require.NoError(t, ann.Delete(t.Context(), r))
	awaitGone(t, r)
	awaitConfigMap(t, "orphaned-2", "x", nil)
	require.NoError(t, c.Delete(t.Context(), &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "orphaned"}}))
	for _, name := range []string{"orphaned-1", "orphaned-2"} {
		awaitGone(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
}

// TestReplicationSettles holds that nothing is written while nothing changes, however
// often it is looked at, and by whom.
func TestReplicationSettles(t *testing.T) {
	createReplicated(t, "settled", "edit", "settled-1", "settled-2")
	r := tenantResource("settled-1", "all", items(configMapItem(t, "x", map[string]string{"a": "1"})))
	require.NoError(t, admin(t).Create(t.Context(), r))
	awaitReplicated(t, r)
	count := func() (looks, writes int) {
		t.Helper()
		events, err := requests()
		require.NoError(t, err)
		for _, e := range events {
			switch {
			case !strings.HasPrefix(e.ObjectRef.Namespace, "settled-") || e.ObjectRef.Resource != "configmaps" && e.ObjectRef.Resource != "tenantresources":
			case e.Verb == "get" && e.ImpersonatedUser != nil:
				looks++
			case e.Verb != "get" && e.Verb != "list" && e.Verb != "watch":
				writes++
			}
		}
		return looks, writes
	}
	// Finalizer, announcement, two objects, status.
	_, before := count()
	require.Equal(t, 5, before)
	for round := range 3 {
		looksBefore, _ := count()
		requestReconcile(t, r)
		await(t, fmt.Sprintf("look %d", round), true, func(context.Context) (bool, error) {
			looks, _ := count()
			return looks >= looksBefore+2, nil
		})
	}
	_, after := count()
	compare(t, "writes", before, after)

	// Another process knows nothing of this, and changes nothing.
	versions := func() (versions []string) {
		t.Helper()
		c := admin(t)
		for _, object := range []client.Object{
			r, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "settled-1", Name: "x"}},
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "settled-2", Name: "x"}},
		} {
			require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(object), object))
			versions = append(versions, object.GetResourceVersion())
		}
		return versions
	}
	requestReconcile(t, r)
	want := versions()
	require.NoError(t, system.Controller.Stop())
	looksBefore, _ := count()
	require.NoError(t, system.Controller.Start(t.Context()))
	await(t, "requests after the start", true, func(context.Context) (bool, error) {
		looks, applied := count()
		// Two looks, and two that apply.
		return looks >= looksBefore+2 && applied >= after+2, nil
	})
	requestReconcile(t, r)
	want[0] = r.ResourceVersion // its annotation
	await(t, "look after the start", true, func(context.Context) (bool, error) {
		looks, _ := count()
		return looks >= looksBefore+4, nil
	})
	compare(t, "versions", want, versions())
}

// TestApplyWithoutVersionOnlyMakes holds what replication relies on: what is applied
// with this resourceVersion is made, or refused, even by force.
func TestApplyWithoutVersionOnlyMakes(t *testing.T) {
	t.Parallel()
	createFree(t, "made-once")
	c := admin(t)
	for _, kind := range []string{"v1 ConfigMap", "capsule.clastix.io/v1beta2 TenantResource"} {
		apiVersion, kind, _ := strings.Cut(kind, " ")
		for i, label := range []string{"first", "second"} {
			object := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{
				"namespace": "made-once", "name": "x", "resourceVersion": "1", "labels": map[string]any{"by": label},
			}}}
			object.SetAPIVersion(apiVersion)
			object.SetKind(kind)
			err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(label), client.ForceOwnership)
			if i == 0 {
				require.NoError(t, err)
				continue
			}
			require.True(t, apierrors.IsConflict(err), "%s: want a conflict, got: %v", kind, err)
			require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(object), object))
			compare(t, "label", "first", object.GetLabels()["by"])
		}
	}
}
