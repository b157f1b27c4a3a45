// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"pgregory.net/rapid"
)

// watchClient is a client of the model: a reflector, that either lists and
// watches, or watches from the initial events on.
type watchClient struct {
	world *world

	user                 int
	selection            Selection
	bookmarks, watchList bool
	timeout              time.Duration

	// held are the objects that the client has, position the revision that it
	// resumes at; empty if it has to begin anew.
	held     map[string]*object
	position string

	replica *replica
	watch   watch.Interface
	cancel  context.CancelFunc
	// initial collects the initial events until the bookmark that ends them.
	initial map[string]*object
	// exact says that the watch began with everything: nothing may come twice.
	exact bool
	// deleted are the names whose deletion was the last that this watch told.
	deleted map[string]bool
	// access is how much of the access the replica had applied when the client had
	// read everything, known the same of the replica that told the position.
	access, known int
}

func newWatchClient(t *rapid.T, w *world) *watchClient {
	c := &watchClient{
		world:     w,
		user:      rapid.IntRange(0, len(modelReaders)-1).Draw(t, "user"),
		selection: rapid.SampledFrom([]Selection{modelSelections[0], modelSelections[2], modelSelections[4], modelSelections[5]}).Draw(t, "selection"),
		watchList: rapid.Bool().Draw(t, "watch list"),
		timeout:   rapid.SampledFrom([]time.Duration{time.Hour, 100 * time.Second}).Draw(t, "timeout"),
		held:      map[string]*object{},
	}
	c.bookmarks = c.watchList || rapid.Bool().Draw(t, "bookmarks")
	return c
}

// String identifies the client in the log of a failed run.
func (c *watchClient) String() string {
	return fmt.Sprintf("client %d (%s, selects %v %v, at %q)", slices.Index(c.world.clients, c), strings.Join(c.subjects(), "+"), c.selection.Labels, c.selection.Fields, c.position)
}

func textOf(event watch.Event) string {
	if o, ok := event.Object.(*object); ok {
		return fmt.Sprintf("%s version=%s", describe(o), o.Annotations[versionKey])
	}
	return fmt.Sprint(event.Object)
}

func (c *watchClient) subjects() []string { return modelReaders[c.user] }

// versions returns the versions, by name, of what the client holds.
func (c *watchClient) versions() map[string]string {
	versions := map[string]string{}
	for name, o := range c.held {
		versions[name] = o.Annotations[versionKey]
	}
	return versions
}

func (c *watchClient) disconnect() {
	if c.watch != nil {
		c.watch.Stop()
		c.cancel()
		c.watch = nil
	}
}

// connect begins a watch at a replica: where the client is, or anew.
func (c *watchClient) connect(r *replica) {
	c.disconnect()
	if c.position != "" && c.known < r.filled && r.handedOut(c.position) {
		// Not told from a client of this replica, which would be up to date: see
		// the limits in the package's documentation.
		c.position = ""
	}
	c.world.Logf("%s connects to replica %d", c, slices.Index(c.world.replicas, r))
	c.replica, c.exact, c.initial, c.deleted, c.access = r, false, nil, map[string]bool{}, r.access
	o := WatchOptions{ResourceVersion: c.position, Selection: c.selection, AllowBookmarks: c.bookmarks}
	switch yes := true; {
	case c.position != "":
	case c.watchList:
		o.SendInitialEvents, c.initial, c.exact = &yes, map[string]*object{}, true
	default:
		list, err := r.view.List(c.world.ctx, c.subjects(), ListOptions{Selection: c.selection})
		if err != nil {
			c.world.Fatalf("list: %v", err)
		}
		c.held = map[string]*object{}
		for _, item := range list.Items {
			c.held[item.Name] = item
		}
		if diff := cmp.Diff(expect(r.content, r.granted, c.subjects(), c.selection), c.versions()); diff != "" {
			c.world.Fatalf("list (-want +got):\n%s", diff)
		}
		o.ResourceVersion = revision(list.ResourceVersion)
		c.position, c.known = o.ResourceVersion, r.access
	}
	ctx, cancel := context.WithTimeout(c.world.ctx, c.timeout)
	w, err := r.view.Watch(ctx, c.subjects(), o)
	if err != nil {
		c.world.Fatalf("watch: %v", err)
	}
	c.watch, c.cancel = w, cancel
}

func (r *replica) handedOut(position string) bool {
	resourceVersion, _ := parseRevision(position)
	r.view.lock.Lock()
	defer r.view.lock.Unlock()
	return r.view.history.handedOut(resourceVersion)
}

