// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
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

	// streaming is how long a watch may take to say what it has to.
	streaming = time.Minute
)

// stream is an open watch.
type stream struct {
	response *http.Response
	decoder  *json.Decoder
	end      context.CancelFunc
}

// frame is an event of a watch.
type frame struct {
	Type   watch.EventType `json:"type"`
	Object map[string]any  `json:"object"`
}

// openStream opens a watch as the user of the config, which ends with the test.
func openStream(t *testing.T, config *rest.Config, target, accept string) *stream {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), streaming)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+target, nil)
	require.NoError(t, err)
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	response, err := client.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	return &stream{response: response, decoder: json.NewDecoder(response.Body), end: cancel}
}

// next returns the next event, false if the watch has ended.
func (s *stream) next(t *testing.T) (frame, bool) {
	t.Helper()
	var next frame
	err := s.decoder.Decode(&next)
	if errors.Is(err, io.EOF) {
		return frame{}, false
	}
	require.NoError(t, err)
	return next, true
}

// must returns the next event, which has to come.
func (s *stream) must(t *testing.T, eventType watch.EventType) frame {
	t.Helper()
	next, ok := s.next(t)
	require.True(t, ok, "the watch has ended, %s was to come", eventType)
	require.Equal(t, eventType, next.Type, "%v", next.Object)
	return next
}

// until returns the events up to the first one of which stop says so.
func (s *stream) until(t *testing.T, stop func(frame) bool) []frame {
	t.Helper()
	var frames []frame
	for {
		next, ok := s.next(t)
		require.True(t, ok, "the watch has ended after %v", frames)
		if frames = append(frames, next); stop(next) {
			return frames
		}
	}
}

// metadata returns that of the object, or of the one in a table's row.
func (f frame) metadata() metav1.PartialObjectMetadata {
	object := f.Object
	if rows, ok := object["rows"].([]any); ok && len(rows) == 1 {
		object, _ = rows[0].(map[string]any)["object"].(map[string]any)
	}
	var metadata metav1.PartialObjectMetadata
	if data, err := json.Marshal(object); err == nil {
		_ = json.Unmarshal(data, &metadata)
	}
	return metadata
}

func (f frame) revision(t *testing.T) uint64 {
	t.Helper()
	revision, err := strconv.ParseUint(f.metadata().ResourceVersion, 10, 64)
	require.NoError(t, err, "%v", f)
	return revision
}

func (f frame) summary() string {
	metadata := f.metadata()
	return fmt.Sprintf("%s %s %s", f.Type, metadata.Name, metadata.ResourceVersion)
}

func isNamed(name string) func(frame) bool {
	return func(f frame) bool { return f.metadata().Name == name }
}

// asNativeFrames makes of events what the native resource would send: the revision
// of bookmarks, which is each server's own, and ages, apart. The API server repeats
// the columns of a table where it reuses what it encoded for another watch.
func asNativeFrames(frames []frame) []frame {
	for i, f := range frames {
		normalize(f.Object)
		if _, ok := f.Object["columnDefinitions"]; ok && i > 0 {
			f.Object["columnDefinitions"] = nil
		}
		object := f.Object
		rows, _ := object["rows"].([]any)
		for _, r := range rows {
			row := r.(map[string]any)
			if cells := row["cells"].([]any); len(cells) > 2 {
				row["cells"] = cells[:2] // name and status
			}
			object, _ = row["object"].(map[string]any)
		}
		if metadata, ok := object["metadata"].(map[string]any); ok && f.Type == watch.Bookmark {
			delete(metadata, "resourceVersion")
		}
	}
	return frames
}

// listRevision returns the revision of a list of the view, to watch from. The
// native resource knows it, too.
func listRevision(t *testing.T, config *rest.Config) string {
	t.Helper()
	got := ask(t, config, http.MethodGet, viewPath+query("limit", "1"), partialsList, "")
	require.Equal(t, http.StatusOK, got.Code, "%s", got.Body)
	var list metav1.PartialObjectMetadataList
	require.NoError(t, json.Unmarshal(got.Body, &list))
	return list.ResourceVersion
}

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

