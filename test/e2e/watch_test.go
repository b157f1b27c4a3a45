// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	tenancy "tenancy.capsule.io/generated/clientset/versioned"
	"tenancy.capsule.io/pkg/registry"
)

const (
	deprecatedViewPath   = "/apis/tenancy.capsule.io/v1alpha1/watch/tenantnamespaces"
	deprecatedNativePath = "/api/v1/watch/namespaces"
)

// everyNamespace returns the config of a user who may get every namespace.
func everyNamespace(t *testing.T, name string) *rest.Config {
	t.Helper()
	client := system.Admin(t).RbacV1()
	_, err := client.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get"}}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = client.ClusterRoles().Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{})
	})
	_, err = client.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{user(name)},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = client.ClusterRoleBindings().Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{})
	})
	config := system.Config(t, name)
	require.Eventually(t, func() bool {
		return ask(t, config, http.MethodGet, viewPath+"/kube-system", "", "").Code == http.StatusOK
	}, eventually, tick)
	return config
}

// TestWatchesAreNative compares, in every format that JSON frames have, what
// watches of the view and of the native resource say of the same changes: initial
// events, and a life of namespaces up to their end.
func TestWatchesAreNative(t *testing.T) {
	t.Parallel()
	config := everyNamespace(t, "watch-every")
	admin := system.AdminConfig(t)
	const id = "watch-native"
	labels := func(extra ...string) map[string]string {
		all := map[string]string{"test": id, registry.TenantLabel: "oil"}
		for pair := range slices.Chunk(extra, 2) {
			all[pair[0]] = pair[1]
		}
		return all
	}
	createNamespace(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: id + "-0", Labels: labels(), Annotations: map[string]string{"note": "ü \" <&> \u2028"}}})
	createNamespace(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: id + "-1", Labels: labels()}})
	eventuallyVisible(t, id+"-1")

	formats := map[string]string{"json": "", "table": tableAccept, "partial": partialAccept}
	beginnings := map[string][]string{
		"initial events":    {"sendInitialEvents", "true", "resourceVersionMatch", "NotOlderThan", "allowWatchBookmarks", "true"},
		"of any":            {"sendInitialEvents", "true", "resourceVersionMatch", "NotOlderThan", "allowWatchBookmarks", "true", "resourceVersion", "0"},
		"nothing":           {},
		"any":               {"resourceVersion", "0"},
		"from a list":       {"resourceVersion", listRevision(t, config)},
		"from a list, said": {"sendInitialEvents", "false", "resourceVersionMatch", "NotOlderThan", "resourceVersion", listRevision(t, config)},
		"whole objects":     {"resourceVersion", "0", "includeObject", "Object"},
	}
	type pair struct{ native, view *stream }
	open := map[string]pair{}
	for beginning, pairs := range beginnings {
		for format, accept := range formats {
			target := query(append([]string{"watch", "1", "labelSelector", "test=" + id}, pairs...)...)
			viewer := config
			if strings.Contains(beginning, "list") {
				// Who was granted something just now is told of it again.
				viewer = admin
			}
			open[beginning+"/"+format] = pair{openStream(t, admin, nativePath+target, accept), openStream(t, viewer, viewPath+target, accept)}
		}
	}
	for format, accept := range formats {
		target := query("labelSelector", "test="+id)
		open["deprecated/"+format] = pair{openStream(t, admin, deprecatedNativePath+target, accept), openStream(t, config, deprecatedViewPath+target, accept)}
	}

	namespaces := system.Admin(t).CoreV1().Namespaces()
	patch := func(name, patch string) {
		t.Helper()
		_, err := namespaces.Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		require.NoError(t, err)
	}
	createNamespace(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: id + "-2", Labels: labels("stage", "dev")}})
	patch(id+"-0", `{"metadata":{"annotations":{"note":"2"}}}`)
	patch(id+"-1", `{"metadata":{"labels":{"test":"other"}}}`)
	patch(id+"-1", `{"metadata":{"annotations":{"unseen":"true"}}}`)
	patch(id+"-1", `{"metadata":{"labels":{"test":"`+id+`"}}}`)
	require.NoError(t, namespaces.Delete(t.Context(), id+"-2", metav1.DeleteOptions{}))
	require.Eventually(t, func() bool {
		_, err := namespaces.Get(t.Context(), id+"-2", metav1.GetOptions{})
		return err != nil
	}, streaming, tick)
	createNamespace(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: id + "-9", Labels: labels()}})

	for name, p := range open {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, p.native.response.Header.Get("Content-Type"), p.view.response.Header.Get("Content-Type"))
			want := p.native.until(t, isNamed(id+"-9"))
			got := p.view.until(t, isNamed(id+"-9"))
			// Bookmarks of the minute come when they come.
			summaries := func(frames []frame) []string {
				var all []string
				for _, f := range frames {
					if f.Type != watch.Bookmark {
						all = append(all, f.summary())
					}
				}
				return all
			}
			if diff := cmp.Diff(summaries(want), summaries(got)); diff != "" {
				t.Fatalf("types, names and revisions (-native +view):\n%s", diff)
			}
			require.GreaterOrEqual(t, len(want), 8)
			without := func(frames []frame) []frame {
				return slices.DeleteFunc(asNativeFrames(frames), func(f frame) bool {
					return f.Type == watch.Bookmark && f.metadata().Annotations[metav1.InitialEventsAnnotationKey] == ""
				})
			}
			if diff := cmp.Diff(without(want), without(got)); diff != "" {
				t.Errorf("events (-native +view):\n%s", diff)
			}
		})
	}
}

