// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	tenancy "tenancy.capsule.io/generated/clientset/versioned"
	tenancyv1alpha1 "tenancy.capsule.io/generated/clientset/versioned/typed/tenancy/v1alpha1"
	"tenancy.capsule.io/pkg/registry"
)

// seed makes the objects id-0 to id-6, and returns a selector of them.
func (k kind) seed(t *testing.T, id string) string {
	t.Helper()
	var last *unstructured.Unstructured
	for i := range 7 {
		object := k.object(fmt.Sprintf("%s-%d", id, i), map[string]string{"test": id, registry.TenantLabel: fmt.Sprintf("tenant-%d", i%2)})
		object.SetAnnotations(map[string]string{"note": "ü \" <&> \u2028"})
		last = k.create(t, object)
	}
	k.await(t, last)
	return "test=" + id
}

// TestFormatsAreNative compares what the view answers in each format with what an
// administrator gets of the native resource.
func TestFormatsAreNative(t *testing.T) {
	t.Parallel()
	forEveryKind(t, func(t *testing.T, k kind) {
		selector := k.seed(t, "format")
		all := []string{
			"", "application/yaml", tableAccept, "application/cbor;q=0.5,application/json", tableAccept + ",application/json",
			"application/yaml;as=Table;v=v1;g=meta.k8s.io", protobuf + ",application/json",
		}
		if !k.custom {
			all = append(all, protobuf)
		}
		one := append([]string{partialAccept, protobuf + parametersOf(partialAccept), "application/yaml" + parametersOf(partialAccept)}, all...)
		list := append([]string{partialsList, protobuf + parametersOf(partialsList), "application/yaml" + parametersOf(partialsList)}, all...)
		for target, accepts := range map[string][]string{
			"/format-3":                                                                                      one,
			query("labelSelector", selector):                                                                 list,
			"/format-3" + query("pretty", "true"):                                                            {""},
			"/format-3" + query("includeObject", "Object"):                                                   {tableAccept},
			"/format-3" + query("includeObject", "None"):                                                     {tableAccept},
			query("labelSelector", selector, "limit", "3"):                                                   {"", tableAccept, partialsList},
			query("labelSelector", selector, "pretty", "true"):                                               {"", tableAccept},
			query("labelSelector", "nobody=has-this"):                                                        list,
			query("labelSelector", selector, "resourceVersion", "0"):                                         {""},
			query("labelSelector", selector, "resourceVersion", "1"):                                         {""},
			query("labelSelector", selector, "resourceVersion", "1", "resourceVersionMatch", "NotOlderThan"): {""},
		} {
			for _, accept := range accepts {
				t.Run(target+"/"+accept, func(t *testing.T) { k.compare(t, target, accept) })
			}
		}
	})
}

// parametersOf returns the parameters of a media type.
func parametersOf(accept string) string { return accept[len("application/json"):] }

// TestProtobufOfCustomResources compares how what has no protobuf is refused.
func TestProtobufOfCustomResources(t *testing.T) {
	t.Parallel()
	k := kindOf(t, "tenants")
	k.await(t, k.create(t, k.object("no-protobuf", nil)))
	k.compareFailures(t, map[string]string{
		"list": "", "empty list": query("labelSelector", "nobody=has-this"), "get": "/no-protobuf", "absent": "/absent",
		"watch": query("watch", "1", "timeoutSeconds", "1"),
	}, map[string]string{"protobuf": protobuf, "stream": protobuf + ";stream=watch"})
	t.Run("watch in JSON instead", func(t *testing.T) {
		var types []string
		for _, path := range []string{k.nativePath(), k.viewPath()} {
			s := openStream(t, system.AdminConfig(t), path+query("watch", "1", "timeoutSeconds", "5"), protobuf+",application/json")
			types = append(types, s.response.Header.Get("Content-Type"))
			s.end()
		}
		require.Equal(t, types[0], types[1])
	})
}

// reader reads one kind with the generated client.
type reader struct {
	list func(context.Context, metav1.ListOptions) (runtime.Object, error)
	get  func(context.Context, string, metav1.GetOptions) (runtime.Object, error)
}

