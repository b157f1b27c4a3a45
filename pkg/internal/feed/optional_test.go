// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"
)

// errAbsent is what an API server answers that does not have a resource.
var errAbsent = apierrors.NewGenericServerResponse(404, "get", schema.GroupResource{Resource: "namespaces"}, "", "", 0, true)

// changing is an API server that gets and loses a resource.
type changing struct {
	lock sync.Mutex
	// err is what lists and watches answer; lock protects it and what follows.
	err      error
	items    []corev1.Namespace
	revision string
	// revisionErr is what asking for the present revision answers.
	revisionErr error
	watches     []*watch.FakeWatcher
}

func (c *changing) set(change func(*changing)) {
	c.lock.Lock()
	defer c.lock.Unlock()
	change(c)
}

func (c *changing) List(context.Context, metav1.ListOptions) (*corev1.NamespaceList, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	return &corev1.NamespaceList{ListMeta: metav1.ListMeta{ResourceVersion: c.revision}, Items: c.items}, nil
}

func (c *changing) Watch(context.Context, metav1.ListOptions) (watch.Interface, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	w := watch.NewFake()
	c.watches = append(c.watches, w)
	return w, nil
}

// endWatches ends what is open, as an API server does with a resource that goes.
func (c *changing) endWatches() {
	c.lock.Lock()
	defer c.lock.Unlock()
	for _, w := range c.watches {
		w.Stop()
	}
	c.watches = nil
}

func (c *changing) source(clock *clocktesting.FakeClock) *optional {
	return &optional{
		source: Source(nil, c.List, c.Watch).(cache.ListerWatcherWithContext),
		absence: Absence{
			NewList: func(resourceVersion string) runtime.Object {
				return &corev1.NamespaceList{ListMeta: metav1.ListMeta{ResourceVersion: resourceVersion}}
			},
			NewBookmark: func(resourceVersion string) runtime.Object { return namespace("", resourceVersion) },
			Revision: func(context.Context) (string, error) {
				c.lock.Lock()
				defer c.lock.Unlock()
				return c.revision, c.revisionErr
			},
			Clock: clock,
		},
	}
}

// TestOptional follows a resource that is not there, comes, and goes.
func TestOptional(t *testing.T) {
	t.Parallel()
	c := &changing{err: errAbsent, revision: "5"}
	clock := clocktesting.NewFakeClock(time.Now())
	o := c.source(clock)
	sink := newSink()
	f := New("namespaces", OptionalSource(c.List, c.Watch, o.absence), sink, clock)
	var running sync.WaitGroup
	running.Go(func() { f.Run(t.Context()) })
	t.Cleanup(running.Wait)

	// step lets time pass until the sink is called.
	step := func() string {
		t.Helper()
		var call string
		require.Eventually(t, func() bool {
			clock.Step(probePeriod)
			select {
			case call = <-sink.calls:
				return true
			default:
				return false
			}
		}, patience, time.Millisecond)
		return call
	}

	assert.Equal(t, "replace at 5", step(), "nothing, at a revision")
	eventuallyFresh(t, f)
	for call := step(); call != "bookmark 6"; call = step() {
		assert.Equal(t, "bookmark 5", call)
		c.set(func(c *changing) { c.revision = "6" })
	}
	require.NoError(t, f.Check(), "absent is not stale")

	c.set(func(c *changing) {
		c.err, c.revision, c.items = nil, "9", []corev1.Namespace{*namespace("a", "7")}
	})
	call := step()
	for call == "bookmark 6" { // one may have been on its way
		call = step()
	}
	assert.Equal(t, "replace a@7 at 9", call, "all that is there")

	c.set(func(c *changing) { c.err, c.revision = errAbsent, "12" })
	c.endWatches()
	assert.Equal(t, "replace at 12", step(), "nothing again, later")
}

// TestOptionalList holds the list to saying that nothing is there only where the
// API server says so, and only of a revision that is older than its word.
func TestOptionalList(t *testing.T) {
	t.Parallel()
	c := &changing{}
	o := c.source(clocktesting.NewFakeClock(time.Now()))
	broken := errors.New("conversion webhook failed")
	for name, test := range map[string]struct {
		given   func(*changing)
		options metav1.ListOptions
		want    string
		err     error
	}{
		"it is there":               {given: func(c *changing) { c.revision = "3" }, want: "3"},
		"it is absent":              {given: func(c *changing) { c.err, c.revision = errAbsent, "4" }, want: "4"},
		"it is broken":              {given: func(c *changing) { c.err, c.revision = broken, "4" }, err: broken},
		"it is forbidden":           {given: func(c *changing) { c.err = apierrors.NewForbidden(schema.GroupResource{}, "", nil) }, err: apierrors.NewForbidden(schema.GroupResource{}, "", nil)},
		"the revision is not known": {given: func(c *changing) { c.err, c.revisionErr = errAbsent, broken }, err: broken},
		"it goes between two pages": {given: func(c *changing) { c.err, c.revision = errAbsent, "4" }, options: metav1.ListOptions{Continue: "more"}, err: errAbsent},
	} {
		t.Run(name, func(t *testing.T) {
			c.set(func(c *changing) { c.err, c.revision, c.revisionErr = nil, "", nil; test.given(c) })
			list, err := o.list(t.Context(), test.options)
			if test.err != nil {
				assert.Equal(t, test.err, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, list.(*corev1.NamespaceList).ResourceVersion)
		})
	}
}

// TestOptionalWatch holds the watch of an absent resource to silence while the API
// server does not answer: nothing proves then that the resource is absent still.
func TestOptionalWatch(t *testing.T) {
	t.Parallel()
	c := &changing{err: errAbsent, revision: "4"}
	clock := clocktesting.NewFakeClock(time.Now())
	o := c.source(clock)
	_, err := o.list(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	c.set(func(c *changing) { c.revisionErr = errors.New("connection refused") })
	w, err := o.watch(t.Context(), metav1.ListOptions{ResourceVersion: "4"})
	require.NoError(t, err)
	require.Eventually(t, clock.HasWaiters, patience, time.Millisecond, "it waits for the next time")
	assert.Empty(t, w.ResultChan())

	c.set(func(c *changing) { c.revisionErr, c.err = nil, errors.New("connection refused") })
	clock.Step(probePeriod)
	c.set(func(c *changing) { c.err, c.revision = errAbsent, "5" })
	require.Eventually(t, func() bool {
		clock.Step(probePeriod)
		select {
		case event := <-w.ResultChan():
			return assert.Equal(t, watch.Event{Type: watch.Bookmark, Object: namespace("", "5")}, event)
		default:
			return false
		}
	}, patience, time.Millisecond)
	w.Stop()
	require.Eventually(t, func() bool {
		clock.Step(probePeriod)
		select {
		case _, open := <-w.ResultChan():
			return !open
		default:
			return false
		}
	}, patience, time.Millisecond, "it ends")
}
