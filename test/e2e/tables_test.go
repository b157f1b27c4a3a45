// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"

	"tenancy.capsule.io/pkg/registry"
)

// TestStatesAreNative compares, for objects in every state, what the view answers
// with what an administrator gets of the native resource: columns, cells, and all
// else that there is in an object.
func TestStatesAreNative(t *testing.T) {
	t.Parallel()
	forEveryKind(t, func(t *testing.T, k kind) {
		names := k.createStates(t)
		for target, accepts := range map[string][]string{
			query("labelSelector", statesLabel):                              {tableAccept, "", "application/yaml", protobuf + parametersOf(partialsList)},
			query("labelSelector", statesLabel, "includeObject", "None"):     {tableAccept},
			query("labelSelector", statesLabel, "includeObject", "Metadata"): {tableAccept},
			query("labelSelector", statesLabel, "includeObject", "Object"):   {tableAccept},
			query("labelSelector", statesLabel, "noHeaders", "true"):         {tableAccept},
		} {
			if !k.custom {
				accepts = append(accepts, protobuf)
			}
			for _, accept := range accepts {
				t.Run(target+"/"+accept, func(t *testing.T) { k.compare(t, target, accept) })
			}
		}
		for _, name := range names {
			t.Run(name, func(t *testing.T) { k.compare(t, "/"+name, tableAccept) })
		}
		t.Run("tenant", func(t *testing.T) { k.checkTenants(t, statesLabel) })
		t.Run("kubectl", func(t *testing.T) { k.compareWide(t, statesLabel) })
		t.Run("watch", func(t *testing.T) { k.compareWatchedTables(t, statesLabel) })
	})
	for _, name := range []string{"system-node-critical", "system-cluster-critical"} {
		kindOf(t, "priorityclasses").compare(t, "/"+name, tableAccept)
	}
}

// compareWatchedTables holds that the tables of a watch have the native columns in
// the first event, and none after it, and the rows of the native list.
func (k kind) compareWatchedTables(t *testing.T, selector string) {
	t.Helper()
	config := system.AdminConfig(t)
	k.compareBy(t, func(path string) answer {
		if path == k.nativePath() {
			return ask(t, config, http.MethodGet, path+query("labelSelector", selector), tableAccept, "")
		}
		s := openStream(t, config, path+query("watch", "1", "labelSelector", selector, "sendInitialEvents", "true", "resourceVersionMatch", "NotOlderThan", "allowWatchBookmarks", "true"), tableAccept)
		defer s.end()
		s.decoder.UseNumber() // keeps integers
		var table map[string]any
		for _, f := range s.until(t, func(f frame) bool { return f.Type == watch.Bookmark }) {
			switch {
			case table == nil:
				table = f.Object
				table["metadata"] = map[string]any{}
			case f.Type == watch.Added:
				require.Nil(t, f.Object["columnDefinitions"])
				table["rows"] = append(table["rows"].([]any), f.Object["rows"].([]any)...)
			}
		}
		return answer{Code: http.StatusOK, ContentType: "application/json", Body: asJSON(t, table)}
	})
}

// checkTenants holds that the column Tenant, which comparisons leave out, is the
// last one of what tenants own, and holds the label.
func (k kind) checkTenants(t *testing.T, selector string) {
	t.Helper()
	a := ask(t, system.AdminConfig(t), http.MethodGet, k.viewPath()+query("labelSelector", selector), tableAccept, "")
	var table struct {
		ColumnDefinitions []metav1.TableColumnDefinition
		Rows              []struct {
			Cells  []any
			Object metav1.PartialObjectMetadata
		}
	}
	require.NoError(t, json.Unmarshal(a.Body, &table))
	require.NotEmpty(t, table.Rows)
	last := len(table.ColumnDefinitions) - 1
	owned := k.native.Resource == "namespaces" || k.native.Resource == "persistentvolumes"
	for i, column := range table.ColumnDefinitions {
		require.Equal(t, owned && i == last, column.Name == "Tenant", column.Name)
	}
	for _, row := range table.Rows {
		require.Len(t, row.Cells, last+1)
		if owned {
			require.Equal(t, row.Object.Labels[registry.TenantLabel], row.Cells[last], row.Object.Name)
		}
	}
}

