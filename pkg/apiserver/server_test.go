// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/path"
	"k8s.io/apiserver/pkg/authorization/union"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"tenancy.capsule.io/pkg/registry"
)

// TestServer asks a whole server, in process, as the API server would.
func TestServer(t *testing.T) {
	viewer := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "tenancy:viewer"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"tenancy.capsule.io"}, Resources: []string{"*"}, Verbs: []string{"get", "list", "watch"}}},
	}
	getter := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "getter"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get"}, ResourceNames: []string{"oil"}}},
	}
	config := newConfig(t,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "oil"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "gas"}},
		viewer, bind(viewer, rbacv1.UserKind, "alice"),
		getter, bind(getter, rbacv1.UserKind, "alice"),
	)
	completed, err := config.Complete()
	require.NoError(t, err)
	server, err := completed.New()
	require.NoError(t, err)
	server.generic.PrepareRun()
	ask := func(method, path, user string, headers ...string) *httptest.ResponseRecorder {
		t.Helper()
		req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader("{}"))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-User", user)
		for i := 0; i+1 < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		recorder := httptest.NewRecorder()
		server.generic.Handler.ServeHTTP(recorder, req)
		return recorder
	}
	const views = "/apis/tenancy.capsule.io/v1alpha1/tenantnamespaces"

	// Before the feeds have read anything.
	for _, name := range []string{
		"roles", "clusterroles", "rolebindings", "clusterrolebindings", "namespaces", "nodes", "persistentvolumes",
		"storageclasses.storage.k8s.io", "ingressclasses.networking.k8s.io", "priorityclasses.scheduling.k8s.io", "runtimeclasses.node.k8s.io",
	} {
		answer := ask(http.MethodGet, "/readyz/feed-"+name, "kubelet")
		assert.Equal(t, http.StatusInternalServerError, answer.Code, answer.Body)
	}
	answer := ask(http.MethodGet, "/readyz?verbose", "kubelet")
	assert.Equal(t, http.StatusInternalServerError, answer.Code, answer.Body)
	assert.Contains(t, answer.Body.String(), "[-]feed-rolebindings failed")
	assert.NotContains(t, answer.Body.String(), "tenants.capsule.clastix.io", "a cluster may not have them")
	answer = ask(http.MethodGet, views, "root")
	assert.Equal(t, http.StatusServiceUnavailable, answer.Code, answer.Body)
	assert.Equal(t, "1", answer.Header().Get("Retry-After"))
	assert.Equal(t, http.StatusForbidden, ask(http.MethodGet, views, "alice").Code, "the index cannot allow yet, and who is behind it does not")

	server.generic.RunPostStartHooks(t.Context())
	require.Eventually(t, func() bool { return ask(http.MethodGet, "/readyz", "kubelet").Code == http.StatusOK }, patience, 5*time.Millisecond, "ready")

	for name, test := range map[string]struct {
		method, path, user string
		headers            []string
		code               int
		want               string
	}{
		"a list":              {path: views, user: "alice", code: http.StatusOK, want: `"name":"oil"`},
		"an object":           {path: views + "/oil", user: "alice", code: http.StatusOK, want: `"kind":"TenantNamespace"`},
		"a hidden object":     {path: views + "/gas", user: "alice", code: http.StatusNotFound, want: `tenantnamespaces.tenancy.capsule.io \"gas\" not found`},
		"an absent object":    {path: views + "/coal", user: "alice", code: http.StatusNotFound, want: `tenantnamespaces.tenancy.capsule.io \"coal\" not found`},
		"a table":             {path: views, user: "alice", headers: []string{"Accept", "application/json;as=Table;g=meta.k8s.io;v=v1"}, code: http.StatusOK, want: `"cells":["oil"`},
		"metadata":            {path: views, user: "alice", headers: []string{"Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}, code: http.StatusOK, want: `"kind":"PartialObjectMetadataList"`},
		"a field":             {path: views + "?fieldSelector=metadata.name%3Doil", user: "alice", code: http.StatusOK, want: `"name":"oil"`},
		"an unknown field":    {path: views + "?fieldSelector=bogus%3Doil", user: "alice", code: http.StatusBadRequest, want: "field label not supported: bogus"},
		"a stranger":          {path: views, user: "bob", code: http.StatusForbidden},
		"nobody":              {path: views, user: user.Anonymous, code: http.StatusUnauthorized},
		"nobody, at /healthz": {path: "/healthz", user: user.Anonymous, code: http.StatusOK},
		"POST":                {method: http.MethodPost, path: views, user: "root", code: http.StatusMethodNotAllowed},
		"PUT":                 {method: http.MethodPut, path: views + "/oil", user: "root", code: http.StatusMethodNotAllowed},
		"PATCH":               {method: http.MethodPatch, path: views + "/oil", user: "root", code: http.StatusMethodNotAllowed},
		"DELETE":              {method: http.MethodDelete, path: views + "/oil", user: "root", code: http.StatusMethodNotAllowed},
		"DELETE of all":       {method: http.MethodDelete, path: views, user: "root", code: http.StatusMethodNotAllowed},
		"a subresource":       {path: views + "/oil/status", user: "root", code: http.StatusNotFound},
		"metrics":             {path: "/metrics", user: "root", code: http.StatusOK, want: `tenancy_apiserver_view_objects{resource="tenantnamespaces"} 2`},
	} {
		t.Run(name, func(t *testing.T) {
			method := test.method
			if method == "" {
				method = http.MethodGet
			}
			answer := ask(method, test.path, test.user, test.headers...)
			assert.Equal(t, test.code, answer.Code, answer.Body)
			assert.Contains(t, answer.Body.String(), test.want)
			if test.user == "alice" && test.path != views+"/gas" {
				assert.NotContains(t, answer.Body.String(), "gas")
			}
		})
	}

	t.Run("discovery", func(t *testing.T) {
		var got metav1.APIResourceList
		require.NoError(t, json.Unmarshal(ask(http.MethodGet, "/apis/tenancy.capsule.io/v1alpha1", "root").Body.Bytes(), &got))
		var want []metav1.APIResource
		for _, names := range [][4]string{
			{"mytenants", "mytenant", "MyTenant", "mt"},
			{"tenantingressclasses", "tenantingressclass", "TenantIngressClass", "tic"},
			{"tenantnamespaces", "tenantnamespace", "TenantNamespace", "tns"},
			{"tenantnodes", "tenantnode", "TenantNode", "tno"},
			{"tenantpersistentvolumes", "tenantpersistentvolume", "TenantPersistentVolume", "tpv"},
			{"tenantpriorityclasses", "tenantpriorityclass", "TenantPriorityClass", "tpc"},
			{"tenantruntimeclasses", "tenantruntimeclass", "TenantRuntimeClass", "trc"},
			{"tenantstorageclasses", "tenantstorageclass", "TenantStorageClass", "tsc"},
		} {
			want = append(want, metav1.APIResource{
				Name: names[0], SingularName: names[1], Kind: names[2], ShortNames: []string{names[3]},
				Verbs: metav1.Verbs{"get", "list", "watch"}, Categories: []string{"tenancy"},
			})
		}
		if diff := cmp.Diff(want, got.APIResources); diff != "" {
			t.Errorf("resources (-want +got):\n%s", diff)
		}
	})

	t.Run("OpenAPI", func(t *testing.T) {
		var want []string
		for _, kind := range []string{
			"MyTenant", "TenantIngressClass", "TenantNamespace", "TenantNode", "TenantPersistentVolume",
			"TenantPriorityClass", "TenantRuntimeClass", "TenantStorageClass",
		} {
			want = append(want, "tenancy.capsule.io/v1alpha1 "+kind, "tenancy.capsule.io/v1alpha1 "+kind+"List")
		}
		type definition struct {
			Kinds []metav1.GroupVersionKind `json:"x-kubernetes-group-version-kind"`
		}
		var v2 struct {
			Definitions map[string]definition `json:"definitions"`
		}
		require.NoError(t, json.Unmarshal(ask(http.MethodGet, "/openapi/v2", "root", "Accept", "application/json").Body.Bytes(), &v2))
		var v3 struct {
			Components struct {
				Schemas map[string]definition `json:"schemas"`
			} `json:"components"`
		}
		require.NoError(t, json.Unmarshal(ask(http.MethodGet, "/openapi/v3/apis/tenancy.capsule.io/v1alpha1", "root", "Accept", "application/json").Body.Bytes(), &v3))
		for version, definitions := range map[string]map[string]definition{"v2": v2.Definitions, "v3": v3.Components.Schemas} {
			kinds := []string{}
			for _, d := range definitions {
				for _, kind := range d.Kinds {
					kinds = append(kinds, kind.Group+"/"+kind.Version+" "+kind.Kind)
				}
			}
			slices.Sort(kinds)
			if diff := cmp.Diff(want, kinds); diff != "" {
				t.Errorf("kinds of %s (-want +got):\n%s", version, diff)
			}
			assert.Contains(t, slices.Collect(maps.Keys(definitions)), "io.capsule.tenancy.v1alpha1.TenantNamespace", version)
		}
	})
}

// TestTwoServers holds New to returning what is wrong, if anything is, and not to
// panicking: tests and tools make more than one server in a process.
func TestTwoServers(t *testing.T) {
	for range 2 {
		completed, err := newConfig(t).Complete()
		require.NoError(t, err)
		require.NotPanics(t, func() { _, err = completed.New() })
		require.NoError(t, err)
	}
}

// runServer runs what a server starts beside its listener until the context is done.
func runServer(ctx context.Context, tb testing.TB, config *Config) *Server {
	tb.Helper()
	completed, err := config.Complete()
	require.NoError(tb, err)
	server, err := completed.New()
	require.NoError(tb, err)
	server.generic.PrepareRun()
	server.generic.RunPostStartHooks(ctx)
	return server
}

// newConfig returns the config of a server in a cluster with the given objects. A
// request's user is in its header X-User. root and kubelet are allowed everything;
// to everybody else the authorizer behind says nothing but to health.
func newConfig(tb testing.TB, objects ...runtime.Object) *Config {
	tb.Helper()
	health, err := path.NewAuthorizer([]string{"/healthz", "/livez", "/readyz"})
	require.NoError(tb, err)

	generic := NewGenericConfig()
	generic.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	generic.ExternalAddress = "localhost:6443"
	generic.LoopbackClientConfig = &rest.Config{}
	generic.Authentication.RequestHeaderConfig = &authenticatorfactory.RequestHeaderConfig{
		UsernameHeaders:     headerrequest.StaticStringSlice{"X-Remote-User"},
		UIDHeaders:          headerrequest.StaticStringSlice{"X-Remote-Uid"},
		GroupHeaders:        headerrequest.StaticStringSlice{"X-Remote-Group"},
		ExtraHeaderPrefixes: headerrequest.StaticStringSlice{"X-Remote-Extra-"},
		AllowedClientNames:  headerrequest.StaticStringSlice{"front-proxy-client"},
	}
	generic.Authentication.Authenticator = authenticator.RequestFunc(func(req *http.Request) (*authenticator.Response, bool, error) {
		info := &user.DefaultInfo{Name: req.Header.Get("X-User")}
		if info.Name == "root" || info.Name == "kubelet" {
			info.Groups = []string{user.SystemPrivilegedGroup}
		}
		return &authenticator.Response{User: info}, true, nil
	})
	generic.Authorization.Authorizer, err = union.New(
		union.NamedAuthorizer{AuthorizerName: "tenancy.capsule.io/health", Authorizer: health},
		union.NamedAuthorizer{AuthorizerName: "tenancy.capsule.io/masters", Authorizer: authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup)},
	)
	require.NoError(tb, err)
	objects = append(objects, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: leaseNamespace, Name: Name}})
	return &Config{Generic: generic, Extra: ExtraConfig{Clients: newClients(tb, objects...), Clock: clocktesting.NewFakeClock(time.Now())}}
}

// newClients returns the clients of a cluster with the given objects, which does
// not have Tenants.
func newClients(tb testing.TB, objects ...runtime.Object) registry.Clients {
	tb.Helper()
	clients, err := registry.NewClients(&rest.Config{Host: "http://localhost", Transport: notFound{}})
	require.NoError(tb, err)
	clients.Kubernetes = newClient(objects...)
	return clients
}

// notFound answers 404 to everything, as an API server does to what it does not know.
type notFound struct{}

func (notFound) RoundTrip(*http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	http.Error(recorder, "404 page not found", http.StatusNotFound)
	return recorder.Result(), nil
}
