// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	tenancy "tenancy.capsule.io/generated/clientset/versioned"
	"tenancy.capsule.io/pkg/registry"
)

// seedFormats makes the namespaces id-0 to id-6, and returns a selector of them.
func seedFormats(t *testing.T, id string) string {
	t.Helper()
	for i := range 7 {
		createNamespace(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name:        fmt.Sprintf("%s-%d", id, i),
			Labels:      map[string]string{"test": id, registry.TenantLabel: fmt.Sprintf("tenant-%d", i%2)},
			Annotations: map[string]string{"note": "ü \" <&> \u2028"},
		}})
	}
	eventuallyVisible(t, id+"-6")
	return "test=" + id
}

// asNative reads an answer and makes of it what the native resource would answer:
// kinds, and the column Tenant, apart, and managedFields left out on both sides.
func asNative(t *testing.T, a answer) map[string]any {
	t.Helper()
	require.Equal(t, http.StatusOK, a.Code, "%s", a.Body)
	var content map[string]any
	require.NoError(t, yaml.Unmarshal(a.Body, &content))
	normalize(content)
	return content
}

func normalize(content any) {
	switch c := content.(type) {
	case map[string]any:
		delete(c, "managedFields")
		delete(c, "remainingItemCount")
		_, isList := c["items"]
		_, isTable := c["rows"]
		if meta, ok := c["metadata"].(map[string]any); ok && (isList || isTable) {
			delete(meta, "resourceVersion") // of the list: each server's own
			delete(meta, "continue")
		}
		switch c["kind"] {
		case "TenantNamespace":
			c["kind"], c["apiVersion"] = "Namespace", "v1"
		case "TenantNamespaceList":
			c["kind"], c["apiVersion"] = "NamespaceList", "v1"
		case "Table":
			dropTenantColumn(c)
		}
		for _, value := range c {
			normalize(value)
		}
	case []any:
		for _, value := range c {
			normalize(value)
		}
	}
}

func dropTenantColumn(table map[string]any) {
	columns, _ := table["columnDefinitions"].([]any)
	i := slices.IndexFunc(columns, func(c any) bool { return c.(map[string]any)["name"] == "Tenant" })
	width := len(columns)
	if i >= 0 {
		table["columnDefinitions"] = slices.Delete(columns, i, i+1)
		width--
	}
	rows, _ := table["rows"].([]any)
	for _, row := range rows {
		if cells := row.(map[string]any)["cells"].([]any); i >= 0 {
			row.(map[string]any)["cells"] = cells[:width]
		}
	}
}

// TestFormatsAreNative compares what the view answers in each format with what an
// administrator gets of the native resource.
func TestFormatsAreNative(t *testing.T) {
	config := system.AdminConfig(t)
	selector := seedFormats(t, "format")
	for target, accepts := range map[string][]string{
		"/format-3": {"", "application/yaml", tableAccept, partialAccept, "application/cbor;q=0.5,application/json"},
		query("labelSelector", selector): {
			"", "application/yaml", tableAccept, partialsList,
			"application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
		},
		query("labelSelector", selector, "limit", "3"):                                                   {"", tableAccept},
		query("labelSelector", selector, "includeObject", "Object"):                                      {tableAccept},
		query("labelSelector", selector, "includeObject", "None"):                                        {tableAccept},
		query("labelSelector", selector, "pretty", "true"):                                               {""},
		query("labelSelector", selector, "fieldSelector", "metadata.name=format-2"):                      {"", tableAccept},
		query("labelSelector", selector, "fieldSelector", "metadata.name!=format-2"):                     {""},
		query("labelSelector", selector, "fieldSelector", "status.phase=Active"):                         {""},
		query("labelSelector", selector, "fieldSelector", "status.phase=Terminating"):                    {"", tableAccept},
		query("labelSelector", "test in (format,other),"+registry.TenantLabel+"!=tenant-0"):              {""},
		query("labelSelector", "nobody=has-this"):                                                        {"", tableAccept, partialsList},
		query("labelSelector", selector, "resourceVersion", "0"):                                         {""},
		query("labelSelector", selector, "resourceVersion", "1"):                                         {""},
		query("labelSelector", selector, "resourceVersion", "1", "resourceVersionMatch", "NotOlderThan"): {""},
	} {
		for _, accept := range accepts {
			t.Run(target+"/"+accept, func(t *testing.T) {
				want := asNative(t, ask(t, config, http.MethodGet, nativePath+target, accept, ""))
				got := asNative(t, ask(t, config, http.MethodGet, viewPath+target, accept, ""))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-native +view):\n%s", diff)
				}
			})
		}
	}
}

// TestTypedClientInProtobuf compares what the generated client reads in protobuf
// with what it reads in JSON.
func TestTypedClientInProtobuf(t *testing.T) {
	selector := seedFormats(t, "proto")
	read := func(contentType string) *v1alpha1.TenantNamespaceList {
		config := system.AdminConfig(t)
		config.ContentType, config.AcceptContentTypes = contentType, contentType
		client, err := tenancy.NewForConfig(config)
		require.NoError(t, err)
		list, err := client.TenancyV1alpha1().TenantNamespaces().List(t.Context(), metav1.ListOptions{LabelSelector: selector})
		require.NoError(t, err)
		list.ResourceVersion = ""
		one, err := client.TenancyV1alpha1().TenantNamespaces().Get(t.Context(), "proto-0", metav1.GetOptions{})
		require.NoError(t, err)
		one.TypeMeta = metav1.TypeMeta{}
		require.Equal(t, list.Items[0], *one)
		return list
	}
	want, got := read(runtime.ContentTypeJSON), read(runtime.ContentTypeProtobuf)
	require.Len(t, got.Items, 7)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-json +protobuf):\n%s", diff)
	}
}

// TestPagesAreOneList reads pages while namespaces come and go between them.
func TestPagesAreOneList(t *testing.T) {
	selector := seedFormats(t, "page")
	config := system.AdminConfig(t)
	var names []string
	var revision, next string
	for page := 0; page == 0 || next != ""; page++ {
		var list v1alpha1.TenantNamespaceList
		got := ask(t, config, http.MethodGet, viewPath+query("labelSelector", selector, "limit", "2", "continue", next), "", "")
		require.Equal(t, http.StatusOK, got.Code, "%s", got.Body)
		require.NoError(t, json.Unmarshal(got.Body, &list))
		require.Nil(t, list.RemainingItemCount)
		if page == 0 {
			revision = list.ResourceVersion
		}
		require.Equal(t, revision, list.ResourceVersion, "every page is of the first one's revision")
		for i := range list.Items {
			names = append(names, list.Items[i].Name)
		}
		next = list.Continue
		createNamespace(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("page-3-%d", page), Labels: map[string]string{"test": "page"},
		}})
		eventuallyVisible(t, fmt.Sprintf("page-3-%d", page))
	}
	require.Equal(t, []string{"page-0", "page-1", "page-2", "page-3", "page-4", "page-5", "page-6"}, names)
}