// TestWatchFailuresAreNative asks the view, and the native resource, for watches
// that cannot be, and compares codes, reasons, messages and details.
func TestWatchFailuresAreNative(t *testing.T) {
	t.Parallel()
	targets := map[string]string{}
	for name, pairs := range map[string][]string{
		"initial events without a match":    {"sendInitialEvents", "true"},
		"initial events of a match unknown": {"sendInitialEvents", "true", "resourceVersionMatch", "Newest"},
		"initial events, exactly":           {"sendInitialEvents", "true", "resourceVersionMatch", "Exact", "resourceVersion", "5"},
		"initial events are no boolean":     {"sendInitialEvents", "perhaps", "resourceVersionMatch", "NotOlderThan"},
		"no initial events without a match": {"sendInitialEvents", "false"},
		"a match without initial events":    {"resourceVersionMatch", "NotOlderThan"},
		"a match without, at a revision":    {"resourceVersionMatch", "NotOlderThan", "resourceVersion", "5"},
		"unknown field":                     {"fieldSelector", "spec.bogus=1"},
		"field of namespaced kinds":         {"fieldSelector", "metadata.namespace=a"},
		"malformed field selector":          {"fieldSelector", "metadata.name"},
		"malformed label selector":          {"labelSelector", "a in b"},
		"bookmarks are no boolean":          {"allowWatchBookmarks", "perhaps"},
		"continue":                          {"continue", token(`{"v":"meta.k8s.io/v1","rv":5,"start":"a"}`)},
		"limit is no number":                {"limit", "many"},
		"limit":                             {"limit", "1"},
	} {
		targets[name] = query(append([]string{"watch", "1", "timeoutSeconds", "1"}, pairs...)...)
	}
	compareFailures(t, targets, map[string]string{"json": "", "table": tableAccept, "partial": partialAccept, "unknown": "application/xml"})
}

// TestWatchOfUnreadableRevision asks for watches at what is no revision. To the
// native resource that is an internal error, 500; it is the client's mistake, and
// the answer says where.
func TestWatchOfUnreadableRevision(t *testing.T) {
	t.Parallel()
	config := system.AdminConfig(t)
	for name, pairs := range map[string][]string{
		"no number":           {"resourceVersion", "abc"},
		"negative":            {"resourceVersion", "-1"},
		"too long":            {"resourceVersion", "18446744073709551616"},
		"no number, initials": {"sendInitialEvents", "true", "resourceVersionMatch", "NotOlderThan", "resourceVersion", "abc"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := query(append([]string{"watch", "1", "timeoutSeconds", "1"}, pairs...)...)
			require.Equal(t, http.StatusInternalServerError, ask(t, config, http.MethodGet, nativePath+target, "", "").Code, "natively")
			answer := ask(t, config, http.MethodGet, viewPath+target, "", "")
			require.Equal(t, http.StatusUnprocessableEntity, answer.Code, "%s", answer.Body)
			var status metav1.Status
			require.NoError(t, json.Unmarshal(answer.Body, &status))
			require.Equal(t, metav1.StatusReasonInvalid, status.Reason)
			require.Len(t, status.Details.Causes, 1)
			require.Equal(t, "resourceVersion", status.Details.Causes[0].Field)
		})
	}
}

