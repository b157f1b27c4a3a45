// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// TestFirstReadIsConsistent holds the feed to reading what etcd holds, and not
// what some cache of the API server holds, however it comes to read it.
func TestFirstReadIsConsistent(t *testing.T) {
	t.Parallel()

	t.Run("as a watch", func(t *testing.T) {
		t.Parallel()
		s := newSource()
		sink := newSink()
		f := run(t, s, sink, clocktesting.NewFakeClock(time.Now()))

		options := receive(t, s.watched)
		assert.Equal(t, new(true), options.SendInitialEvents)
		assert.Empty(t, options.ResourceVersion, "the oldest revision that will do")
		assert.Equal(t, metav1.ResourceVersionMatchNotOlderThan, options.ResourceVersionMatch)
		assert.True(t, options.AllowWatchBookmarks)

		s.watch.Add(namespace("a", "7"))
		s.watch.Add(namespace("b", "5"))
		s.watch.Action(watch.Bookmark, initialEventsEnd("9"))
		assert.Equal(t, "replace a@7 b@5 at 9", receive(t, sink.calls))
		assert.Empty(t, s.listed, "lists")
		eventuallyFresh(t, f)
	})

	t.Run("as a list", func(t *testing.T) {
		t.Parallel()
		s := newSource()
		s.noWatchList = true
		s.list = func(metav1.ListOptions) (*corev1.NamespaceList, error) {
			return &corev1.NamespaceList{ListMeta: metav1.ListMeta{ResourceVersion: "9"}, Items: []corev1.Namespace{*namespace("a", "7")}}, nil
		}
		sink := newSink()
		run(t, s, sink, clocktesting.NewFakeClock(time.Now()))

		assert.Empty(t, receive(t, s.listed).ResourceVersion)
		assert.Equal(t, "replace a@7 at 9", receive(t, sink.calls))
		options := receive(t, s.watched)
		assert.Equal(t, "9", options.ResourceVersion, "the watch goes on where the list ended")
		assert.True(t, options.AllowWatchBookmarks)
	})

	t.Run("as pages, the second of which comes too late", func(t *testing.T) {
		t.Parallel()
		s := newSource()
		s.noWatchList = true
		s.list = func(options metav1.ListOptions) (*corev1.NamespaceList, error) {
			switch {
			case options.Continue != "":
				return nil, apierrors.NewResourceExpired("too old")
			case options.Limit != 0:
				return &corev1.NamespaceList{ListMeta: metav1.ListMeta{ResourceVersion: "9", Continue: "more"}, Items: []corev1.Namespace{*namespace("a", "7")}}, nil
			default:
				return &corev1.NamespaceList{ListMeta: metav1.ListMeta{ResourceVersion: "10"}, Items: []corev1.Namespace{*namespace("a", "7"), *namespace("b", "10")}}, nil
			}
		}
		sink := newSink()
		run(t, s, sink, clocktesting.NewFakeClock(time.Now()))

		assert.Equal(t, "replace a@7 b@10 at 10", receive(t, sink.calls))
		for range 3 {
			assert.Empty(t, receive(t, s.listed).ResourceVersion)
		}
	})
}

// TestRelistDoesNotGoBack holds a feed whose watch has been given up to reading
// what is at least as new as what it read.
func TestRelistDoesNotGoBack(t *testing.T) {
	t.Parallel()
	for name, noWatchList := range map[string]bool{"as a watch": false, "as a list": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSource()
			s.noWatchList = noWatchList
			s.list = func(metav1.ListOptions) (*corev1.NamespaceList, error) {
				return &corev1.NamespaceList{ListMeta: metav1.ListMeta{ResourceVersion: "9"}}, nil
			}
			sink := newSink()
			run(t, s, sink, clocktesting.NewFakeClock(time.Now()))

			receive(t, s.watched)
			if noWatchList {
				receive(t, s.listed)
			} else {
				s.watch.Action(watch.Bookmark, initialEventsEnd("9"))
			}
			assert.Equal(t, "replace at 9", receive(t, sink.calls))
			s.watch.Action(watch.Bookmark, namespace("", "20"))
			assert.Equal(t, "bookmark 20", receive(t, sink.calls))
			gone := apierrors.NewResourceExpired("too old").Status()
			s.watch.Action(watch.Error, &gone)

			if noWatchList {
				assert.Equal(t, "20", receive(t, s.listed).ResourceVersion)
			} else {
				options := receive(t, s.watched)
				assert.Equal(t, new(true), options.SendInitialEvents)
				assert.Equal(t, "20", options.ResourceVersion)
			}
		})
	}
}

