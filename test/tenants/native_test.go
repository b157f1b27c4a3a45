// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// get returns the answer to a GET without any other credential than the token given.
func get(t testing.TB, url, token string) (code int, contentType string, body []byte) {
	t.Helper()
	client, err := rest.HTTPClientFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: system.ControlPlane.CACert()}})
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header.Get("Content-Type"), body
}

// requireStatus holds that a body is a Status that says no.
func requireStatus(t testing.TB, code int, body []byte) {
	t.Helper()
	var status metav1.Status
	require.NoError(t, json.Unmarshal(body, &status), "%s", body)
	require.Equal(t, "Status", status.Kind)
	require.Equal(t, metav1.StatusFailure, status.Status)
	require.EqualValues(t, code, status.Code)
}

// TestPlainProxy has tools ask by plain HTTP.
func TestPlainProxy(t *testing.T) {
	plain, err := system.AddPlainProxy(t.Context(), "bin/race/tenancy-proxy", "plain-proxy")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, plain.Stop()) })
	createTenant(t, "plain", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("plain-owner")}})
	createNamespace(t, "plain-owner", "plain-one")
	config := system.TokenConfig(t, "plain-owner", users)
	list := plain.URL() + "/api/v1/namespaces"

	await(t, "namespaces by plain HTTP", []string{"plain-one"}, func(context.Context) ([]string, error) {
		code, _, body := get(t, list, config.BearerToken)
		var namespaces corev1.NamespaceList
		require.Equal(t, http.StatusOK, code, "%s", body)
		require.NoError(t, json.Unmarshal(body, &namespaces))
		require.Equal(t, "NamespaceList", namespaces.Kind)
		var names []string
		for i := range namespaces.Items {
			names = append(names, namespaces.Items[i].Name)
		}
		return names, nil
	})
	for _, token := range []string{"", "nonsense"} {
		code, contentType, body := get(t, list, token)
		require.Equal(t, http.StatusUnauthorized, code)
		require.Equal(t, "application/json", contentType)
		requireStatus(t, code, body)
	}
}

// TestProxyWithoutCredential has anybody look who is there.
func TestProxyWithoutCredential(t *testing.T) {
	code, contentType, body := get(t, proxy.URL()+"/", "")
	require.Equal(t, http.StatusForbidden, code)
	require.Equal(t, "application/json", contentType)
	requireStatus(t, code, body)
	code, _, body = get(t, proxy.URL()+"/_healthz", "")
	require.Equal(t, http.StatusOK, code, "%s", body)
}

// TestProxyRefusesAdministrators has somebody come with a certificate that the proxy must
// not take the place of.
func TestProxyRefusesAdministrators(t *testing.T) {
	// Of a refused discovery kubectl says no reasons.
	const raw = "--raw=/api/v1/namespaces"
	requireRefused(t, proxy.Kubectl(t, "root", "system:masters"), "client certificates of", "get", raw)
	requireRefused(t, proxy.Kubectl(t, "system:node:a", "system:nodes"), "client certificates of", "get", raw)
	stderr := requireRefused(t, proxy.Kubectl(t, "mallory", "a-group-that-nobody-listed"), forbidden, "get", raw)
	require.Contains(t, stderr, `"a-group-that-nobody-listed"`, "it says which group the proxy may not take")
}

// TestProxyImpersonation has somebody who comes with a certificate act as another user, as far
// as RBAC lets him and the proxy may.
func TestProxyImpersonation(t *testing.T) {
	createTenant(t, "masked", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("masked-owner")}})
	createNamespace(t, "masked-owner", "masked-one")
	c := admin(t)
	meta := metav1.ObjectMeta{Name: "tests:impersonator"}
	for _, object := range []client.Object{
		&rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"users"}, Verbs: []string{"impersonate"}, ResourceNames: []string{"masked-owner"}},
			{APIGroups: []string{""}, Resources: []string{"groups"}, Verbs: []string{"impersonate"}, ResourceNames: []string{users}},
			{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, Verbs: []string{"impersonate"}, ResourceNames: []string{"default"}},
		}},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: meta,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "impersonator"}},
		},
	} {
		require.NoError(t, c.Create(t.Context(), object))
		t.Cleanup(func() { require.NoError(t, c.Delete(context.WithoutCancel(t.Context()), object)) })
	}
	kubectl := proxy.Kubectl(t, "impersonator")
	for _, as := range [][]string{{"--as=masked-owner"}, {"--as=masked-owner", "--as-group=" + users}} {
		// That he may is not known everywhere at once.
		await(t, "namespaces "+strings.Join(as, " "), "namespace/masked-one\n", func(context.Context) (string, error) {
			stdout, _, err := kubectl.Run(t, append([]string{"get", "namespaces", "--output=name"}, as...)...)
			return stdout, err
		})
	}
	const raw = "--raw=/api/v1/namespaces"
	requireRefused(t, kubectl, `User "impersonator" cannot impersonate`, "get", raw, "--as=somebody-else")
	requireRefused(t, kubectl, `User "impersonator" cannot impersonate`, "get", raw, "--as=masked-owner", "--as-group=system:masters")
	stderr := requireRefused(t, kubectl, `cannot impersonate resource "serviceaccounts"`, "get", raw, "--as=system:serviceaccount:masked-one:default")
	require.Contains(t, stderr, `User "system:serviceaccount:tenancy-system:tenancy-proxy"`, "it is the proxy that may not")
}

// TestProxyMetrics has what people's dashboards ask for be counted.
func TestProxyMetrics(t *testing.T) {
	read := func() string {
		code, _, body := get(t, proxy.MetricsURL(), "")
		require.Equal(t, http.StatusOK, code)
		return string(body)
	}
	kubectl := proxy.TokenKubectl(t, "nobody-at-all", users)
	kubectl.Output(t, "get", "ns")
	metrics := read()
	for _, want := range []string{
		"# HELP capsule_proxy_requests_total Number of requests\n", "# TYPE capsule_proxy_requests_total counter\n",
		"# TYPE capsule_proxy_response_time_seconds histogram\n", "\ngo_goroutines ", "\nprocess_resident_memory_bytes ", "\nrest_client_requests_total{",
		"# TYPE tenancy_proxy_open_streams gauge\n",
	} {
		require.Contains(t, metrics, want)
	}
	for _, le := range []string{"0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"} {
		require.Contains(t, metrics, `capsule_proxy_response_time_seconds_bucket{path="/api/v1/namespaces",le="`+le+`"}`)
	}
	before := counted(t, metrics, "/api/v1/namespaces", "200")
	kubectl.Output(t, "get", "ns")
	require.Greater(t, counted(t, read(), "/api/v1/namespaces", "200"), before)

	names := regexp.MustCompile(`path="[^"]*nobody-has-this[^"]*"`)
	for _, name := range []string{"nobody-has-this-1", "nobody-has-this-2"} {
		requireRefused(t, kubectl, "NotFound", "get", "ns", name)
	}
	metrics = read()
	require.False(t, names.MatchString(metrics), "names are in the metrics")
	require.GreaterOrEqual(t, counted(t, metrics, "/api/v1/namespaces/{name}", "404"), 2.0)
}

// counted returns how many requests of a path were answered with a status.
func counted(t testing.TB, metrics, path, status string) float64 {
	t.Helper()
	for line := range strings.Lines(metrics) {
		if value, ok := strings.CutPrefix(line, `capsule_proxy_requests_total{path="`+path+`",status="`+status+`"} `); ok {
			count, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			require.NoError(t, err)
			return count
		}
	}
	return 0
}
