// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

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
