// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
)

// namespacesStorage is the storage that newReader returns.
type namespacesStorage = storage[v1alpha1.TenantNamespace, *v1alpha1.TenantNamespace]

// newWatcher is newReaderWith with a limit of watches.
func newWatcher(tb testing.TB, ready func() error, limit int, objects []*corev1.Namespace, names ...string) *namespacesStorage {
	tb.Helper()
	s := newReaderWith(tb, ready, objects, names...).(*namespacesStorage)
	s.limit = newWatchLimit(limit)
	return s
}

func alwaysReady() error { return nil }

// initialEvents returns the options of a watch that begins with what there is.
func initialEvents() *metainternalversion.ListOptions {
	return &metainternalversion.ListOptions{
		SendInitialEvents: new(true), AllowWatchBookmarks: true,
		ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	}
}

// openWatch opens a watch as a request does, and closes it with the test.
func openWatch(ctx context.Context, tb testing.TB, w rest.Watcher, options *metainternalversion.ListOptions) watch.Interface {
	tb.Helper()
	opened, err := w.Watch(ctx, options)
	require.NoError(tb, err)
	tb.Cleanup(opened.Stop)
	return opened
}

// eventText returns what tells an event from others; "END" if there is none any more.
func eventText(event watch.Event, ok bool) string {
	if !ok {
		return "END"
	}
	switch object := event.Object.(type) {
	case *metav1.Status:
		return fmt.Sprintf("%s %d %s", event.Type, object.Code, object.Reason)
	case *v1alpha1.TenantNamespace:
		return fmt.Sprintf("%s %s rv=%s", event.Type, object.Name, object.ResourceVersion)
	default:
		return fmt.Sprintf("%s %T", event.Type, object)
	}
}

// readEvents returns as many events as are wanted, which have to come.
func readEvents(tb testing.TB, w watch.Interface, n int) []string {
	tb.Helper()
	var events []string
	deadline := time.After(patience)
	for range n {
		select {
		case event, ok := <-w.ResultChan():
			events = append(events, eventText(event, ok))
		case <-deadline:
			tb.Errorf("the event after %q did not come", events)
			return events
		}
	}
	return events
}

func wantEvents(tb testing.TB, w watch.Interface, want ...string) {
	tb.Helper()
	if diff := cmp.Diff(want, readEvents(tb, w, len(want))); diff != "" {
		tb.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestWhoWatches holds every watch to a user and to a view that can answer.
func TestWhoWatches(t *testing.T) {
	t.Parallel()
	notReady := errors.New("roles: not read yet")
	for name, test := range map[string]struct {
		ready error
		user  bool
		want  metav1.Status
	}{
		"no user": {want: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError,
			Message: "Internal error occurred: no user in the request",
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Message: "no user in the request"}}},
		}},
		"not ready": {user: true, ready: notReady, want: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusServiceUnavailable, Reason: metav1.StatusReasonServiceUnavailable,
			Message: "tenantnamespaces.tenancy.capsule.io cannot be read now: roles: not read yet",
			Details: &metav1.StatusDetails{Group: "tenancy.capsule.io", Kind: "tenantnamespaces", RetryAfterSeconds: 1},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newWatcher(t, func() error { return test.ready }, 1, []*corev1.Namespace{namespace("oil")}, "oil")
			ctx := t.Context()
			if test.user {
				ctx = as(t, "alice", "admins")
			}
			for range 2 { // what was refused does not count
				opened, err := s.Watch(ctx, initialEvents())
				assert.Nil(t, opened)
				assertStatus(t, test.want, err)
			}
			assert.Zero(t, s.view.Watches())
		})
	}
}