// TestOrder holds the feed to handing on what happens in the order it happens, and
// each proof of life to making it fresh.
func TestOrder(t *testing.T) {
	t.Parallel()
	s := newSource()
	sink := newSink()
	now := clocktesting.NewFakeClock(time.Now())
	f := run(t, s, sink, now)
	require.Error(t, f.Check(), "before the first read")

	s.watch.Add(namespace("a", "1"))
	require.Error(t, f.Check(), "during the first read")
	s.watch.Action(watch.Bookmark, initialEventsEnd("2"))
	require.Equal(t, "replace a@1 at 2", receive(t, sink.calls))
	eventuallyFresh(t, f)

	for _, step := range []struct {
		event  watch.EventType
		object runtime.Object
		want   string
	}{
		{watch.Added, namespace("b", "3"), "upsert b@3"},
		{watch.Modified, namespace("a", "4"), "upsert a@4"},
		{watch.Bookmark, namespace("", "5"), "bookmark 5"},
		{watch.Deleted, namespace("b", "6"), "delete b@6"},
		{watch.Added, namespace("b", "7"), "upsert b@7"},
		{watch.Bookmark, namespace("", "9"), "bookmark 9"},
	} {
		now.Step(MaxLag)
		lag, _ := f.Lag()
		require.Equal(t, MaxLag, lag, "before %s", step.want)
		s.watch.Action(step.event, step.object)
		assert.Equal(t, step.want, receive(t, sink.calls))
		require.Eventually(t, func() bool { lag, filled := f.Lag(); return filled && lag == 0 }, patience, time.Millisecond, "after %s", step.want)
	}
}

// An API server whose etcd was restored accepts a watch at a revision that it has
// not reached, and is silent: only a read from the start shows what is gone.
func TestSilenceIsReadAnew(t *testing.T) {
	t.Parallel()
	s, sink, now := newSource(), newSink(), clocktesting.NewFakeClock(time.Now())
	f := run(t, s, sink, now)
	s.watch.Add(namespace("a", "900"))
	s.watch.Action(watch.Bookmark, initialEventsEnd("1000"))
	require.Equal(t, "replace a@900 at 1000", receive(t, sink.calls))
	eventuallyFresh(t, f)
	require.Empty(t, receive(t, s.watched).ResourceVersion)
	require.Eventually(t, now.HasWaiters, patience, time.Millisecond, "a ticker")

	now.Step(MaxLag + time.Second)
	again := receive(t, s.watched)
	assert.Empty(t, again.ResourceVersion, "a consistent read")
	require.NotNil(t, again.SendInitialEvents)
	assert.EqualError(t, f.Check(), "namespaces: not read yet")
	s.watch.Add(namespace("b", "400"))
	s.watch.Action(watch.Bookmark, initialEventsEnd("500"))
	require.Equal(t, "replace b@400 at 500", receive(t, sink.calls))
	eventuallyFresh(t, f)
}

