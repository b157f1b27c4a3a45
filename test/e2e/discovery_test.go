// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"net/http"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/discovery"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
)

// TestDiscovery holds what clients learn of the group, through the aggregated
// discovery document of the API server.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	client, err := discovery.NewDiscoveryClientForConfig(system.Config(t, "nobody-special"))
	require.NoError(t, err)
	_, lists, err := client.ServerGroupsAndResources()
	require.NoError(t, err)
	var got []metav1.APIResource
	for _, list := range lists {
		if list.GroupVersion == v1alpha1.SchemeGroupVersion.String() {
			got = list.APIResources
		}
	}
	want := []metav1.APIResource{{
		Name: "tenantnamespaces", SingularName: "tenantnamespace", Kind: "TenantNamespace",
		ShortNames: []string{"tns"}, Categories: []string{"tenancy"},
		Verbs: metav1.Verbs{"get", "list", "watch"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestClusterOpenAPI holds that the API server's merged document names each
// GroupVersionKind once, and no definition twice, with ours among them. What is not
// ours and differs between the releases that the two servers are built from, as the
// comment of RawExtension does, cannot but be kept twice.
func TestClusterOpenAPI(t *testing.T) {
	t.Parallel()
	got := ask(t, system.AdminConfig(t), http.MethodGet, "/openapi/v2", "application/json", "")
	require.Equal(t, http.StatusOK, got.Code)
	var document struct {
		Definitions map[string]struct {
			Kinds []metav1.GroupVersionKind `json:"x-kubernetes-group-version-kind"`
		} `json:"definitions"`
	}
	require.NoError(t, json.Unmarshal(got.Body, &document))
	definitions := map[metav1.GroupVersionKind]string{}
	for name, definition := range document.Definitions {
		if regexp.MustCompile(`_v\d+$`).MatchString(name) {
			require.Regexp(t, `^io\.k8s\.apimachinery\.pkg\.(runtime\.RawExtension|apis\.meta\.v1\.WatchEvent)_v2$`, name, "a definition that differs between servers is kept twice")
			require.Empty(t, definition.Kinds, name)
		}
		for _, kind := range definition.Kinds {
			require.NotContains(t, definitions, kind, "%s and %s", name, definitions[kind])
			definitions[kind] = name
		}
	}
	require.Contains(t, definitions, metav1.GroupVersionKind{Group: v1alpha1.GroupName, Version: "v1alpha1", Kind: "TenantNamespace"})
	require.Contains(t, definitions, metav1.GroupVersionKind{Group: v1alpha1.GroupName, Version: "v1alpha1", Kind: "TenantNamespaceList"})
}

// TestApplyOfNativeKinds holds that server-side apply, which builds its types from
// the merged document, is unharmed.
func TestApplyOfNativeKinds(t *testing.T) {
	t.Parallel()
	client := system.Admin(t)
	namespace := applycorev1.Namespace("apply-native").WithLabels(map[string]string{"a": "b"})
	_, err := client.CoreV1().Namespaces().Apply(t.Context(), namespace, metav1.ApplyOptions{FieldManager: "one"})
	require.NoError(t, err)
	_, err = client.CoreV1().Namespaces().Apply(t.Context(), namespace.WithLabels(map[string]string{"a": "c"}), metav1.ApplyOptions{FieldManager: "two"})
	require.True(t, apierrors.IsConflict(err), "%v", err)
	configMap := applycorev1.ConfigMap("apply-native", metav1.NamespaceDefault).WithData(map[string]string{"a": "b"})
	applied, err := client.CoreV1().ConfigMaps(metav1.NamespaceDefault).Apply(t.Context(), configMap, metav1.ApplyOptions{FieldManager: "one"})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "b"}, applied.Data)
}

// TestDirectAccess asks the server itself, past the API server.
func TestDirectAccess(t *testing.T) {
	t.Parallel()
	direct := system.DirectConfig(t)
	for target, want := range map[string]int{
		"/livez": http.StatusOK, "/readyz": http.StatusOK, "/healthz": http.StatusOK,
		"/metrics": http.StatusUnauthorized, "/openapi/v2": http.StatusUnauthorized, "/debug/pprof/": http.StatusUnauthorized,
		viewPath: http.StatusUnauthorized, viewPath + "/default": http.StatusUnauthorized, "/": http.StatusUnauthorized,
	} {
		require.Equal(t, want, ask(t, direct, http.MethodGet, target, "", "").Code, target)
	}

	// Headers of a front proxy count for nothing without its certificate.
	forged := system.DirectConfig(t)
	forged.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			req = req.Clone(req.Context())
			req.Header.Set("X-Remote-User", "admin")
			req.Header.Set("X-Remote-Group", "system:masters")
			return next.RoundTrip(req)
		})
	})
	require.Equal(t, http.StatusUnauthorized, ask(t, forged, http.MethodGet, viewPath, "", "").Code)

	// A user's own certificate is good here, too, for what the user may get; an
	// administrator reads the metrics.
	alice := system.DirectConfigOf(t, "direct-alice")
	require.Equal(t, http.StatusOK, ask(t, alice, http.MethodGet, viewPath, "", "").Code)
	require.Equal(t, http.StatusForbidden, ask(t, alice, http.MethodGet, "/metrics", "", "").Code)
	metrics := ask(t, system.DirectConfigOf(t, "root", "system:masters"), http.MethodGet, "/metrics", "", "")
	require.Equal(t, http.StatusOK, metrics.Code)
	for _, name := range []string{
		`tenancy_apiserver_view_objects{resource="tenantnamespaces"}`,
		`tenancy_apiserver_feed_lag_seconds{resource="rolebindings"}`,
		`tenancy_apiserver_list_duration_seconds_count{resource="tenantnamespaces"}`,
		`tenancy_apiserver_access_update_duration_seconds_count`,
	} {
		require.Contains(t, string(metrics.Body), name)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// createNamespace makes a namespace for the time of a test.
func createNamespace(t *testing.T, namespace *corev1.Namespace) {
	t.Helper()
	system.CreateNamespace(t, namespace)
}

// eventuallyVisible waits until the view holds the namespace.
func eventuallyVisible(t *testing.T, name string) {
	t.Helper()
	config := system.AdminConfig(t)
	require.Eventually(t, func() bool {
		return ask(t, config, http.MethodGet, viewPath+"/"+name, "", "").Code == http.StatusOK
	}, eventually, tick, "%s did not appear in the view", name)
}
