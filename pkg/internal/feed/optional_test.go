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
	clocktesting "k8s.io/utils/clock/testing"
)

var (
	// errNotServed is what an API server answers that does not serve a resource.
	errNotServed = apierrors.NewGenericServerResponse(404, "get", schema.GroupResource{Resource: "namespaces"}, "", "", 0, true)
	errBroken    = errors.New("conversion webhook failed")
)

// changing is an API server that gets and loses a resource, as its definition says.
type changing struct {
	lock sync.Mutex
	// err is what lists and watches of the resource answer; lock protects it and
	// what follows.
	err      error
	items    []corev1.Namespace
	revision string
	defined  bool
	// definitionsErr is what lists of definitions answer.
	definitionsErr error
	watches        []*watch.FakeWatcher
	// definitions is given to all who watch these, watched their options.
	definitions *watch.FakeWatcher
	watched     chan metav1.ListOptions
}

func newChanging() *changing {
	return &changing{definitions: watch.NewFake(), watched: make(chan metav1.ListOptions, 100)}
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

// definitions reads the definitions of an API server.
type definitions struct{ *changing }

func (d definitions) List(_ context.Context, o metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	d.lock.Lock()
	defer d.lock.Unlock()
	if o.ResourceVersion != "" || o.FieldSelector != "metadata.name=things.example.com" {
		return nil, errors.New("not a consistent list of the one definition")
	}
	list := &metav1.PartialObjectMetadataList{ListMeta: metav1.ListMeta{ResourceVersion: d.revision}}
	if d.defined {
		list.Items = make([]metav1.PartialObjectMetadata, 1)
	}
	return list, d.definitionsErr
}

func (d definitions) Watch(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
	if o.FieldSelector != "metadata.name=things.example.com" {
		return nil, errors.New("not a watch of the one definition")
	}
	d.watched <- o
	return unstoppable{d.definitions}, nil
}

func definition(resourceVersion string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "things.example.com", ResourceVersion: resourceVersion}}
}

func (c *changing) source() *optional {
	return OptionalSource(c.List, c.Watch, Absence{
		Definitions: definitions{c}, Definition: "things.example.com",
		NewList: func(resourceVersion string) runtime.Object {
			return &corev1.NamespaceList{ListMeta: metav1.ListMeta{ResourceVersion: resourceVersion}}
		},
		NewBookmark: func(resourceVersion string) runtime.Object { return namespace("", resourceVersion) },
	}).(*optional)
}

// TestOptional follows a resource that is not there, comes, and goes.
func TestOptional(t *testing.T) {
	t.Parallel()
	c, sink := newChanging(), newSink()
	c.err, c.revision = errNotServed, "5"
	f := New("namespaces", c.source(), sink, clocktesting.NewFakeClock(time.Now()))
	assert.True(t, f.Optional())
	var running sync.WaitGroup
	running.Go(func() { f.Run(t.Context()) })
	t.Cleanup(running.Wait)

	assert.Equal(t, "replace at 5", receive(t, sink.calls), "nothing, at a revision")
	options := receive(t, c.watched)
	assert.Equal(t, "5", options.ResourceVersion)
	assert.True(t, options.AllowWatchBookmarks)
	eventuallyFresh(t, f)
	c.definitions.Action(watch.Bookmark, definition("6"))
	assert.Equal(t, "bookmark 6", receive(t, sink.calls), "absent is not stale")

	c.set(func(c *changing) {
		c.defined, c.err, c.revision, c.items = true, nil, "9", []corev1.Namespace{*namespace("a", "7")}
	})
	c.definitions.Add(definition("7"))
	assert.Equal(t, "replace a@7 at 9", receive(t, sink.calls), "all that is there")
	require.NoError(t, f.Check())

	c.set(func(c *changing) { c.defined, c.err, c.revision = false, errNotServed, "12" })
	require.Eventually(t, func() bool {
		c.endWatches() // the next one may have been opened just before
		select {
		case call := <-sink.calls:
			return assert.Equal(t, "replace at 12", call, "nothing again, later")
		default:
			return false
		}
	}, patience, 10*time.Millisecond)
	require.NoError(t, f.Check())
}