// A sink that was not given something must not be taken for current.
func TestUnreadableRevisionIsReadAnew(t *testing.T) {
	t.Parallel()
	for name, event := range map[string]watch.Event{
		"object":   {Type: watch.Modified, Object: namespace("a", "x")},
		"deletion": {Type: watch.Deleted, Object: namespace("a", "")},
		"bookmark": {Type: watch.Bookmark, Object: namespace("", "0")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, sink, now := newSource(), newSink(), clocktesting.NewFakeClock(time.Now())
			f := run(t, s, orderedSink{sink}, now)
			s.watch.Action(watch.Bookmark, initialEventsEnd("5"))
			require.Equal(t, "replace at 5", receive(t, sink.calls))
			receive(t, s.watched)
			s.watch.Action(event.Type, event.Object)
			assert.Empty(t, receive(t, s.watched).ResourceVersion, "a consistent read")
			assert.EqualError(t, f.Check(), "namespaces: not read yet")
			s.watch.Action(watch.Bookmark, initialEventsEnd("9"))
			require.Equal(t, "replace at 9", receive(t, sink.calls))
			eventuallyFresh(t, f)
		})
	}

	t.Run("list", func(t *testing.T) {
		t.Parallel()
		sink := newSink()
		f := New("namespaces", Source(nil,
			func(context.Context, metav1.ListOptions) (runtime.Object, error) { return &corev1.NamespaceList{}, nil },
			func(context.Context, metav1.ListOptions) (watch.Interface, error) { return nil, errNoWatchList }),
			orderedSink{sink}, clocktesting.NewFakeClock(time.Now()))
		assert.ErrorContains(t, f.newReflector().ListAndWatchWithContext(t.Context()), "unreadable")
		assert.Empty(t, sink.calls)
		assert.EqualError(t, f.Check(), "namespaces: not read yet")
	})
}

// What comes after something that the sink was not given proves nothing.
func TestFailedStaysFailed(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakeClock(time.Now())
	sink := newSink()
	f := New("namespaces", Source(nil, newSource().List, newSource().Watch), orderedSink{sink}, clock)
	s := &store[*corev1.Namespace]{feed: f, sink: orderedSink{sink}}
	require.NoError(t, replace(s))
	require.NoError(t, f.Check())
	require.Error(t, s.Update(namespace("a", "x")))
	require.NoError(t, s.Update(namespace("a", "7")))
	require.NoError(t, s.Bookmark("8"))
	assert.EqualError(t, f.Check(), "namespaces: not read yet")
}

// orderedSink reads revisions.
type orderedSink struct{ *sink }

func (orderedSink) CheckRevision(resourceVersion string) error {
	if n, err := strconv.Atoi(resourceVersion); err != nil || n == 0 {
		return fmt.Errorf("unreadable revision %q", resourceVersion)
	}
	return nil
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		given func(*store[*corev1.Namespace]) error
		after time.Duration
		want  string
	}{
		"not read":               {want: "namespaces: not read yet"},
		"not read for long":      {after: time.Hour, want: "namespaces: not read yet"},
		"read":                   {given: replace},
		"silent for as long":     {given: replace, after: MaxLag},
		"silent for longer":      {given: replace, after: MaxLag + time.Second, want: "namespaces: no sign of life from the API server for 3m1s"},
		"silent for a long time": {given: replace, after: time.Hour, want: "namespaces: no sign of life from the API server for 1h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := clocktesting.NewFakeClock(time.Now())
			f, st, _ := newStore(now)
			if test.given != nil {
				require.NoError(t, test.given(st))
			}
			now.Step(test.after)

			lag, filled := f.Lag()
			assert.Equal(t, test.given != nil, filled)
			if filled {
				assert.Equal(t, test.after, lag)
			}
			if test.want == "" {
				assert.NoError(t, f.Check())
			} else {
				assert.EqualError(t, f.Check(), test.want)
			}
		})
	}
}

