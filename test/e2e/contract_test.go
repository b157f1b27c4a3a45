// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
)

const (
	viewPath   = "/apis/tenancy.capsule.io/v1alpha1/tenantnamespaces"
	nativePath = "/api/v1/namespaces"
	// readOnlyPath is a native resource with the verbs of a view.
	readOnlyPath = "/api/v1/componentstatuses"

	tableAccept   = "application/json;as=Table;v=v1;g=meta.k8s.io"
	partialAccept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
	partialsList  = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
)

// answer is what a client gets.
type answer struct {
	Code        int
	ContentType string
	Body        []byte
}

// ask sends a request as the user of the config.
func ask(t *testing.T, config *rest.Config, method, target, accept, body string) answer {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	require.NoError(t, err)
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, config.Host+target, content)
	require.NoError(t, err)
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	req.Header.Set("Content-Type", "application/json")
	response, err := client.Do(req)
	require.NoError(t, err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{Code: response.StatusCode, ContentType: response.Header.Get("Content-Type"), Body: data}
}

// failure is the part of a failed answer that has to be the native one.
type failure struct {
	Code        int
	ContentType string
	Status      metav1.Status
}

// failureOf reads an error and puts the native name where the view's is.
func failureOf(t *testing.T, a answer, resource string) failure {
	t.Helper()
	var status metav1.Status
	require.NoError(t, yaml.Unmarshal(a.Body, &status), "not a Status: %s", a.Body)
	require.Equal(t, "Status", status.Kind, "%s", a.Body)
	native := func(s string) string {
		s = strings.ReplaceAll(s, v1alpha1.Resource("tenantnamespaces").String(), resource)
		// One message names a Go type; the API server's is an internal one.
		s = strings.ReplaceAll(s, "*v1alpha1.TenantNamespace", "*core.Namespace")
		return strings.ReplaceAll(s, "tenantnamespaces", resource)
	}
	status.Message = native(status.Message)
	if status.Details != nil {
		status.Details.Kind = native(status.Details.Kind)
		if status.Details.Group == v1alpha1.GroupName {
			status.Details.Group = ""
		}
	}
	return failure{Code: a.Code, ContentType: a.ContentType, Status: status}
}

func query(pairs ...string) string {
	values := url.Values{}
	for pair := range slices.Chunk(pairs, 2) {
		values.Set(pair[0], pair[1])
	}
	return "?" + values.Encode()
}

func token(content string) string { return base64.RawURLEncoding.EncodeToString([]byte(content)) }

// TestFailuresAreNative asks the view, and the native resource, for the same
// impossible things, and compares codes, reasons, messages and details.
func TestFailuresAreNative(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"unknown field":                 query("fieldSelector", "spec.bogus=1"),
		"field of namespaced kinds":     query("fieldSelector", "metadata.namespace=a"),
		"malformed field selector":      query("fieldSelector", "metadata.name"),
		"malformed label selector":      query("labelSelector", "a in b"),
		"continue is no base64":         query("continue", "%%%"),
		"continue is no JSON":           query("continue", token("nonsense")),
		"continue of another version":   query("continue", token(`{"v":"meta.k8s.io/v2","rv":1,"start":"a"}`)),
		"continue without revision":     query("continue", token(`{"v":"meta.k8s.io/v1","start":"a"}`)),
		"continue without start":        query("continue", token(`{"v":"meta.k8s.io/v1","rv":5}`)),
		"continue climbs":               query("continue", token(`{"v":"meta.k8s.io/v1","rv":5,"start":"../secrets/a"}`)),
		"continue with resourceVersion": query("continue", token(`{"v":"meta.k8s.io/v1","rv":5,"start":"a"}`), "resourceVersion", "5"),
		"resourceVersion is no number":  query("resourceVersion", "abc"),
		"resourceVersion is negative":   query("resourceVersion", "-1"),
		"match without version":         query("resourceVersionMatch", "Exact"),
		"match of a kind unknown":       query("resourceVersionMatch", "Newest", "resourceVersion", "1"),
		"exactly zero":                  query("resourceVersionMatch", "Exact", "resourceVersion", "0"),
		"match with continue":           query("resourceVersionMatch", "Exact", "continue", token(`{"v":"meta.k8s.io/v1","rv":5,"start":"a"}`)),
		"limit is no number":            query("limit", "many"),
		"limit is negative":             query("limit", "-1"),
		"timeout is no number":          query("timeoutSeconds", "soon"),
		"initial events without watch":  query("sendInitialEvents", "true"),
		"absent":                        "/absent",
		"absent, not a name":            "/NOT_A_NAME",
		"get at no number":              "/default" + query("resourceVersion", "abc"),
		"get of another's name":         "/default" + query("fieldSelector", "metadata.name=kube-system") + "&watch=0",
	}
	compareFailures(t, tests, map[string]string{"json": "", "yaml": "application/yaml", "table": tableAccept, "partial": partialAccept, "partials": partialsList, "unknown": "application/xml"})
}