// TestWatchErrorEventsAreNative compares what is told when a watch has begun: by
// an event, which ends it.
func TestWatchErrorEventsAreNative(t *testing.T) {
	t.Parallel()
	config := system.AdminConfig(t)
	type told struct {
		HTTP    int
		Type    watch.EventType
		Code    int32
		Reason  metav1.StatusReason
		Status  string
		Causes  []metav1.StatusCause
		Retry   int32
		EndsNow bool
	}
	tell := func(t *testing.T, target string) told {
		t.Helper()
		s := openStream(t, config, target, "")
		event, ok := s.next(t)
		require.True(t, ok)
		data, err := json.Marshal(event.Object)
		require.NoError(t, err)
		var status metav1.Status
		require.NoError(t, json.Unmarshal(data, &status))
		require.Equal(t, "Status", status.Kind, "%s", data)
		got := told{HTTP: s.response.StatusCode, Type: event.Type, Code: status.Code, Reason: status.Reason, Status: status.Status}
		if status.Details != nil {
			got.Causes, got.Retry = status.Details.Causes, status.Details.RetryAfterSeconds
		}
		_, more := s.next(t)
		got.EndsNow = !more
		return got
	}
	tooOld := told{HTTP: http.StatusOK, Type: watch.Error, Code: http.StatusGone, Reason: metav1.StatusReasonExpired, Status: metav1.StatusFailure, EndsNow: true}
	// The native resource remembers its whole short life here: what it says when it
	// does not is written down.
	for name, pairs := range map[string][]string{
		"too old":            {"resourceVersion", "1"},
		"too old, bookmarks": {"resourceVersion", "1", "allowWatchBookmarks", "true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tooOld, tell(t, viewPath+query(append([]string{"watch", "1"}, pairs...)...))); diff != "" {
				t.Errorf("(-native +view):\n%s", diff)
			}
		})
	}
	// The native resource keeps quiet at a revision that is yet to come, but for
	// initial events.
	t.Run("too large, initial events", func(t *testing.T) {
		t.Parallel()
		target := query("watch", "1", "sendInitialEvents", "true", "resourceVersionMatch", "NotOlderThan", "allowWatchBookmarks", "true", "resourceVersion", "999999999")
		if diff := cmp.Diff(tell(t, nativePath+target), tell(t, viewPath+target)); diff != "" {
			t.Errorf("(-native +view):\n%s", diff)
		}
	})
	t.Run("too large", func(t *testing.T) {
		t.Parallel()
		got := tell(t, viewPath+query("watch", "1", "resourceVersion", "999999999"))
		want := told{HTTP: http.StatusOK, Type: watch.Error, Code: http.StatusGatewayTimeout, Reason: metav1.StatusReasonTimeout, Status: metav1.StatusFailure, Retry: 1, EndsNow: true,
			Causes: []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
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

// TestWatchFollowsAccess grants and revokes in every way while a watch is open.
func TestWatchFollowsAccess(t *testing.T) {
	t.Parallel()
	const name = "watch-access"
	rbac := system.Admin(t).RbacV1()
	createNamespace(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"test": name}}})
	eventuallyVisible(t, name)
	namespace, err := system.Admin(t).CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	born, err := strconv.ParseUint(namespace.ResourceVersion, 10, 64)
	require.NoError(t, err)

	config := system.Config(t, "watch-ann", "watch-team")
	s := openStream(t, config, viewPath+query("watch", "1", "allowWatchBookmarks", "true", "sendInitialEvents", "true", "resourceVersionMatch", "NotOlderThan", "labelSelector", "test="+name), "")
	ends := s.must(t, watch.Bookmark)
	require.Equal(t, "true", ends.metadata().Annotations[metav1.InitialEventsAnnotationKey])
	position := ends.revision(t)
	// event returns the next one that is no bookmark of the minute.
	event := func(t *testing.T, eventType watch.EventType) frame {
		t.Helper()
		for {
			next, ok := s.next(t)
			require.True(t, ok, "the watch has ended")
			if next.Type == watch.Bookmark && next.Type != eventType {
				continue
			}
			require.Equal(t, eventType, next.Type, "%v", next.Object)
			return next
		}
	}
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get"}, ResourceNames: []string{name}}},
	}
	t.Cleanup(func() {
		_ = rbac.ClusterRoles().Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{})
	})
	t.Cleanup(func() {
		_ = rbac.ClusterRoleBindings().Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{})
	})
	unbind := func(t *testing.T, binding string) {
		t.Helper()
		require.NoError(t, rbac.RoleBindings(name).Delete(t.Context(), binding, metav1.DeleteOptions{}))
	}
	for _, step := range []struct {
		name          string
		grant, revoke func(*testing.T)
	}{
		{"a RoleBinding", func(t *testing.T) { t.Helper(); bind(t, name, "ann", user("watch-ann")) }, func(t *testing.T) { t.Helper(); unbind(t, "ann") }},
		{"once more", func(t *testing.T) { t.Helper(); bind(t, name, "ann", user("watch-ann")) }, func(t *testing.T) { t.Helper(); unbind(t, "ann") }},
		{"a group", func(t *testing.T) { t.Helper(); bind(t, name, "team", group("watch-team")) }, func(t *testing.T) { t.Helper(); unbind(t, "team") }},
		{"a ClusterRoleBinding, then its role", func(t *testing.T) {
			t.Helper()
			_, err := rbac.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
				Subjects:   []rbacv1.Subject{group("watch-team")},
			}, metav1.CreateOptions{})
			require.NoError(t, err)
			_, err = rbac.ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{})
			require.NoError(t, err)
		}, func(t *testing.T) {
			t.Helper()
			changed := role.DeepCopy()
			changed.Rules[0].ResourceNames = []string{"absent"}
			_, err := rbac.ClusterRoles().Update(t.Context(), changed, metav1.UpdateOptions{})
			require.NoError(t, err)
		}},
		{"every name", func(t *testing.T) {
			t.Helper()
			changed := role.DeepCopy()
			changed.Rules[0].ResourceNames = nil
			_, err := rbac.ClusterRoles().Update(t.Context(), changed, metav1.UpdateOptions{})
			require.NoError(t, err)
		}, func(t *testing.T) {
			t.Helper()
			require.NoError(t, rbac.ClusterRoles().Delete(t.Context(), name, metav1.DeleteOptions{}))
		}},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.grant(t)
			added := event(t, watch.Added)
			assert.Equal(t, namespace.Name, added.metadata().Name)
			assert.Equal(t, namespace.UID, added.metadata().UID)
			assert.Equal(t, born, added.revision(t), "the object's own revision")
			if position > born {
				bookmark := s.must(t, watch.Bookmark)
				assert.GreaterOrEqual(t, bookmark.revision(t), position, "a position that does not fall")
				position = bookmark.revision(t)
			}
			step.revoke(t)
			deleted := event(t, watch.Deleted)
			assert.Equal(t, namespace.UID, deleted.metadata().UID)
			assert.GreaterOrEqual(t, deleted.revision(t), position)
			position = deleted.revision(t)
		})
	}
}

