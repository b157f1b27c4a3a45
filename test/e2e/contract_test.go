// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	viewPath   = "/apis/tenancy.capsule.io/v1alpha1/tenantnamespaces"
	nativePath = "/api/v1/namespaces"

	protobuf      = runtime.ContentTypeProtobuf
	tableAccept   = "application/json;as=Table;v=v1;g=meta.k8s.io"
	partialAccept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
	partialsList  = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
)

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
		"unknown field, not":            query("fieldSelector", "metadata.name=a,spec.bogus!=1"),
		"field of namespaced kinds":     query("fieldSelector", "metadata.namespace=a"),
		"malformed field selector":      query("fieldSelector", "metadata.name"),
		"malformed label selector":      query("labelSelector", "a in b"),
		"malformed label":               query("labelSelector", "a=-"),
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
		"get at no number":              "/failures" + query("resourceVersion", "abc"),
		"get of another's name":         "/failures" + query("fieldSelector", "metadata.name=others") + "&watch=0",
		"subresource":                   "/failures/bogus",
	}
	forEveryKind(t, func(t *testing.T, k kind) {
		// The formats of failures are the same for every kind.
		formats := map[string]string{"json": ""}
		if k.native.Resource == "namespaces" {
			formats = map[string]string{"json": "", "yaml": "application/yaml", "table": tableAccept, "partial": partialAccept, "partials": partialsList, "unknown": "application/xml"}
		}
		k.await(t, k.create(t, k.object("failures", nil)))
		tests := maps.Clone(tests)
		if k.custom {
			// Natively the object is named: any path is one of custom resources.
			delete(tests, "subresource")
		}
		k.compareFailures(t, tests, formats)
	})
}

// TestFutureRevisionsAreNative holds that a revision that is yet to come is
// awaited and then refused as the native one is. The revisions in the message are
// each server's own.
func TestFutureRevisionsAreNative(t *testing.T) {
	t.Parallel()
	config := system.AdminConfig(t)
	type question struct {
		kind
		target       string
		native, view answer
	}
	var questions []*question
	for _, k := range kinds() {
		k.await(t, k.create(t, k.object("future", nil)))
		for _, target := range []string{
			query("resourceVersion", "999999999", "resourceVersionMatch", "NotOlderThan"),
			query("resourceVersion", "999999999", "resourceVersionMatch", "Exact"),
			query("resourceVersion", "999999999"),
			"/future" + query("resourceVersion", "999999999"),
		} {
			questions = append(questions, &question{kind: k, target: target})
		}
	}
	// Each answer takes three seconds: all are asked at once.
	group, ctx := errgroup.WithContext(t.Context())
	for _, q := range questions {
		for path, a := range map[string]*answer{q.nativePath(): &q.native, q.viewPath(): &q.view} {
			group.Go(func() (err error) {
				*a, err = trySend(ctx, config, http.MethodGet, path+q.target, "", "", nil)
				return err
			})
		}
	}
	require.NoError(t, group.Wait())
	for _, q := range questions {
		t.Run(q.String()+q.target, func(t *testing.T) {
			want, got := q.failureOf(t, q.native), q.failureOf(t, q.view)
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
	forEveryKind(t, func(t *testing.T, k kind) {
		k.await(t, k.create(t, k.object("forgotten", nil)))
		got := ask(t, config, http.MethodGet, k.viewPath()+query("resourceVersion", "1", "resourceVersionMatch", "Exact"), "", "")
		require.Equal(t, http.StatusGone, got.Code)
		require.Equal(t, metav1.StatusReasonExpired, k.failureOf(t, got).Status.Reason)

		got = ask(t, config, http.MethodGet, k.viewPath()+query("continue", token(`{"v":"meta.k8s.io/v1","rv":1,"start":"forgot"}`)), "", "")
		status := k.failureOf(t, got).Status
		require.Equal(t, metav1.StatusReasonExpired, status.Reason)
		require.NotEmpty(t, status.Continue)
		got = ask(t, config, http.MethodGet, k.viewPath()+query("continue", status.Continue), "", "")
		require.Equal(t, http.StatusOK, got.Code, "%s", got.Body)
		var list metav1.PartialObjectMetadataList
		require.NoError(t, json.Unmarshal(got.Body, &list))
		require.NotEmpty(t, list.Items)
		require.GreaterOrEqual(t, list.Items[0].Name, "forgot")
	})
}

// TestWritesAreRefused compares every verb that a view does not have with a native
// resource that has the same verbs.
func TestWritesAreRefused(t *testing.T) {
	t.Parallel()
	config := system.AdminConfig(t)
	forEveryKind(t, func(t *testing.T, k kind) {
		k.native = schema.GroupVersionResource{Version: "v1", Resource: "componentstatuses"}
		for name, request := range map[string]struct{ method, target, body string }{
			"create":            {http.MethodPost, "", "{}"},
			"update":            {http.MethodPut, "/default", "{}"},
			"patch":             {http.MethodPatch, "/default", "{}"},
			"delete":            {http.MethodDelete, "/default", ""},
			"delete collection": {http.MethodDelete, "", ""},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				want := k.failureOf(t, ask(t, config, request.method, k.nativePath()+request.target, "", request.body))
				got := k.failureOf(t, ask(t, config, request.method, k.viewPath()+request.target, "", request.body))
				require.Equal(t, http.StatusMethodNotAllowed, want.Code)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-native +view):\n%s", diff)
				}
			})
		}
	})
}

// TestHiddenIsAbsent compares, byte by byte, the answers for a name before an
// object of that name exists and while one exists that the user may not get.
func TestHiddenIsAbsent(t *testing.T) {
	t.Parallel()
	const name = "hidden-or-absent"
	mallory := system.Config(t, "mallory")
	forEveryKind(t, func(t *testing.T, k kind) {
		formats := []string{"", "application/yaml", tableAccept, partialAccept, protobuf}
		read := func() (answers []answer) {
			for _, accept := range formats {
				answers = append(answers, ask(t, mallory, http.MethodGet, k.viewPath()+"/"+name, accept, ""))
			}
			return answers
		}
		absent := read()
		k.await(t, k.create(t, k.object(name, nil)))
		hidden := read()
		if diff := cmp.Diff(absent, hidden); diff != "" {
			t.Errorf("(-absent +hidden):\n%s", diff)
		}
		require.Equal(t, http.StatusNotFound, hidden[0].Code)
		selected := ask(t, mallory, http.MethodGet, k.viewPath()+query("fieldSelector", "metadata.name="+name, "limit", "1"), "", "")
		require.NotContains(t, string(selected.Body), name)
		require.NotContains(t, string(selected.Body), "remainingItemCount")
	})
}