// TestStrip holds the feed to leaving out, on every way in, what no view shows,
// and to leaving everything else as it is.
func TestStrip(t *testing.T) {
	t.Parallel()
	given := func() *corev1.Namespace {
		n := namespace("a", "1")
		n.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}
		n.UID = "u"
		n.Labels = map[string]string{"l": "1"}
		n.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}"}
		n.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
		n.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
		n.Status.Phase = corev1.NamespaceActive
		return n
	}
	want := given()
	want.TypeMeta, want.ManagedFields = metav1.TypeMeta{}, nil

	for name, take := range map[string]func(*store[*corev1.Namespace]) error{
		"added":    func(s *store[*corev1.Namespace]) error { return s.Add(given()) },
		"updated":  func(s *store[*corev1.Namespace]) error { return s.Update(given()) },
		"deleted":  func(s *store[*corev1.Namespace]) error { return s.Delete(given()) },
		"replaced": func(s *store[*corev1.Namespace]) error { return s.Replace([]any{given()}, "1") },
		"transformed": func(s *store[*corev1.Namespace]) error {
			object, err := s.Transformer()(given())
			s.sink.Upsert(object.(*corev1.Namespace))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, st, sink := newStore(clocktesting.NewFakeClock(time.Now()))
			require.NoError(t, take(st))
			if diff := cmp.Diff([]*corev1.Namespace{want}, sink.objects); diff != "" {
				t.Errorf("objects in the sink (-want +got):\n%s", diff)
			}
		})
	}
}

// TestUnexpectedType holds the feed to not taking for alive, or for empty, an API
// server that sends something else.
func TestUnexpectedType(t *testing.T) {
	t.Parallel()
	other := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	for name, given := range map[string]struct {
		take func(*store[*corev1.Namespace]) error
		want string
	}{
		"added":        {func(s *store[*corev1.Namespace]) error { return s.Add(other) }, "unexpected object of type *v1.ConfigMap"},
		"updated":      {func(s *store[*corev1.Namespace]) error { return s.Update(other) }, "unexpected object of type *v1.ConfigMap"},
		"deleted":      {func(s *store[*corev1.Namespace]) error { return s.Delete(other) }, "unexpected object of type *v1.ConfigMap"},
		"nothing":      {func(s *store[*corev1.Namespace]) error { return s.Add(nil) }, "unexpected object of type <nil>"},
		"among others": {func(s *store[*corev1.Namespace]) error { return s.Replace([]any{namespace("a", "1"), other}, "1") }, "unexpected object of type *v1.ConfigMap"},
		"transformed":  {func(s *store[*corev1.Namespace]) error { _, err := s.Transformer()(other); return err }, "unexpected object of type *v1.ConfigMap"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, st, sink := newStore(clocktesting.NewFakeClock(time.Now()))
			assert.EqualError(t, given.take(st), given.want)
			assert.Empty(t, sink.calls)
			assert.EqualError(t, f.Check(), "namespaces: not read yet")
		})
	}

	t.Run("in a list", func(t *testing.T) {
		t.Parallel()
		sink := newSink()
		f := New("namespaces", Source(nil,
			func(context.Context, metav1.ListOptions) (runtime.Object, error) {
				return &corev1.ConfigMapList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}, Items: []corev1.ConfigMap{*other}}, nil
			},
			func(context.Context, metav1.ListOptions) (watch.Interface, error) { return nil, errNoWatchList }),
			sink, clocktesting.NewFakeClock(time.Now()))
		err := f.newReflector().ListAndWatchWithContext(t.Context())
		assert.ErrorContains(t, err, "unexpected object of type *v1.ConfigMap")
		assert.Empty(t, sink.calls)
		assert.Error(t, f.Check())
	})
}

func TestName(t *testing.T) {
	t.Parallel()
	f, _, _ := newStore(clock.RealClock{})
	assert.Equal(t, "namespaces", f.Name())
}

// errNoWatchList is what an API server answers that does not know, or does not
// serve, watches with initial events.
var errNoWatchList = apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("ListOptions").GroupKind(), "", nil)

