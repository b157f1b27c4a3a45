// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"cmp"
	"net/http"
	"reflect"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// reads has a user get every object of a kind, but list none, and returns a config that
// asks the proxy.
func (k kind) reads(t *testing.T, name string) *rest.Config {
	t.Helper()
	k.putRole(t, name)
	bindRole(t, name)
	return proxy.Config(system.TokenConfig(t, name))
}

// awaitThrough waits until the proxy shows the object as it is.
func (k kind) awaitThrough(t *testing.T, config *rest.Config, name string) {
	t.Helper()
	require.Eventually(t, func() bool {
		return ask(t, config, http.MethodGet, k.nativePath()+"/"+name, "", "").Code == http.StatusOK
	}, eventually, tick)
}

// TestProxiedFormats compares what a user gets of the proxy, in each format, with what an
// administrator gets of the API server for the same objects.
func TestProxiedFormats(t *testing.T) {
	t.Parallel()
	forEveryKind(t, func(t *testing.T, k kind) {
		selector := k.seed(t, "proxied")
		config := k.reads(t, "proxied-formats-"+k.native.Resource)
		k.awaitThrough(t, config, "proxied-6")
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
			"/proxied-3":  one,
			"/proxied-3/": {""},
			"/proxied-3" + query("includeObject", "Object"):             {tableAccept},
			"/proxied-3" + query("includeObject", "None"):               {tableAccept},
			"/proxied-3" + query("pretty", "true"):                      {""},
			query("labelSelector", selector):                            list,
			"/" + query("labelSelector", selector):                      {"", tableAccept},
			query("labelSelector", selector, "includeObject", "Object"): {tableAccept},
			query("labelSelector", selector, "includeObject", "None"):   {tableAccept},
			query("labelSelector", selector, "limit", "3"):              {"", tableAccept, partialsList},
			query("labelSelector", selector, "pretty", "true"):          {"", tableAccept},
			query("labelSelector", "nobody=has-this"):                   list,
			query("fieldSelector", "metadata.name=proxied-2"):           {"", tableAccept},
		} {
			for _, accept := range accepts {
				t.Run(target+"/"+accept, func(t *testing.T) { k.compareProxied(t, config, target, accept) })
			}
		}
		t.Run("by name", func(t *testing.T) {
			got := ask(t, config, http.MethodGet, k.nativePath()+"/proxied-4", "", "")
			require.NotContains(t, string(got.Body), "Tenant"+k.nativeKind)
		})
	})
}

// compareProxied asks the proxy for a target, and the API server before and after: where
// these two answers are one, ages included, the proxy's has to be the same.
func (k kind) compareProxied(t *testing.T, config *rest.Config, target, accept string) {
	t.Helper()
	admin := system.AdminConfig(t)
	read := func(config *rest.Config) answer {
		return ask(t, config, http.MethodGet, k.nativePath()+target, accept, "")
	}
	deadline := time.Now().Add(eventually)
	for {
		native, proxied, again := read(admin), read(config), read(admin)
		want, got, after := asServed(t, native), asServed(t, proxied), asServed(t, again)
		if !reflect.DeepEqual(want, after) {
			require.True(t, time.Now().Before(deadline), "the native answer never was the same twice")
			continue
		}
		require.Equal(t, native.ContentType, proxied.ContentType)
		require.False(t, bytes.Contains(proxied.Body, []byte("tenancy.capsule.io")), "%s", proxied.Body)
		if !reflect.DeepEqual(want, got) {
			t.Errorf("(-native +proxied):\n%s", gocmp.Diff(want, got))
		}
		return
	}
}

// asServed reads an answer as it is: managedFields, the order of fields and the revision
// of a list, which is each server's own, apart.
func asServed(t *testing.T, a answer) map[string]any {
	t.Helper()
	require.Equal(t, http.StatusOK, a.Code, "%s", a.Body)
	var result map[string]any
	require.NoError(t, utiljson.Unmarshal(jsonOf(t, a), &result))
	dropOwn(result)
	return result
}

// TestProxiedFailures compares how the proxy and the API server refuse what is not there,
// or cannot be asked.
func TestProxiedFailures(t *testing.T) {
	t.Parallel()
	forEveryKind(t, func(t *testing.T, k kind) {
		config, admin := k.reads(t, "proxied-failures-"+k.native.Resource), system.AdminConfig(t)
		accepts := map[string]string{"json": "", "yaml": "application/yaml", "table": tableAccept}
		if !k.custom {
			accepts["protobuf"] = protobuf
		}
		for name, target := range map[string]string{
			"absent":         "/absent",
			"label selector": query("labelSelector", "a in"),
			"field selector": query("fieldSelector", "spec.nothing=7"),
			"limit":          query("limit", "many"),
			"continue":       query("continue", "nonsense"),
			"future":         query("resourceVersion", "x", "resourceVersionMatch", "Exact"),
		} {
			for format, accept := range accepts {
				t.Run(name+"/"+format, func(t *testing.T) {
					want := ask(t, admin, http.MethodGet, k.nativePath()+target, accept, "")
					got := ask(t, config, http.MethodGet, k.nativePath()+target, accept, "")
					if diff := gocmp.Diff(k.failureOf(t, want), k.failureOf(t, got)); diff != "" {
						t.Errorf("(-native +proxied):\n%s", diff)
					}
					require.False(t, bytes.Contains(got.Body, []byte("tenancy.capsule.io")), "%s", got.Body)
				})
			}
		}
	})
}

