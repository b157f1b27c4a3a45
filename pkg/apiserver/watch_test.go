// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

const watchPath = "/apis/tenancy.capsule.io/v1alpha1/tenantnamespaces"

// served is a whole server behind a socket.
type served struct {
	url string
	// cluster is what the server reads.
	cluster *fake.Clientset
}

// serve runs a server in a cluster with the namespaces oil, which alice may get,
// and gas, and returns when it is ready.
func serve(t *testing.T, change ...func(*Config)) served {
	t.Helper()
	viewer := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "tenancy:viewer"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"tenancy.capsule.io"}, Resources: []string{"*"}, Verbs: []string{"get", "list", "watch"}}},
	}
	getter := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "getter"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get"}, ResourceNames: []string{"oil"}}},
	}
	viewers := bind(viewer, rbacv1.UserKind, "alice")
	viewers.Subjects = append(viewers.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "bob"})
	config := newConfig(t,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "oil", ResourceVersion: "1", Labels: map[string]string{"capsule.clastix.io/tenant": "oil"}}, Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "gas", ResourceVersion: "1"}},
		viewer, viewers,
		getter, bind(getter, rbacv1.UserKind, "alice"),
	)
	for _, f := range change {
		f(config)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	server := runServer(ctx, t, config)
	listener := httptest.NewServer(server.generic.Handler)
	t.Cleanup(listener.Close)
	s := served{url: listener.URL, cluster: config.Extra.Clients.Kubernetes.(*fake.Clientset)}
	require.Eventually(t, func() bool {
		response := s.get(ctx, t, "/readyz", "kubelet", "")
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	}, patience, 5*time.Millisecond, "ready")
	return s
}

// get sends a request of a user, whose body is for the caller to close.
func (s served) get(ctx context.Context, t *testing.T, target, user, accept string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+target, nil)
	require.NoError(t, err)
	req.Header.Set("X-User", user)
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	response, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	return response
}

// text returns a whole answer.
func (s served) text(t *testing.T, target, user string) string {
	t.Helper()
	response := s.get(t.Context(), t, target, user, "")
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(data)
}

// frames decodes a watch, which ends with the test.
type frames struct {
	*http.Response
	decoder *json.Decoder
	end     context.CancelFunc
}

func (s served) watch(t *testing.T, target, user, accept string) *frames {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	response := s.get(ctx, t, target, user, accept)
	t.Cleanup(func() { _ = response.Body.Close() })
	return &frames{Response: response, decoder: json.NewDecoder(response.Body), end: cancel}
}

// frame is an event as JSON has it, without what differs from run to run.
type frame struct {
	Type   string
	Object map[string]any
}

func (f *frames) next(t *testing.T) frame {
	t.Helper()
	var next frame
	require.NoError(t, f.decoder.Decode(&next))
	return next
}

// summary returns kind, name and revision of what a frame holds. The metadata of
// what a table is about, which says that the initial events end, is in its row.
func (f frame) summary() string {
	metadata, _ := f.Object["metadata"].(map[string]any)
	text := fmt.Sprintf("%s %s/%s", f.Type, f.Object["apiVersion"], f.Object["kind"])
	if name, ok := metadata["name"]; ok {
		text += fmt.Sprintf(" %v", name)
	}
	text += fmt.Sprintf(" %v", metadata["resourceVersion"])
	if rows, ok := f.Object["rows"].([]any); ok && len(rows) == 1 {
		row, _ := rows[0].(map[string]any)["object"].(map[string]any)
		metadata, _ = row["metadata"].(map[string]any)
	}
	if annotations, ok := metadata["annotations"].(map[string]any); ok && annotations[metav1.InitialEventsAnnotationKey] == "true" {
		text += " initial-events-end"
	}
	return text
}