// source is an API server with one resource.
type source struct {
	// noWatchList has watches refused that ask for initial events.
	noWatchList bool
	list        func(metav1.ListOptions) (*corev1.NamespaceList, error)
	// watch is given to every watcher.
	watch *watch.FakeWatcher
	// listed and watched are the options that were seen; those of refused watches are not.
	listed, watched chan metav1.ListOptions
}

func newSource() *source {
	return &source{
		watch:   watch.NewFake(),
		listed:  make(chan metav1.ListOptions, 100),
		watched: make(chan metav1.ListOptions, 100),
	}
}

func (s *source) List(_ context.Context, options metav1.ListOptions) (*corev1.NamespaceList, error) {
	s.listed <- options
	return s.list(options)
}

func (s *source) Watch(_ context.Context, options metav1.ListOptions) (watch.Interface, error) {
	if s.noWatchList && options.SendInitialEvents != nil {
		return nil, errNoWatchList
	}
	s.watched <- options
	return unstoppable{s.watch}, nil
}

// unstoppable outlives its watchers, so that the next gets it, too.
type unstoppable struct{ watch.Interface }

func (unstoppable) Stop() {}

// run runs a feed of the source until the test ends.
func run(tb testing.TB, s *source, sink Sink[*corev1.Namespace], clock clock.WithTicker) *Feed {
	tb.Helper()
	f := New("namespaces", Source(nil, s.List, s.Watch), sink, clock)
	var running sync.WaitGroup
	running.Go(func() { f.Run(tb.Context()) })
	tb.Cleanup(running.Wait)
	return f
}

// newStore returns a feed that is not run and what its reflector writes to.
func newStore(clock clock.WithTicker) (*Feed, *store[*corev1.Namespace], *sink) {
	s, sink := newSource(), newSink()
	f := New("namespaces", Source(nil, s.List, s.Watch), sink, clock)
	return f, &store[*corev1.Namespace]{feed: f, sink: sink}, sink
}

func replace(s *store[*corev1.Namespace]) error { return s.Replace(nil, "1") }

// sink notes what it is called with.
type sink struct {
	calls chan string
	// objects may be read when the feed does not run.
	objects []*corev1.Namespace
}

func newSink() *sink { return &sink{calls: make(chan string, 100)} }

func (s *sink) Replace(objects []*corev1.Namespace, resourceVersion string) {
	s.objects = append(s.objects, objects...)
	call := []string{"replace"}
	for _, object := range objects {
		call = append(call, versioned(object))
	}
	slices.Sort(call[1:]) // a list has no order
	s.calls <- strings.Join(append(call, "at", resourceVersion), " ")
}

func (s *sink) Upsert(object *corev1.Namespace) {
	s.objects = append(s.objects, object)
	s.calls <- "upsert " + versioned(object)
}

func (s *sink) Delete(object *corev1.Namespace) {
	s.objects = append(s.objects, object)
	s.calls <- "delete " + versioned(object)
}

func (s *sink) Bookmark(resourceVersion string) { s.calls <- "bookmark " + resourceVersion }

func versioned(n *corev1.Namespace) string { return fmt.Sprintf("%s@%s", n.Name, n.ResourceVersion) }

func namespace(name, resourceVersion string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: resourceVersion}}
}

func initialEventsEnd(resourceVersion string) *corev1.Namespace {
	n := namespace("", resourceVersion)
	n.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	return n
}

func receive[T any](tb testing.TB, ch <-chan T) T {
	tb.Helper()
	select {
	case value := <-ch:
		return value
	case <-time.After(patience):
		require.FailNow(tb, "nothing came")
		panic("unreachable")
	}
}

// eventuallyFresh waits: the feed notes what it handed on after the sink has taken it.
func eventuallyFresh(tb testing.TB, f *Feed) {
	tb.Helper()
	require.Eventually(tb, func() bool { return f.Check() == nil }, patience, time.Millisecond, "fresh")
}