// compareFailures asks the view, and the native resource, for every target in
// every format, and compares what is wrong.
func compareFailures(t *testing.T, targets, formats map[string]string) {
	t.Helper()
	config := system.AdminConfig(t)
	for name, target := range targets {
		for format, accept := range formats {
			t.Run(name+"/"+format, func(t *testing.T) {
				t.Parallel()
				want := ask(t, config, http.MethodGet, nativePath+target, accept, "")
				got := ask(t, config, http.MethodGet, viewPath+target, accept, "")
				if want.Code == http.StatusOK {
					require.Equal(t, http.StatusOK, got.Code, "%s", got.Body)
					return
				}
				if diff := cmp.Diff(failureOf(t, want, "namespaces"), failureOf(t, got, "namespaces")); diff != "" {
					t.Errorf("(-native +view):\n%s", diff)
				}
			})
		}
	}
}

// TestFutureRevisionsAreNative holds that a revision that is yet to come is
// awaited and then refused as the native one is. The revisions in the message are
// each server's own.
func TestFutureRevisionsAreNative(t *testing.T) {
	t.Parallel()
	config := system.AdminConfig(t)
	for name, target := range map[string]string{
		"list not older": query("resourceVersion", "999999999", "resourceVersionMatch", "NotOlderThan"),
		"list":           query("resourceVersion", "999999999"),
		"get":            "/default" + query("resourceVersion", "999999999"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := failureOf(t, ask(t, config, http.MethodGet, nativePath+target, "", ""), "namespaces")
			got := failureOf(t, ask(t, config, http.MethodGet, viewPath+target, "", ""), "namespaces")
			require.Equal(t, http.StatusGatewayTimeout, want.Code)
			want.Status.Message, _, _ = strings.Cut(want.Status.Message, ", current:")
			got.Status.Message, _, _ = strings.Cut(got.Status.Message, ", current:")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-native +view):\n%s", diff)
			}
		})
	}
}

// TestForgottenRevisionsAreGone holds that a list of a revision before all that
// the server has read is 410, and that the token in the answer goes on.
func TestForgottenRevisionsAreGone(t *testing.T) {
	t.Parallel()
	config := system.AdminConfig(t)
	got := ask(t, config, http.MethodGet, viewPath+query("resourceVersion", "1", "resourceVersionMatch", "Exact"), "", "")
	require.Equal(t, http.StatusGone, got.Code)
	require.Equal(t, metav1.StatusReasonExpired, failureOf(t, got, "namespaces").Status.Reason)

	got = ask(t, config, http.MethodGet, viewPath+query("continue", token(`{"v":"meta.k8s.io/v1","rv":1,"start":"kube-"}`)), "", "")
	status := failureOf(t, got, "namespaces").Status
	require.Equal(t, metav1.StatusReasonExpired, status.Reason)
	require.NotEmpty(t, status.Continue)
	got = ask(t, config, http.MethodGet, viewPath+query("continue", status.Continue), "", "")
	require.Equal(t, http.StatusOK, got.Code, "%s", got.Body)
	var list v1alpha1.TenantNamespaceList
	require.NoError(t, yaml.Unmarshal(got.Body, &list))
	require.NotEmpty(t, list.Items)
	require.GreaterOrEqual(t, list.Items[0].Name, "kube-")
}

// TestWritesAreRefused compares every verb that a view does not have with a native
// resource that has the same verbs.
func TestWritesAreRefused(t *testing.T) {
	t.Parallel()
	config := system.AdminConfig(t)
	for name, request := range map[string]struct{ method, target, body string }{
		"create":            {http.MethodPost, "", "{}"},
		"update":            {http.MethodPut, "/default", "{}"},
		"patch":             {http.MethodPatch, "/default", "{}"},
		"delete":            {http.MethodDelete, "/default", ""},
		"delete collection": {http.MethodDelete, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := failureOf(t, ask(t, config, request.method, readOnlyPath+request.target, "", request.body), "componentstatuses")
			got := failureOf(t, ask(t, config, request.method, viewPath+request.target, "", request.body), "componentstatuses")
			require.Equal(t, http.StatusMethodNotAllowed, want.Code)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-native +view):\n%s", diff)
			}
		})
	}
}

// TestHiddenIsAbsent compares, byte by byte, the answers for a name before a
// namespace of that name exists and while one exists that the user may not get.
func TestHiddenIsAbsent(t *testing.T) {
	t.Parallel()
	const name = "hidden-or-absent"
	mallory := system.Config(t, "mallory")
	for format, accept := range map[string]string{"json": "", "yaml": "application/yaml", "table": tableAccept, "partial": partialAccept, "protobuf": "application/vnd.kubernetes.protobuf"} {
		t.Run(format, func(t *testing.T) {
			name := name + "-" + format
			absent := ask(t, mallory, http.MethodGet, viewPath+"/"+name, accept, "")
			createNamespace(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
			eventuallyVisible(t, name)
			hidden := ask(t, mallory, http.MethodGet, viewPath+"/"+name, accept, "")
			require.Equal(t, http.StatusNotFound, hidden.Code)
			if diff := cmp.Diff(absent, hidden); diff != "" {
				t.Errorf("(-absent +hidden):\n%s", diff)
			}
			selected := ask(t, mallory, http.MethodGet, viewPath+query("fieldSelector", "metadata.name="+name, "limit", "1"), "", "")
			require.NotContains(t, string(selected.Body), name)
			require.NotContains(t, string(selected.Body), "remainingItemCount")
		})
	}
}