// drain reads all that there is, and reports whether the watch is open, and has
// told all of its beginning.
func (c *watchClient) drain() bool {
	for c.receive() {
	}
	if c.watch == nil || c.initial != nil {
		return false
	}
	c.access, c.known = c.replica.access, c.replica.access
	if want := expect(c.replica.content, c.replica.granted, c.subjects(), c.selection); c.exact && !maps.Equal(want, c.versions()) {
		c.world.Fatalf("%s has read everything and does not hold what the replica has (-want +got):\n%s", c, cmp.Diff(want, c.versions()))
	}
	return true
}

// receive takes an event, if there is one.
func (c *watchClient) receive() bool {
	if c.watch == nil {
		return false
	}
	synctest.Wait()
	select {
	case event, open := <-c.watch.ResultChan():
		if !open {
			c.disconnect()
			return false
		}
		c.take(unshared(event))
		return true
	default:
		return false
	}
}

func (c *watchClient) take(event watch.Event) {
	c.world.Logf("%s got %s %s", c, event.Type, textOf(event))
	if event.Type == watch.Error {
		switch err := apierrors.FromObject(event.Object); {
		case apierrors.IsResourceExpired(err):
			c.position = ""
		case !storage.IsTooLargeResourceVersion(err):
			c.world.Fatalf("%s got %v", c, err)
		}
		return
	}
	o := event.Object.(*object)
	if event.Type == watch.Bookmark {
		c.takeBookmark(o)
		return
	}
	into := c.held
	if c.initial != nil {
		into = c.initial
	} else {
		c.position = o.ResourceVersion
	}
	_, held := into[o.Name]
	c.checkEvent(event.Type, o, held)
	if event.Type == watch.Deleted {
		delete(into, o.Name)
		c.deleted[o.Name] = true
	} else {
		into[o.Name] = o
		delete(c.deleted, o.Name)
	}
}

// checkEvent holds that an event tells its user nothing that it may not know, and
// nothing twice.
func (c *watchClient) checkEvent(eventType watch.EventType, o *object, held bool) {
	fail := func(why string) {
		c.world.Fatalf("%s got %s of %s, version %s: %s", c, eventType, describe(o), o.Annotations[versionKey], why)
	}
	version := o.Annotations[versionKey]
	if version != "" && !c.world.seen[sight{c.user, version}] {
		fail("the user could never get this content")
	}
	switch eventType {
	case watch.Added, watch.Modified:
		if !c.replica.granted.Allowed(c.subjects(), o.Name) {
			fail("the user may not get it now")
		}
		if c.exact && held != (eventType == watch.Modified) {
			fail("this is not what happened")
		}
	case watch.Deleted:
		if c.deleted[o.Name] {
			fail("it was told before")
		}
		if c.exact && !held {
			fail("the client does not hold it")
		}
		if version == "" && !slices.ContainsFunc(c.world.access, func(a accessState) bool { return a.granted.Allowed(c.subjects(), o.Name) }) {
			fail("the user could never get the name")
		}
	default:
		fail("unknown type")
	}
}

func (c *watchClient) takeBookmark(o *object) {
	if !c.bookmarks {
		c.world.Fatalf("%s got a bookmark", c)
	}
	position, _ := strconv.ParseUint(o.ResourceVersion, 10, 64)
	if present := c.replica.view.snapshot.Load().resourceVersion; position > present {
		c.world.Fatalf("%s got a bookmark at %d of a view at %d", c, position, present)
	}
	c.position = o.ResourceVersion
	if end := o.Annotations[metav1.InitialEventsAnnotationKey] != ""; end != (c.initial != nil) {
		c.world.Fatalf("%s got a bookmark that ends initial events, %t", c, end)
	}
	if c.initial != nil {
		c.held, c.initial, c.known = c.initial, nil, c.access
	}
	// What the client holds is of the bookmark's revision, but for objects whose
	// access changes meanwhile.
	if !c.exact || c.access != c.replica.access {
		return
	}
	content := map[string]*object{}
	for _, w := range c.world.writes {
		if w.revision <= position {
			content = w.content
		}
	}
	if want := expect(content, c.replica.granted, c.subjects(), c.selection); !maps.Equal(want, c.versions()) {
		c.world.Fatalf("%s got a bookmark at %d and does not hold what was there (-want +got):\n%s", c, position, cmp.Diff(want, c.versions()))
	}
}