// TestServeWatch opens watches of all forms on a whole server, and holds each
// to a grant and its revocation.
func TestServeWatch(t *testing.T) {
	s := serve(t)
	const (
		initial = "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
		partial = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
		table   = "application/json;as=Table;g=meta.k8s.io;v=v1"
		native  = "tenancy.capsule.io/v1alpha1/TenantNamespace"
	)
	for name, test := range map[string]struct {
		target, accept string
		want           []string // of the beginning
		kind           string   // of what follows; nothing does if it is empty
	}{
		"plain":          {target: watchPath + "?watch=1", want: []string{"ADDED " + native + " oil 1"}, kind: native},
		"initial events": {target: watchPath + "?watch=1&" + initial, want: []string{"ADDED " + native + " oil 1", "BOOKMARK " + native + " REVISION initial-events-end"}, kind: native},
		"deprecated":     {target: strings.Replace(watchPath, "/v1alpha1/", "/v1alpha1/watch/", 1), want: []string{"ADDED " + native + " oil 1"}, kind: native},
		"deprecated, one name": {target: strings.Replace(watchPath, "/v1alpha1/", "/v1alpha1/watch/", 1) + "/oil",
			want: []string{"ADDED " + native + " oil 1"}},
		"deprecated, the name to be granted": {target: strings.Replace(watchPath, "/v1alpha1/", "/v1alpha1/watch/", 1) + "/gas", kind: native},
		"one name":                           {target: watchPath + "?watch=1&fieldSelector=metadata.name%3Doil", want: []string{"ADDED " + native + " oil 1"}},
		"the name to be granted":             {target: watchPath + "?watch=1&fieldSelector=metadata.name%3Dgas", kind: native},
		"metadata":                           {target: watchPath + "?watch=1&" + initial, accept: partial, want: []string{"ADDED meta.k8s.io/v1/PartialObjectMetadata oil 1", "BOOKMARK meta.k8s.io/v1/PartialObjectMetadata REVISION initial-events-end"}, kind: "meta.k8s.io/v1/PartialObjectMetadata"},
		"a table":                            {target: watchPath + "?watch=1", accept: table, want: []string{"ADDED meta.k8s.io/v1/Table 1"}, kind: "meta.k8s.io/v1/Table"},
		"a table, initial":                   {target: watchPath + "?watch=1&" + initial, accept: table, want: []string{"ADDED meta.k8s.io/v1/Table 1", "BOOKMARK meta.k8s.io/v1/Table REVISION initial-events-end"}, kind: "meta.k8s.io/v1/Table"},
	} {
		t.Run(name, func(t *testing.T) {
			revision := s.revision(t)
			opened := s.watch(t, test.target, "alice", test.accept)
			require.Equal(t, http.StatusOK, opened.StatusCode)
			var got, want []string
			for range test.want {
				got = append(got, opened.next(t).summary())
			}
			for _, line := range test.want {
				want = append(want, strings.ReplaceAll(line, "REVISION", revision))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("the beginning (-want +got):\n%s", diff)
			}
			s.grant(t, "gas")
			t.Cleanup(func() {
				// Of a test that failed in between.
				_ = s.cluster.RbacV1().RoleBindings("gas").Delete(context.WithoutCancel(t.Context()), "alice", metav1.DeleteOptions{})
			})
			if test.kind != "" {
				granted := opened.next(t)
				assert.Equal(t, "ADDED", granted.Type)
				assert.Equal(t, test.kind, strings.Fields(granted.summary())[1])
				assert.Equal(t, "gas", nameIn(granted), "%v", granted.Object)
			}
			if test.kind != "" && strings.Contains(test.target, "allowWatchBookmarks") {
				bookmark := opened.next(t)
				assert.Equal(t, "BOOKMARK", bookmark.Type)
			}
			s.revoke(t, "gas")
			if test.kind != "" {
				revoked := opened.next(t)
				assert.Equal(t, "DELETED", revoked.Type)
				assert.Equal(t, "gas", nameIn(revoked), "%v", revoked.Object)
			}
			opened.end()
			require.Eventually(t, func() bool {
				return strings.Contains(s.text(t, "/metrics", "root"), `tenancy_apiserver_watches{resource="tenantnamespaces"} 0`)
			}, patience, 50*time.Millisecond, "the watch ends with its request")
		})
	}
}

// nameIn returns the name that a frame, or the one row of its table, is about.
func nameIn(f frame) any {
	object := f.Object
	if rows, ok := object["rows"].([]any); ok && len(rows) == 1 {
		return rows[0].(map[string]any)["cells"].([]any)[0]
	}
	metadata, _ := object["metadata"].(map[string]any)
	return metadata["name"]
}

// revision returns that of the view.
func (s served) revision(t *testing.T) string {
	t.Helper()
	var list metav1.PartialObjectMetadataList
	require.NoError(t, json.Unmarshal([]byte(s.text(t, watchPath, "alice")), &list))
	return list.ResourceVersion
}

// grant lets alice get a namespace, revoke takes it back.
func (s served) grant(t *testing.T, namespace string) {
	t.Helper()
	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "getter"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get"}}},
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "alice"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "alice"}},
	}
	client := s.cluster.RbacV1()
	if _, err := client.Roles(namespace).Get(t.Context(), role.Name, metav1.GetOptions{}); err != nil {
		_, err := client.Roles(namespace).Create(t.Context(), role, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	_, err := client.RoleBindings(namespace).Create(t.Context(), binding, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(s.text(t, watchPath, "alice"), namespace) }, patience, time.Millisecond)
}

func (s served) revoke(t *testing.T, namespace string) {
	t.Helper()
	require.NoError(t, s.cluster.RbacV1().RoleBindings(namespace).Delete(t.Context(), "alice", metav1.DeleteOptions{}))
	require.Eventually(t, func() bool { return !strings.Contains(s.text(t, watchPath, "alice"), namespace) }, patience, time.Millisecond)
}

// TestServeTableColumns holds the columns of a table to its first frame, as the
// API server has it.
func TestServeTableColumns(t *testing.T) {
	s := serve(t)
	opened := s.watch(t, watchPath+"?watch=1", "root", "application/json;as=Table;g=meta.k8s.io;v=v1")
	first, second := opened.next(t), opened.next(t)
	assert.NotEmpty(t, first.Object["columnDefinitions"])
	assert.Empty(t, second.Object["columnDefinitions"])
	assert.Equal(t, []any{"gas", "oil"}, []any{nameIn(first), nameIn(second)})
}