// TestProxiedWatches compares the events of a watch through the proxy with those of the
// API server's to an administrator.
func TestProxiedWatches(t *testing.T) {
	t.Parallel()
	forEveryKind(t, func(t *testing.T, k kind) {
		selector := k.seed(t, "proxied-watch")
		config, admin := k.reads(t, "proxied-watches-"+k.native.Resource), system.AdminConfig(t)
		k.awaitThrough(t, config, "proxied-watch-6")
		options := []string{
			"labelSelector", selector, "watch", "1", "allowWatchBookmarks", "true", "timeoutSeconds", "60",
			"sendInitialEvents", "true", "resourceVersionMatch", "NotOlderThan",
		}
		for _, accept := range []string{"", tableAccept, partialAccept} {
			t.Run("json/"+accept, func(t *testing.T) {
				k.compareWatches(t, func(config *rest.Config) []frame {
					s := openStream(t, config, k.nativePath()+query(options...), accept)
					require.Equal(t, http.StatusOK, s.response.StatusCode)
					defer s.end()
					frames := s.until(t, func(f frame) bool { return f.Type == watch.Bookmark })
					for _, f := range frames {
						require.NotContains(t, string(asJSON(t, f.Object)), "tenancy.capsule.io")
					}
					return frames
				}, admin, config)
			})
		}
		if k.custom {
			return
		}
		t.Run("protobuf", func(t *testing.T) {
			k.compareWatches(t, func(config *rest.Config) []frame { return k.watchProtobuf(t, config, selector) }, admin, config)
		})
	})
}

// compareWatches compares the first events of watches, whatever their order is, where
// those of the API server are the same before and after, ages included.
func (k kind) compareWatches(t *testing.T, read func(*rest.Config) []frame, admin, config *rest.Config) {
	t.Helper()
	sorted := func(frames []frame) []frame {
		for _, f := range frames {
			dropOwn(f.Object)
			// The columns come with the first row, whichever that is.
			delete(f.Object, "columnDefinitions")
			if f.Type == watch.Bookmark {
				dropRevisions(f.Object)
			}
		}
		slices.SortStableFunc(frames, func(a, b frame) int { return cmp.Compare(a.metadata().Name, b.metadata().Name) })
		return frames
	}
	deadline := time.Now().Add(eventually)
	for {
		want, got, after := sorted(read(admin)), sorted(read(config)), sorted(read(admin))
		if !reflect.DeepEqual(want, after) {
			require.True(t, time.Now().Before(deadline), "the native events never were the same twice")
			continue
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("(-native +proxied):\n%s", diff)
		}
		return
	}
}

// dropRevisions takes all revisions from a bookmark.
func dropRevisions(content any) {
	switch c := content.(type) {
	case map[string]any:
		delete(c, "resourceVersion")
		for _, value := range c {
			dropRevisions(value)
		}
	case []any:
		for _, value := range c {
			dropRevisions(value)
		}
	}
}

// watchProtobuf returns the first events of a watch in protobuf, by the client that
// controllers have.
func (k kind) watchProtobuf(t *testing.T, config *rest.Config, selector string) []frame {
	t.Helper()
	config = rest.CopyConfig(config)
	version := k.native.GroupVersion()
	config.GroupVersion, config.NegotiatedSerializer = &version, scheme.Codecs.WithoutConversion()
	config.ContentType, config.AcceptContentTypes = protobuf, protobuf
	config.APIPath = "/apis"
	client, err := rest.RESTClientFor(config)
	require.NoError(t, err)
	yes := true
	w, err := client.Get().AbsPath(k.nativePath()).VersionedParams(&metav1.ListOptions{
		LabelSelector: selector, Watch: true, AllowWatchBookmarks: true, SendInitialEvents: &yes, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	}, metav1.ParameterCodec).Watch(t.Context())
	require.NoError(t, err)
	defer w.Stop()
	var frames []frame
	for event := range w.ResultChan() {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(event.Object)
		require.NoError(t, err)
		frames = append(frames, frame{event.Type, content})
		if event.Type == watch.Bookmark {
			return frames
		}
	}
	require.FailNow(t, "the watch has ended", "after %v", frames)
	return nil
}