// TestKubectlWatch is what a tenant sees who watches: a namespace appears when it
// is granted and vanishes when it is revoked, on the connection that is open.
func TestKubectlWatch(t *testing.T) {
	t.Parallel()
	const name = "kubectl-watched"
	createNamespace(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{registry.TenantLabel: "oil"}}})
	createNamespace(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name + "-first"}})
	bind(t, name+"-first", "eve", user("kubectl-eve"))
	eventuallyVisible(t, name+"-first")
	kubectl := system.Kubectl(t, "kubectl-eve")
	require.Eventually(t, func() bool {
		return strings.Contains(kubectl.Output(t, "get", "tns", "-o", "name"), name+"-first")
	}, eventually, tick)

	ctx, cancel := context.WithTimeout(t.Context(), streaming)
	defer cancel()
	cmd := kubectl.Command(ctx, "get", "tns", "--watch", "--output-watch-events", "--v=6")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(stdout)
	first := []string{"ADDED", name + "-first"}
	line := func() []string {
		t.Helper()
		for {
			require.True(t, lines.Scan(), "kubectl has ended")
			// What was listed and had been granted just before is told again.
			if columns := strings.Fields(lines.Text())[:2]; !slices.Equal(columns, first) {
				return columns
			}
		}
	}
	require.Equal(t, []string{"EVENT", "NAME"}, line())
	bind(t, name, "eve", user("kubectl-eve"))
	require.Equal(t, []string{"ADDED", name}, line())
	require.NoError(t, system.Admin(t).RbacV1().RoleBindings(name).Delete(t.Context(), "eve", metav1.DeleteOptions{}))
	require.Equal(t, []string{"DELETED", name}, line())
	bind(t, name, "eve-too", user("kubectl-eve"))
	require.Equal(t, []string{"ADDED", name}, line())
	cancel()
	for lines.Scan() {
		continue
	}
	_ = cmd.Wait() // was killed
	require.Len(t, regexp.MustCompile(`[?&]watch=true`).FindAllString(stderr.String(), -1), 1, "one watch: %s", stderr.String())
}

// seats returns the value of a priority level's metric.
func seats(t *testing.T, config *rest.Config, metric, level string) float64 {
	t.Helper()
	got := ask(t, config, http.MethodGet, "/metrics", "", "")
	require.Equal(t, http.StatusOK, got.Code)
	sum := 0.0
	for line := range strings.Lines(string(got.Body)) {
		if !strings.HasPrefix(line, metric+"{") || !strings.Contains(line, `priority_level="`+level+`"`) {
			continue
		}
		value, err := strconv.ParseFloat(line[strings.LastIndex(line, " ")+1:len(line)-1], 64)
		require.NoError(t, err, line)
		sum += value
	}
	return sum
}