// TestWatch is what the storage makes of the options and of the user.
func TestWatch(t *testing.T) {
	t.Parallel()
	objects := []*corev1.Namespace{namespace("gas", labeled("stage", "prod")), namespace("oil", labeled("stage", "prod")), namespace("wind", terminating)}
	selecting := func(labelSelector, fieldSelector string) *metainternalversion.ListOptions {
		options := initialEvents()
		var err error
		options.LabelSelector, err = labels.Parse(labelSelector)
		require.NoError(t, err)
		options.FieldSelector, err = fields.ParseSelector(fieldSelector)
		require.NoError(t, err)
		return options
	}
	for name, test := range map[string]struct {
		groups []string
		given  *metainternalversion.ListOptions
		want   []string
	}{
		"alice":           {given: initialEvents(), want: []string{"ADDED oil rv=42", "ADDED wind rv=42", "BOOKMARK  rv=100"}},
		"admins":          {groups: []string{"admins"}, given: initialEvents(), want: []string{"ADDED gas rv=42", "ADDED oil rv=42", "ADDED wind rv=42", "BOOKMARK  rv=100"}},
		"by label":        {given: selecting("stage=prod", ""), want: []string{"ADDED oil rv=42", "BOOKMARK  rv=100"}},
		"by field":        {given: selecting("", "status.phase=Terminating"), want: []string{"ADDED wind rv=42", "BOOKMARK  rv=100"}},
		"by name":         {given: selecting("", "metadata.name=oil"), want: []string{"ADDED oil rv=42", "BOOKMARK  rv=100"}},
		"a hidden name":   {given: selecting("", "metadata.name=gas"), want: []string{"BOOKMARK  rv=100"}},
		"nothing matches": {given: selecting("stage=test", ""), want: []string{"BOOKMARK  rv=100"}},
		"no bookmarks":    {given: &metainternalversion.ListOptions{}, want: []string{"ADDED oil rv=42", "ADDED wind rv=42"}},
		"too old":         {given: &metainternalversion.ListOptions{ResourceVersion: "7"}, want: []string{"ERROR 410 Expired", "END"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newWatcher(t, alwaysReady, 1, objects, "oil", "wind")
			opened := openWatch(as(t, "alice", test.groups...), t, s, test.given)
			wantEvents(t, opened, test.want...)
			if test.want[len(test.want)-1] == "END" {
				return
			}
			changed := namespace("oil", labeled("stage", "prod"))
			changed.ResourceVersion = "101"
			s.view.Upsert((*v1alpha1.TenantNamespace)(changed))
			s.view.EndWatches()
			assert.Contains(t, readEvents(t, opened, 2), "END")
		})
	}
	t.Run("unreadable", func(t *testing.T) {
		t.Parallel()
		s := newWatcher(t, alwaysReady, 1, objects, "oil")
		opened, err := s.Watch(as(t, "alice"), &metainternalversion.ListOptions{ResourceVersion: "x"})
		assert.Nil(t, opened)
		assert.ErrorContains(t, err, `Invalid value: "x"`)
	})
}

// TestWatchEventsAreCopies holds the storage to keeping to itself what the
// framework writes to.
func TestWatchEventsAreCopies(t *testing.T) {
	t.Parallel()
	s := newWatcher(t, alwaysReady, 0, []*corev1.Namespace{namespace("oil")}, "oil")
	want := (*v1alpha1.TenantNamespace)(namespace("oil"))
	for range 3 {
		opened := openWatch(as(t, "alice"), t, s, initialEvents())
		event := <-opened.ResultChan()
		if diff := cmp.Diff(want, event.Object); diff != "" {
			t.Errorf("object (-want +got):\n%s", diff)
		}
		spoilt := event.Object.(*v1alpha1.TenantNamespace)
		spoilt.TypeMeta = metav1.TypeMeta{APIVersion: "spoilt", Kind: "Spoilt"}
		spoilt.Name, spoilt.ResourceVersion, spoilt.Labels = "spoilt", "spoilt", nil
	}
	if diff := cmp.Diff(want, get(as(t, "alice"), t, s, "oil")); diff != "" {
		t.Errorf("the next GET (-want +got):\n%s", diff)
	}
}