// TestWatchOfOneName compares the forms in which one name is watched. A watch in
// the query of a GET of a name is none.
func TestWatchOfOneName(t *testing.T) {
	t.Parallel()
	admin := system.AdminConfig(t)
	config := everyNamespace(t, "watch-one-name")
	createNamespace(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "watch-one"}})
	createNamespace(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "watch-one-too"}})
	eventuallyVisible(t, "watch-one-too")
	for name, target := range map[string]struct{ native, view string }{
		"deprecated": {deprecatedNativePath + "/watch-one", deprecatedViewPath + "/watch-one"},
		"field":      {nativePath + query("watch", "1", "fieldSelector", "metadata.name=watch-one"), viewPath + query("watch", "1", "fieldSelector", "metadata.name=watch-one")},
	} {
		t.Run(name, func(t *testing.T) {
			native, view := openStream(t, admin, target.native, ""), openStream(t, config, target.view, "")
			_, err := system.Admin(t).CoreV1().Namespaces().Patch(t.Context(), "watch-one", types.MergePatchType,
				[]byte(`{"metadata":{"annotations":{"test":"`+name+`"}}}`), metav1.PatchOptions{})
			require.NoError(t, err)
			last := func(f frame) bool { return f.metadata().Annotations["test"] == name }
			want, got := native.until(t, last), view.until(t, last)
			if diff := cmp.Diff(asNativeFrames(want), asNativeFrames(got)); diff != "" {
				t.Errorf("events (-native +view):\n%s", diff)
			}
		})
	}
	t.Run("GET", func(t *testing.T) {
		want := asNative(t, ask(t, admin, http.MethodGet, nativePath+"/watch-one"+query("watch", "1", "timeoutSeconds", "1"), "", ""))
		got := asNative(t, ask(t, config, http.MethodGet, viewPath+"/watch-one"+query("watch", "1", "timeoutSeconds", "1"), "", ""))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-native +view):\n%s", diff)
		}
	})
}

// TestWatchInProtobuf compares what typed clients read in protobuf.
func TestWatchInProtobuf(t *testing.T) {
	t.Parallel()
	const id = "watch-proto"
	createNamespace(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: id + "-0", Labels: map[string]string{"test": id}}})
	eventuallyVisible(t, id+"-0")
	config := system.AdminConfig(t)
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf
	client, err := tenancy.NewForConfig(config)
	require.NoError(t, err)
	options := metav1.ListOptions{
		LabelSelector: "test=" + id, AllowWatchBookmarks: true,
		SendInitialEvents: new(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	}
	view, err := client.TenancyV1alpha1().TenantNamespaces().Watch(t.Context(), options)
	require.NoError(t, err)
	defer view.Stop()
	core, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	native, err := core.CoreV1().Namespaces().Watch(t.Context(), options)
	require.NoError(t, err)
	defer native.Stop()
	require.NoError(t, core.CoreV1().Namespaces().Delete(t.Context(), id+"-0", metav1.DeleteOptions{}))

	read := func(w watch.Interface) []watch.Event {
		t.Helper()
		var events []watch.Event
		deadline := time.After(streaming)
		for {
			select {
			case event, ok := <-w.ResultChan():
				require.True(t, ok, "%v", events)
				if o, ok := event.Object.(*v1alpha1.TenantNamespace); ok {
					event.Object = (*corev1.Namespace)(o)
				}
				namespace, ok := event.Object.(*corev1.Namespace)
				require.True(t, ok, "%T", event.Object)
				namespace.ManagedFields, namespace.TypeMeta = nil, metav1.TypeMeta{}
				if event.Type == watch.Bookmark {
					if namespace.Annotations[metav1.InitialEventsAnnotationKey] == "" {
						continue // comes when it comes
					}
					namespace.ResourceVersion = ""
				}
				if events = append(events, event); event.Type == watch.Deleted {
					return events
				}
			case <-deadline:
				require.Fail(t, "no DELETED", "%v", events)
			}
		}
	}
	want, got := read(native), read(view)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-native +view):\n%s", diff)
	}
	require.Equal(t, watch.Added, got[0].Type)
	require.Equal(t, watch.Bookmark, got[1].Type)
}

// TestWatchTimeout holds that a watch ends cleanly when the client asked for it,
// with a bookmark shortly before.
func TestWatchTimeout(t *testing.T) {
	t.Parallel()
	config := everyNamespace(t, "watch-timeout")
	start := time.Now()
	s := openStream(t, config, viewPath+query("watch", "1", "timeoutSeconds", "4", "allowWatchBookmarks", "true", "resourceVersion", listRevision(t, config), "fieldSelector", "metadata.name=absent"), "")
	bookmark := s.must(t, watch.Bookmark)
	require.GreaterOrEqual(t, time.Since(start), time.Second)
	for more := true; more; {
		var next frame
		if next, more = s.next(t); more {
			require.Equal(t, watch.Bookmark, next.Type)
			bookmark = next
		}
	}
	require.GreaterOrEqual(t, time.Since(start), 3*time.Second)
	require.Less(t, time.Since(start), 20*time.Second)
	// Where the client goes on.
	again := openStream(t, config, viewPath+query("watch", "1", "timeoutSeconds", "1", "resourceVersion", bookmark.metadata().ResourceVersion, "fieldSelector", "metadata.name=absent"), "")
	_, more := again.next(t)
	require.False(t, more)
}