// TestWatchesHoldNoSeats holds that open watches take nothing away from the
// API server's concurrency: of a level that has two seats, thirty are open.
func TestWatchesHoldNoSeats(t *testing.T) {
	t.Parallel()
	const name, watches = "watch-seats", 30
	flow := system.Admin(t).FlowcontrolV1()
	ctx := context.WithoutCancel(t.Context())
	_, err := flow.PriorityLevelConfigurations().Create(ctx, &flowcontrolv1.PriorityLevelConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: flowcontrolv1.PriorityLevelConfigurationSpec{Type: flowcontrolv1.PriorityLevelEnablementLimited, Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
			NominalConcurrencyShares: new(int32(1)), BorrowingLimitPercent: new(int32(0)),
			LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeQueue, Queuing: &flowcontrolv1.QueuingConfiguration{Queues: 1, HandSize: 1, QueueLengthLimit: 100}},
		}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = flow.PriorityLevelConfigurations().Delete(ctx, name, metav1.DeleteOptions{}) })
	_, err = flow.FlowSchemas().Create(ctx, &flowcontrolv1.FlowSchema{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: flowcontrolv1.FlowSchemaSpec{
			PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: name}, MatchingPrecedence: 10,
			Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
				Subjects:      []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: name}}},
				ResourceRules: []flowcontrolv1.ResourcePolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}, ClusterScope: true, Namespaces: []string{"*"}}},
			}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = flow.FlowSchemas().Delete(ctx, name, metav1.DeleteOptions{}) })

	config, admin := everyNamespace(t, name), system.AdminConfig(t)
	served := func() float64 {
		return seats(t, admin, "apiserver_flowcontrol_dispatched_requests_total", name)
	}
	require.Eventually(t, func() bool {
		ask(t, config, http.MethodGet, viewPath+"/absent", "", "")
		return served() > 0
	}, eventually, tick, "the level is in use")

	before := served()
	for range watches {
		s := openStream(t, config, viewPath+query("watch", "1", "fieldSelector", "metadata.name=kube-system"), "")
		require.Equal(t, http.StatusOK, s.response.StatusCode)
		s.must(t, watch.Added)
	}
	require.GreaterOrEqual(t, served()-before, float64(watches), "the watches were of this level")
	for _, server := range []struct {
		name   string
		config *rest.Config
		levels []string
	}{
		{"the API server", admin, []string{name}},
		{"tenancy-apiserver", system.DirectConfigOf(t, "root", "system:masters"), []string{name}},
	} {
		for _, metric := range []string{"apiserver_flowcontrol_current_executing_seats", "apiserver_flowcontrol_current_inqueue_requests"} {
			for _, level := range server.levels {
				require.Eventually(t, func() bool { return seats(t, server.config, metric, level) == 0 }, eventually, tick, "%s of %s", metric, server.name)
			}
		}
	}
	require.Equal(t, http.StatusOK, ask(t, config, http.MethodGet, viewPath+"/kube-system", "", "").Code)
}

// TestWatchLimit asks a server that allows two watches a user.
func TestWatchLimit(t *testing.T) {
	t.Parallel()
	_, url, err := system.AddServer(t.Context(), "watch-limit", "--max-watches-per-user=2")
	require.NoError(t, err)
	at := func(name string) *rest.Config {
		config := system.DirectConfigOf(t, name)
		config.Host = url
		return config
	}
	ann, ben := at("limit-ann"), at("limit-ben")
	target := viewPath + query("watch", "1")
	first := openStream(t, ann, target, "")
	require.Equal(t, http.StatusOK, first.response.StatusCode)
	require.Equal(t, http.StatusOK, openStream(t, ann, target, "").response.StatusCode)
	refused := openStream(t, ann, target, "")
	require.Equal(t, http.StatusTooManyRequests, refused.response.StatusCode)
	require.Equal(t, "10", refused.response.Header.Get("Retry-After"))
	var status metav1.Status
	require.NoError(t, refused.decoder.Decode(&status))
	require.Equal(t, metav1.StatusReasonTooManyRequests, status.Reason)

	require.Equal(t, http.StatusOK, ask(t, ann, http.MethodGet, viewPath, "", "").Code, "lists are not limited")
	require.Equal(t, http.StatusOK, openStream(t, ben, target, "").response.StatusCode, "nor are others")
	first.end()
	require.Eventually(t, func() bool {
		return openStream(t, ann, target, "").response.StatusCode == http.StatusOK
	}, eventually, tick, "a watch that has ended makes room")
}
