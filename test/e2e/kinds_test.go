// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	"tenancy.capsule.io/test/framework"
)

// kind is a view kind beside its native one.
type kind struct {
	view, native         schema.GroupVersionResource
	viewKind, nativeKind string
	// singular and short are the names that kubectl takes.
	singular, short string
	// content is what an object needs beside its metadata.
	content map[string]any
	// fields are those that field selectors may name, beside metadata.name.
	fields []string
	// custom says that the native kind is a custom resource.
	custom bool
}

func view(resource string) schema.GroupVersionResource {
	return v1alpha1.SchemeGroupVersion.WithResource(resource)
}

// kinds returns every kind.
func kinds() []kind {
	return []kind{
		{
			view: view("tenantnamespaces"), viewKind: "TenantNamespace", singular: "tenantnamespace", short: "tns",
			native: schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}, nativeKind: "Namespace",
			fields: []string{"status.phase"},
		}, {
			view: view("tenantnodes"), viewKind: "TenantNode", singular: "tenantnode", short: "tno",
			native: schema.GroupVersionResource{Version: "v1", Resource: "nodes"}, nativeKind: "Node",
			fields: []string{"spec.unschedulable"},
		}, {
			view: view("tenantpersistentvolumes"), viewKind: "TenantPersistentVolume", singular: "tenantpersistentvolume", short: "tpv",
			native: schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumes"}, nativeKind: "PersistentVolume",
			content: map[string]any{"spec": map[string]any{
				"accessModes": []any{"ReadWriteOnce"}, "capacity": map[string]any{"storage": "10Gi"},
				"hostPath": map[string]any{"path": "/mnt/data"}, "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "manual",
			}},
		}, {
			view: view("tenantstorageclasses"), viewKind: "TenantStorageClass", singular: "tenantstorageclass", short: "tsc",
			native: schema.GroupVersionResource{Group: "storage.k8s.io", Version: "v1", Resource: "storageclasses"}, nativeKind: "StorageClass",
			content: map[string]any{"provisioner": "example.com/provisioner"},
		}, {
			view: view("tenantingressclasses"), viewKind: "TenantIngressClass", singular: "tenantingressclass", short: "tic",
			native: schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "ingressclasses"}, nativeKind: "IngressClass",
			content: map[string]any{"spec": map[string]any{"controller": "example.com/controller"}},
		}, {
			view: view("tenantpriorityclasses"), viewKind: "TenantPriorityClass", singular: "tenantpriorityclass", short: "tpc",
			native: schema.GroupVersionResource{Group: "scheduling.k8s.io", Version: "v1", Resource: "priorityclasses"}, nativeKind: "PriorityClass",
			content: map[string]any{"value": int64(7)},
		}, {
			view: view("tenantruntimeclasses"), viewKind: "TenantRuntimeClass", singular: "tenantruntimeclass", short: "trc",
			native: schema.GroupVersionResource{Group: "node.k8s.io", Version: "v1", Resource: "runtimeclasses"}, nativeKind: "RuntimeClass",
			content: map[string]any{"handler": "runc"},
		}, {
			view: view("mytenants"), viewKind: "MyTenant", singular: "mytenant", short: "mt",
			native: framework.Tenants, nativeKind: "Tenant", custom: true,
			content: map[string]any{"spec": map[string]any{"owners": []any{map[string]any{"kind": "User", "name": "alice"}}}},
		},
	}
}

// kindOf returns the kind of a native resource.
func kindOf(t *testing.T, native string) kind {
	t.Helper()
	all := kinds()
	i := slices.IndexFunc(all, func(k kind) bool { return k.native.Resource == native })
	require.GreaterOrEqual(t, i, 0, native)
	return all[i]
}

func (k kind) String() string { return k.native.Resource }

func (k kind) viewPath() string   { return pathOf(k.view) }
func (k kind) nativePath() string { return pathOf(k.native) }

func pathOf(r schema.GroupVersionResource) string {
	if r.Group == "" {
		return "/api/" + r.Version + "/" + r.Resource
	}
	return "/apis/" + r.Group + "/" + r.Version + "/" + r.Resource
}

// forEveryKind runs a test for each kind.
func forEveryKind(t *testing.T, test func(*testing.T, kind)) {
	t.Helper()
	for _, k := range kinds() {
		t.Run(k.String(), func(t *testing.T) { test(t, k) })
	}
}

// client returns the administrator's client of the native resource.
func (k kind) client(t *testing.T) dynamic.ResourceInterface {
	t.Helper()
	client, err := dynamic.NewForConfig(system.AdminConfig(t))
	require.NoError(t, err)
	return client.Resource(k.native)
}

// object returns a native object that can be created.
func (k kind) object(name string, labels map[string]string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: runtime.DeepCopyJSON(k.content)}
	if object.Object == nil {
		object.Object = map[string]any{}
	}
	object.SetGroupVersionKind(k.native.GroupVersion().WithKind(k.nativeKind))
	object.SetName(name)
	object.SetLabels(labels)
	return object
}

// create makes a native object for the time of a test and returns it as stored.
func (k kind) create(t *testing.T, object *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	client := k.client(t)
	created, err := client.Create(t.Context(), object, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		err := client.Delete(context.WithoutCancel(t.Context()), object.GetName(), metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("delete %s %s: %v", k, object.GetName(), err)
		}
	})
	return created
}

// await waits until the view holds the object as it is.
func (k kind) await(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	config := system.AdminConfig(t)
	require.Eventually(t, func() bool {
		got := ask(t, config, http.MethodGet, k.viewPath()+"/"+object.GetName()+query("resourceVersion", object.GetResourceVersion()), "", "")
		return got.Code == http.StatusOK
	}, eventually, tick, "%s %s did not appear in the view", k, object.GetName())
}