// The long list is more than the API server sends without compressing it, and
// more than kubectl asks for at once.
const longList = 520

// TestLongListsAreNative reads a long list whole, in pages and compressed.
func TestLongListsAreNative(t *testing.T) {
	t.Parallel()
	k := kindOf(t, "ingressclasses")
	k.createMany(t, "long", longList)
	target := query("labelSelector", "test=long")
	for _, accept := range []string{"", tableAccept, protobuf} {
		t.Run("whole/"+accept, func(t *testing.T) { k.compare(t, target, accept) })
		t.Run("gzip/"+accept, func(t *testing.T) {
			k.compareBy(t, func(path string) answer { return compressed(t, path+target, accept) })
		})
	}
	config := system.AdminConfig(t)
	for _, limit := range []string{"1000", "520", "519", "100"} {
		t.Run("limit "+limit, func(t *testing.T) {
			// What goes on with the next page, of each server its own, by path.
			tokens := map[string]string{k.nativePath(): "", k.viewPath(): ""}
			for more := true; more; more = tokens[k.viewPath()] != "" {
				next := maps.Clone(tokens)
				k.compareBy(t, func(path string) answer {
					page := ask(t, config, http.MethodGet, path+query("labelSelector", "test=long", "limit", limit, "continue", tokens[path]), tableAccept, "")
					var list metav1.PartialObjectMetadataList
					require.NoError(t, json.Unmarshal(page.Body, &list))
					next[path] = list.Continue
					return page
				})
				tokens = next
			}
			// The API server goes on where there are objects left, although none of them is
			// asked for: other tests make some.
			for token := tokens[k.nativePath()]; token != ""; {
				page := ask(t, config, http.MethodGet, k.nativePath()+query("labelSelector", "test=long", "limit", limit, "continue", token), "", "")
				var list metav1.PartialObjectMetadataList
				require.NoError(t, json.Unmarshal(page.Body, &list))
				require.Empty(t, list.Items)
				token = list.Continue
			}
		})
	}
}

// compressed returns what is answered in gzip.
func compressed(t *testing.T, target, accept string) answer {
	t.Helper()
	a := send(t, system.AdminConfig(t), http.MethodGet, target, accept, "", http.Header{"Accept-Encoding": {"gzip"}})
	require.Equal(t, "gzip", a.ContentEncoding)
	reader, err := gzip.NewReader(bytes.NewReader(a.Body))
	require.NoError(t, err)
	a.Body, err = io.ReadAll(reader)
	require.NoError(t, err)
	require.Greater(t, len(a.Body), 128<<10)
	return a
}

// createMany makes objects, of some 400 bytes each, and returns when the view
// holds them.
func (k kind) createMany(t *testing.T, id string, count int) {
	t.Helper()
	client := k.client(t)
	options := metav1.ListOptions{LabelSelector: "test=" + id}
	t.Cleanup(func() {
		require.NoError(t, client.DeleteCollection(context.WithoutCancel(t.Context()), metav1.DeleteOptions{}, options))
	})
	var group errgroup.Group
	group.SetLimit(10)
	created := make([]*unstructured.Unstructured, count)
	for i := range count {
		object := k.object(fmt.Sprintf("%s-%d", id, i), map[string]string{"test": id})
		object.SetAnnotations(map[string]string{"note": strings.Repeat("note ", 50)})
		group.Go(func() (err error) {
			created[i], err = client.Create(t.Context(), object, metav1.CreateOptions{})
			return err
		})
	}
	require.NoError(t, group.Wait())
	for _, object := range created {
		k.await(t, object)
	}
}

// TestEmptyTablesAreNative compares tables of no rows.
func TestEmptyTablesAreNative(t *testing.T) {
	t.Parallel()
	forEveryKind(t, func(t *testing.T, k kind) {
		for name, target := range map[string]string{
			"no label": query("labelSelector", "nobody=has-this"),
			"no name":  query("fieldSelector", "metadata.name=nobody-has-this"),
			"limit":    query("labelSelector", "nobody=has-this", "limit", "1"),
			"objects":  query("labelSelector", "nobody=has-this", "includeObject", "Object"),
		} {
			t.Run(name, func(t *testing.T) { k.compare(t, target, tableAccept) })
		}
	})
}
