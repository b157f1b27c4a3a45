// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package deployment

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"tenancy.capsule.io/test/framework/controlplane"
)

// build returns what the rendered kustomization of a host holds, by kind and name.
func build(t testing.TB, h Host) map[string]*unstructured.Unstructured {
	t.Helper()
	kubectl, err := controlplane.FindBinary("", "kubectl")
	require.NoError(t, err)
	repo, err := controlplane.RepoRoot()
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, render(dir, filepath.Join(repo, "artifacts"), h))
	data, err := exec.CommandContext(t.Context(), kubectl, "kustomize", dir).Output()
	require.NoError(t, err)
	built := map[string]*unstructured.Unstructured{}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 1024)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return built
		}
		require.NoError(t, err)
		built[object.GetKind()+" "+object.GetName()] = object
	}
}

func TestRenderWithoutController(t *testing.T) {
	built := build(t, Host{CA: []byte("a CA"), ServerPort: 6443})
	spec := built["APIService "+APIServiceName].Object["spec"].(map[string]any)
	assert.Equal(t, base64.StdEncoding.EncodeToString([]byte("a CA")), spec["caBundle"])
	assert.EqualValues(t, 6443, spec["service"].(map[string]any)["port"])
	assert.Contains(t, built, "ClusterRole "+ProxyName, "the proxy serves callers with certificates without a controller, too")
	for name, object := range built {
		assert.NotContains(t, name, ControllerName)
		assert.NotContains(t, object.GetKind(), "Webhook")
		assert.NotEqual(t, "CustomResourceDefinition", object.GetKind(), "whoever wants Tenants defines them")
	}
}

func TestRenderWithController(t *testing.T) {
	built := build(t, Host{CA: []byte("a CA"), ServerPort: 6443, WebhookPort: 9443})
	spec := built["APIService "+APIServiceName].Object["spec"].(map[string]any)
	assert.NotContains(t, spec, "caBundle", "the controller writes it")
	assert.EqualValues(t, 6443, spec["service"].(map[string]any)["port"])
	for _, kind := range []string{"ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"} {
		webhooks, _, err := unstructured.NestedSlice(built[kind+" "+ControllerName].Object, "webhooks")
		require.NoError(t, err)
		require.NotEmpty(t, webhooks)
		for _, webhook := range webhooks {
			port, found, err := unstructured.NestedFieldNoCopy(webhook.(map[string]any), "clientConfig", "service", "port")
			require.NoError(t, err)
			require.True(t, found)
			assert.EqualValues(t, 9443, port, kind)
		}
	}
	port, _, err := unstructured.NestedFieldNoCopy(built["CustomResourceDefinition "+tenantsDefinition].Object,
		"spec", "conversion", "webhook", "clientConfig", "service", "port")
	require.NoError(t, err)
	assert.EqualValues(t, 9443, port)
}