func readerOf[T, L runtime.Object](client interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Get(context.Context, string, metav1.GetOptions) (T, error)
},
) reader {
	return reader{
		list: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return client.List(ctx, options)
		},
		get: func(ctx context.Context, name string, options metav1.GetOptions) (runtime.Object, error) {
			return client.Get(ctx, name, options)
		},
	}
}

func readersOf(client tenancyv1alpha1.TenancyV1alpha1Interface) map[string]reader {
	return map[string]reader{
		"tenantnamespaces":        readerOf(client.TenantNamespaces()),
		"tenantnodes":             readerOf(client.TenantNodes()),
		"tenantpersistentvolumes": readerOf(client.TenantPersistentVolumes()),
		"tenantstorageclasses":    readerOf(client.TenantStorageClasses()),
		"tenantingressclasses":    readerOf(client.TenantIngressClasses()),
		"tenantpriorityclasses":   readerOf(client.TenantPriorityClasses()),
		"tenantruntimeclasses":    readerOf(client.TenantRuntimeClasses()),
		"mytenants":               readerOf(client.MyTenants()),
	}
}

// TestTypedClient compares what the generated client reads in protobuf with what
// it reads in JSON, and both with the native objects.
func TestTypedClient(t *testing.T) {
	t.Parallel()
	forEveryKind(t, func(t *testing.T, k kind) {
		selector := k.seed(t, "typed")
		read := func(contentType string) (list, one runtime.Object) {
			config := system.AdminConfig(t)
			config.ContentType, config.AcceptContentTypes = contentType, contentType
			client, err := tenancy.NewForConfig(config)
			require.NoError(t, err)
			reader := readersOf(client.TenancyV1alpha1())[k.view.Resource]
			list, err = reader.list(t.Context(), metav1.ListOptions{LabelSelector: selector})
			require.NoError(t, err)
			one, err = reader.get(t.Context(), "typed-3", metav1.GetOptions{})
			require.NoError(t, err)
			one.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
			metadata, err := meta.ListAccessor(list)
			require.NoError(t, err)
			metadata.SetResourceVersion("")
			return list, one
		}
		list, one := read(runtime.ContentTypeJSON)
		items, err := meta.ExtractList(list)
		require.NoError(t, err)
		require.Len(t, items, 7)
		items[3].GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		require.Equal(t, one, items[3])
		native, err := k.client(t).Get(t.Context(), "typed-3", metav1.GetOptions{})
		require.NoError(t, err)
		want, got := native.Object, map[string]any{}
		require.NoError(t, json.Unmarshal(asJSON(t, want), &want))
		require.NoError(t, json.Unmarshal(asJSON(t, one), &got))
		got["kind"], got["apiVersion"] = k.nativeKind, k.native.GroupVersion().String()
		normalize(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-native +typed):\n%s", diff)
		}
		if k.custom {
			return
		}
		otherList, otherOne := read(protobuf)
		if diff := cmp.Diff([]runtime.Object{list, one}, []runtime.Object{otherList, otherOne}); diff != "" {
			t.Errorf("(-json +protobuf):\n%s", diff)
		}
	})
}

// TestPagesAreOneList reads pages while objects come and go between them.
func TestPagesAreOneList(t *testing.T) {
	t.Parallel()
	forEveryKind(t, func(t *testing.T, k kind) {
		selector := k.seed(t, "page")
		config := system.AdminConfig(t)
		var names []string
		var revision, next string
		for page := 0; page == 0 || next != ""; page++ {
			var list metav1.PartialObjectMetadataList
			got := ask(t, config, http.MethodGet, k.viewPath()+query("labelSelector", selector, "limit", "2", "continue", next), "", "")
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
			k.await(t, k.create(t, k.object(fmt.Sprintf("page-3-%d", page), map[string]string{"test": "page"})))
		}
		require.Equal(t, []string{"page-0", "page-1", "page-2", "page-3", "page-4", "page-5", "page-6"}, names)
	})
}
