// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
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
	var want []metav1.APIResource
	for _, k := range kinds() {
		want = append(want, metav1.APIResource{
			Name: k.view.Resource, SingularName: k.singular, Kind: k.viewKind,
			ShortNames: []string{k.short}, Categories: []string{"tenancy"},
			Verbs: metav1.Verbs{"get", "list", "watch"},
		})
	}
	byName := func(a, b metav1.APIResource) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(want, byName)
	slices.SortFunc(got, byName)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestClusterOpenAPI holds that the API server's merged document names each
// GroupVersionKind once, with ours among them. What is not ours and differs between
// the releases that the two servers are built from, if only in a comment, cannot
// but be kept twice: ours alone may refer to the copy.
func TestClusterOpenAPI(t *testing.T) {
	t.Parallel()
	got := ask(t, system.AdminConfig(t), http.MethodGet, "/openapi/v2", "application/json", "")
	require.Equal(t, http.StatusOK, got.Code)
	var document struct {
		Definitions map[string]json.RawMessage `json:"definitions"`
	}
	require.NoError(t, json.Unmarshal(got.Body, &document))
	definitions := map[metav1.GroupVersionKind]string{}
	isCopy := regexp.MustCompile(`_v\d+$`).MatchString
	reference := regexp.MustCompile(`"#/definitions/([^"]+)"`)
	var copies []string
	for name, data := range document.Definitions {
		var definition struct {
			Kinds []metav1.GroupVersionKind `json:"x-kubernetes-group-version-kind"`
		}
		require.NoError(t, json.Unmarshal(data, &definition))
		for _, kind := range definition.Kinds {
			require.NotContains(t, definitions, kind, "%s and %s", name, definitions[kind])
			definitions[kind] = name
		}
		if isCopy(name) {
			copies = append(copies, name)
			require.Regexp(t, `^io\.k8s\.`, name)
			require.Empty(t, definition.Kinds, name)
			continue
		}
		if strings.HasPrefix(name, "io.capsule.tenancy.") {
			continue
		}
		for _, match := range reference.FindAllSubmatch(data, -1) {
			require.False(t, isCopy(string(match[1])), "%s refers to %s", name, match[1])
		}
	}
	slices.Sort(copies)
	t.Logf("%d definitions, of which kept twice: %q", len(document.Definitions), copies)
	for _, k := range kinds() {
		for _, kind := range []string{k.viewKind, k.viewKind + "List"} {
			require.Contains(t, definitions, metav1.GroupVersionKind{Group: v1alpha1.GroupName, Version: "v1alpha1", Kind: kind})
		}
		if !k.custom {
			require.Contains(t, definitions, metav1.GroupVersionKind{Group: k.native.Group, Version: k.native.Version, Kind: k.nativeKind})
		}
	}
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
	forEveryKind(t, func(t *testing.T, k kind) {
		const name = "apply-native-kind"
		client := k.client(t)
		// A label goes that its manager applies no more; the other's stays.
		k.create(t, k.object(name, map[string]string{"a": "b"}))
		object := k.object(name, map[string]string{"c": "d"})
		_, err := client.Apply(t.Context(), name, object, metav1.ApplyOptions{FieldManager: "one", Force: true})
		require.NoError(t, err)
		object.SetLabels(nil)
		applied, err := client.Apply(t.Context(), name, object, metav1.ApplyOptions{FieldManager: "one"})
		require.NoError(t, err)
		require.Contains(t, applied.GetLabels(), "a")
		require.NotContains(t, applied.GetLabels(), "c")
		if k.native.Resource == "nodes" {
			applyNode(t, name)
		}
	})
}

// applyNode holds that conditions are merged by their type, and that fields of the
// spec have owners.
func applyNode(t *testing.T, name string) {
	t.Helper()
	nodes := system.Admin(t).CoreV1().Nodes()
	for manager, condition := range map[string]corev1.NodeConditionType{"one": corev1.NodeReady, "two": corev1.NodeMemoryPressure} {
		status := applycorev1.NodeStatus().WithConditions(applycorev1.NodeCondition().WithType(condition).WithStatus(corev1.ConditionTrue))
		_, err := nodes.ApplyStatus(t.Context(), applycorev1.Node(name).WithStatus(status), metav1.ApplyOptions{FieldManager: manager})
		require.NoError(t, err)
	}
	applied, err := nodes.Apply(t.Context(), applycorev1.Node(name).WithSpec(applycorev1.NodeSpec().WithProviderID("example://a")), metav1.ApplyOptions{FieldManager: "one"})
	require.NoError(t, err)
	require.Len(t, applied.Status.Conditions, 2)
	_, err = nodes.Apply(t.Context(), applycorev1.Node(name).WithSpec(applycorev1.NodeSpec().WithProviderID("example://b")), metav1.ApplyOptions{FieldManager: "two"})
	require.True(t, apierrors.IsConflict(err), "%v", err)
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