// TestWatchLimit counts the watches of each user while their requests last.
func TestWatchLimit(t *testing.T) {
	t.Parallel()
	s := newWatcher(t, alwaysReady, 2, []*corev1.Namespace{namespace("oil")}, "oil")
	open := func(ctx context.Context, options metainternalversion.ListOptions) error {
		opened, err := s.Watch(ctx, &options)
		if err == nil {
			t.Cleanup(opened.Stop)
		}
		return err
	}
	tooMany := metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusTooManyRequests, Reason: metav1.StatusReasonTooManyRequests,
		Message: `user "alice" has 2 watches open, as many as the server allows (--max-watches-per-user): close one, or share one among clients`,
		Details: &metav1.StatusDetails{RetryAfterSeconds: 10},
	}
	first, endFirst := context.WithCancel(as(t, "alice"))
	second, endSecond := context.WithCancel(as(t, "alice"))
	defer endSecond()
	third, endThird := context.WithCancel(as(t, "alice"))
	defer endThird()
	require.NoError(t, open(first, *initialEvents()))
	require.NoError(t, open(second, metainternalversion.ListOptions{}))
	assertStatus(t, tooMany, open(third, *initialEvents()))
	assertStatus(t, tooMany, open(as(t, "alice", "admins"), *initialEvents()))
	assert.Equal(t, 2, s.view.Watches())

	// Another user has watches of its own.
	bob, endBob := context.WithCancel(as(t, "bob"))
	require.NoError(t, open(bob, *initialEvents()))
	require.NoError(t, open(bob, *initialEvents()))
	assert.Error(t, open(bob, *initialEvents()))
	endBob()

	// A request that has ended makes room for one.
	endFirst()
	require.Eventually(t, func() bool { return open(third, *initialEvents()) == nil }, patience, time.Millisecond)
	assertStatus(t, tooMany, open(as(t, "alice"), *initialEvents()))

	// What became of the watch does not matter, as long as the request lasts.
	s.view.EndWatches()
	assertStatus(t, tooMany, open(as(t, "alice"), *initialEvents()))
	endSecond()
	endThird()
	ended := func() bool {
		s.limit.lock.Lock()
		defer s.limit.lock.Unlock()
		return len(s.limit.open) == 0
	}
	require.Eventually(t, ended, patience, time.Millisecond, "nothing of ended watches is kept")

	// Watches that fail count, too, until their request has ended.
	failing, endFailing := context.WithCancel(as(t, "alice"))
	require.NoError(t, open(failing, metainternalversion.ListOptions{ResourceVersion: "1"}))
	require.Error(t, open(failing, metainternalversion.ListOptions{ResourceVersion: "x"}))
	assertStatus(t, tooMany, open(failing, *initialEvents()))
	endFailing()
	require.Eventually(t, ended, patience, time.Millisecond)
}

func TestNoWatchLimit(t *testing.T) {
	t.Parallel()
	s := newWatcher(t, alwaysReady, 0, nil)
	for range 500 {
		openWatch(as(t, "alice"), t, s, &metainternalversion.ListOptions{})
	}
	assert.Equal(t, 500, s.view.Watches())
}

// TestLimitIsOfAllViews holds that New gives every view the same limit.
func TestLimitIsOfAllViews(t *testing.T) {
	t.Parallel()
	index, ready := newIndex(t, newClient())
	d := Dependencies{Index: index, Clients: clientsOf(t, newClient()), Clock: clocktesting.NewFakeClock(time.Now()), AccessReady: ready, MaxWatchesPerUser: 7}
	views := New(d)
	limit := views[0].Storage.(*namespacesStorage).limit
	assert.Equal(t, 7, limit.max)
	for _, v := range views {
		// The types of the storages differ.
		other := reflect.ValueOf(v.Storage).Elem().FieldByName("limit")
		assert.Equal(t, reflect.ValueOf(limit).Pointer(), other.Pointer(), v.Resource)
	}
}