// TestServeWatchFails is how a watch is refused: by an answer before it begins, or
// by one event of type ERROR.
func TestServeWatchFails(t *testing.T) {
	s := serve(t)
	status := func(t *testing.T, code int, target, user string) metav1.Status {
		t.Helper()
		response := s.get(t.Context(), t, target, user, "")
		defer response.Body.Close()
		assert.Equal(t, code, response.StatusCode)
		var status metav1.Status
		require.NoError(t, json.NewDecoder(response.Body).Decode(&status))
		return status
	}
	for name, test := range map[string]struct {
		query  string
		code   int
		reason metav1.StatusReason
	}{
		"initial events without a match": {query: "sendInitialEvents=true", code: http.StatusUnprocessableEntity, reason: metav1.StatusReasonInvalid},
		"a match without initial events": {query: "resourceVersionMatch=NotOlderThan", code: http.StatusUnprocessableEntity, reason: metav1.StatusReasonInvalid},
		"an unknown field":               {query: "fieldSelector=bogus%3Doil", code: http.StatusBadRequest, reason: metav1.StatusReasonBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			got := status(t, test.code, watchPath+"?watch=1&"+test.query, "alice")
			assert.Equal(t, test.reason, got.Reason, got.Message)
		})
	}
	t.Run("a stranger", func(t *testing.T) {
		assert.Equal(t, metav1.StatusReasonForbidden, status(t, http.StatusForbidden, watchPath+"?watch=1", "eve").Reason)
	})
	t.Run("too old", func(t *testing.T) {
		opened := s.watch(t, watchPath+"?watch=1&resourceVersion=1", "alice", "")
		require.Equal(t, http.StatusOK, opened.StatusCode)
		event := opened.next(t)
		assert.Equal(t, "ERROR", event.Type)
		assert.Equal(t, "Expired", event.Object["reason"])
		assert.InDelta(t, http.StatusGone, event.Object["code"], 0)
		assert.ErrorIs(t, opened.decoder.Decode(&event), io.EOF)
	})
}

// TestServeWatchLimit holds a user to the limit of watches, until one has ended.
func TestServeWatchLimit(t *testing.T) {
	s := serve(t, func(c *Config) { c.Extra.MaxWatchesPerUser = 2 })
	first := s.watch(t, watchPath+"?watch=1", "alice", "")
	first.next(t)
	s.watch(t, watchPath+"?watch=1", "alice", "").next(t)
	refused := s.watch(t, watchPath+"?watch=1", "alice", "")
	assert.Equal(t, http.StatusTooManyRequests, refused.StatusCode)
	assert.Equal(t, "10", refused.Header.Get("Retry-After"))
	var status metav1.Status
	require.NoError(t, refused.decoder.Decode(&status))
	assert.Equal(t, metav1.StatusReasonTooManyRequests, status.Reason)
	assert.Contains(t, status.Message, "--max-watches-per-user")

	assert.Contains(t, s.text(t, watchPath, "alice"), `"oil"`, "lists are not limited")
	assert.Equal(t, http.StatusOK, s.watch(t, watchPath+"?watch=1", "bob", "").StatusCode, "nor are others")
	first.end()
	require.Eventually(t, func() bool {
		again := s.watch(t, watchPath+"?watch=1", "alice", "")
		if again.StatusCode == http.StatusOK {
			return true
		}
		again.end()
		return false
	}, patience, 5*time.Millisecond, "a request that has ended makes room")
}

// TestServeWatchMetrics is what an operator sees of watches.
func TestServeWatchMetrics(t *testing.T) {
	s := serve(t)
	opened := s.watch(t, watchPath+"?watch=1", "root", "")
	opened.next(t)
	opened.next(t)
	require.Eventually(t, func() bool {
		return strings.Contains(s.text(t, "/metrics", "root"), `tenancy_apiserver_watches{resource="tenantnamespaces"} 1`)
	}, patience, 5*time.Millisecond)
	metrics := s.text(t, "/metrics", "root")
	for _, want := range []string{
		`tenancy_apiserver_watch_events_total{cause="initial",resource="tenantnamespaces",type="ADDED"} `,
		`tenancy_apiserver_watch_events_total{cause="access",resource="tenantnamespaces",type="DELETED"} `,
		`tenancy_apiserver_watch_events_total{cause="object",resource="tenantnamespaces",type="MODIFIED"} `,
		`tenancy_apiserver_watch_events_total{cause="time",resource="tenantnamespaces",type="BOOKMARK"} `,
	} {
		assert.Contains(t, metrics, want)
	}
	opened.end()
	require.Eventually(t, func() bool {
		metrics := s.text(t, "/metrics", "root")
		return strings.Contains(metrics, `tenancy_apiserver_watches{resource="tenantnamespaces"} 0`) &&
			strings.Contains(metrics, `tenancy_apiserver_watches_ended_total{cause="client",resource="tenantnamespaces"}`)
	}, patience, 5*time.Millisecond)
}