// TestOptionalUnreadable holds a feed that gave an empty list to not being fresh
// any more once that list is known not to be true.
func TestOptionalUnreadable(t *testing.T) {
	t.Parallel()
	c, sink := newChanging(), newSink()
	o := c.source()
	f := New("namespaces", o, sink, clocktesting.NewFakeClock(time.Now()))
	s := &store[*corev1.Namespace]{feed: f, sink: sink}
	list := func() error {
		_, err := o.list(t.Context(), metav1.ListOptions{})
		if err == nil {
			assert.NoError(t, replace(s))
		}
		return err
	}
	c.err = errNotServed
	require.NoError(t, list())
	require.NoError(t, f.Check())
	c.defined = true
	require.Error(t, list())
	assert.EqualError(t, f.Check(), "namespaces: it is defined, and cannot be read")
	c.err = nil
	require.NoError(t, list())
	require.NoError(t, f.Check())
	c.err = errBroken
	require.Error(t, list())
	assert.NoError(t, f.Check(), "what was read is as fresh as it was")
}

// TestOptionalList holds the list to saying that nothing is there only where there
// is no definition.
func TestOptionalList(t *testing.T) {
	t.Parallel()
	forbidden := apierrors.NewForbidden(schema.GroupResource{}, "", nil)
	for name, test := range map[string]struct {
		given   func(*changing)
		options metav1.ListOptions
		// absent is what the list before has found.
		absent     bool
		want       string
		err        error
		unreadable bool
	}{
		"it is there":                            {given: func(c *changing) { c.defined = true }, want: "4"},
		"it is not defined":                      {given: func(c *changing) { c.err = errNotServed }, want: "4"},
		"it is not defined still":                {given: func(c *changing) { c.err = errNotServed }, absent: true, want: "4"},
		"it is there at last":                    {given: func(c *changing) { c.defined = true }, absent: true, want: "4"},
		"this version is not served":             {given: func(c *changing) { c.err, c.defined = errNotServed, true }, err: errNotServed},
		"this version is not served either":      {given: func(c *changing) { c.err, c.defined = errNotServed, true }, absent: true, err: errNotServed, unreadable: true},
		"it is broken":                           {given: func(c *changing) { c.err, c.defined = errBroken, true }, err: errBroken},
		"it is there and broken":                 {given: func(c *changing) { c.err, c.defined = errBroken, true }, absent: true, err: errBroken, unreadable: true},
		"it is forbidden":                        {given: func(c *changing) { c.err = forbidden }, err: forbidden},
		"the definitions are not known":          {given: func(c *changing) { c.err, c.definitionsErr = errNotServed, errBroken }, err: errBroken},
		"the definitions are not known any more": {given: func(c *changing) { c.err, c.definitionsErr = errNotServed, errBroken }, absent: true, err: errBroken},
		"it goes between two pages":              {given: func(c *changing) { c.err = errNotServed }, options: metav1.ListOptions{Continue: "more"}, err: errNotServed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newChanging()
			c.revision = "4"
			test.given(c)
			o := c.source()
			o.absent.Store(test.absent)
			list, err := o.list(t.Context(), test.options)
			assert.Equal(t, test.unreadable, o.unreadable.Load())
			if test.err != nil {
				assert.Equal(t, test.err, err)
				assert.Nil(t, list)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, list.(*corev1.NamespaceList).ResourceVersion)
		})
	}
}

// TestOptionalWatch is what a watch of the definition says of a resource that is
// absent.
func TestOptionalWatch(t *testing.T) {
	t.Parallel()
	gone := &metav1.Status{Code: 410, Reason: metav1.StatusReasonExpired, Message: "too old"}
	for name, test := range map[string]struct{ given, want watch.Event }{
		"a bookmark":           {watch.Event{Type: watch.Bookmark, Object: definition("5")}, watch.Event{Type: watch.Bookmark, Object: namespace("", "5")}},
		"an error":             {watch.Event{Type: watch.Error, Object: gone}, watch.Event{Type: watch.Error, Object: gone}},
		"the definition":       {given: watch.Event{Type: watch.Added, Object: definition("5")}},
		"a change of it":       {given: watch.Event{Type: watch.Modified, Object: definition("5")}},
		"a bookmark of naught": {given: watch.Event{Type: watch.Bookmark, Object: gone}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newChanging()
			o := c.source()
			o.absent.Store(true)
			w, err := o.watch(t.Context(), metav1.ListOptions{ResourceVersion: "4"})
			require.NoError(t, err)
			go c.definitions.Action(test.given.Type, test.given.Object)
			got := receive(t, w.ResultChan())
			if test.want.Type != "" {
				assert.Equal(t, test.want, got)
			} else {
				assert.Equal(t, watch.Error, got.Type)
				assert.True(t, apierrors.IsResourceExpired(apierrors.FromObject(got.Object)), "the reflector lists")
			}
			w.Stop()
			require.Eventually(t, func() bool {
				select {
				case _, open := <-w.ResultChan():
					return !open
				default:
					return false
				}
			}, patience, time.Millisecond, "it ends")
		})
	}
}