// TestGuard ends open watches within a second of the view's not being ready.
func TestGuard(t *testing.T) {
	t.Parallel()
	var notReady atomic.Pointer[error]
	ready := func() error {
		if err := notReady.Load(); err != nil {
			return *err
		}
		return nil
	}
	clock := clocktesting.NewFakeClock(time.Now())
	s := newWatcher(t, ready, 0, []*corev1.Namespace{namespace("oil")}, "oil")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	asked := make(chan struct{})
	go func() {
		defer close(done)
		guard(ctx, clock, func() error {
			err := ready()
			asked <- struct{}{}
			return err
		}, s.view.EndWatches)
	}()
	tick := func() {
		t.Helper()
		require.Eventually(t, clock.HasWaiters, patience, time.Millisecond)
		clock.Step(guardPeriod)
		<-asked
	}
	opened := openWatch(as(t, "alice"), t, s, initialEvents())
	wantEvents(t, opened, "ADDED oil rv=42", "BOOKMARK  rv=100")
	for range 3 {
		tick()
	}
	assert.Equal(t, 1, s.view.Watches(), "the view is ready")

	stale := errors.New("roles: no sign of life")
	notReady.Store(&stale)
	tick()
	wantEvents(t, opened, "END")
	_, err := s.Watch(as(t, "alice"), initialEvents())
	assert.Equal(t, int32(http.StatusServiceUnavailable), statusOf(t, err).Code)

	// One that came in between ends, too, and none that comes when all is well.
	notReady.Store(nil)
	late := openWatch(as(t, "alice"), t, s, initialEvents())
	wantEvents(t, late, "ADDED oil rv=42", "BOOKMARK  rv=100")
	notReady.Store(&stale)
	tick()
	wantEvents(t, late, "END")
	notReady.Store(nil)
	tick()
	later := openWatch(as(t, "alice"), t, s, initialEvents())
	wantEvents(t, later, "ADDED oil rv=42", "BOOKMARK  rv=100")
	tick()
	assert.Equal(t, 1, s.view.Watches())

	cancel()
	<-done
}

// TestWatchFollowsTheCluster runs a view as the server does, with a watch open.
func TestWatchFollowsTheCluster(t *testing.T) {
	t.Parallel()
	client := newClient(append(grants("oil"), namespace("oil"), namespace("gas"))...)
	now := clocktesting.NewFakeClock(time.Now())
	index, ready := newIndex(t, client)
	v := New(Dependencies{Index: index, Clients: clientsOf(t, client), Clock: now, AccessReady: ready})[0]
	runFeeds(t, v.Feed)
	require.Eventually(t, func() bool { return v.Feed.Check() == nil }, patience, time.Millisecond)

	opened := openWatch(as(t, "alice"), t, v.Storage.(rest.Watcher), &metainternalversion.ListOptions{})
	wantEvents(t, opened, "ADDED oil rv=42")
	assert.Equal(t, 1, v.Watches())

	require.NoError(t, client.Tracker().Add(grants("gas")[2]))
	wantEvents(t, opened, "ADDED gas rv=42")
	require.NoError(t, client.RbacV1().RoleBindings("gas").Delete(t.Context(), "alice", metav1.DeleteOptions{}))
	event := <-opened.ResultChan()
	assert.Equal(t, watch.Deleted, event.Type)
	assert.Equal(t, "gas", event.Object.(*v1alpha1.TenantNamespace).Name)

	// A silent cluster is one of which nothing is known: the guard ends the watch.
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		v.Guard(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range opened.ResultChan() {
			continue
		}
	}()
	require.Eventually(t, func() bool {
		now.Step(time.Minute)
		return v.Watches() == 0
	}, patience, time.Millisecond)
	<-ended
}
