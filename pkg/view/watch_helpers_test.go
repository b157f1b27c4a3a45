// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"
)

// bubbleTest runs a test in a bubble of its own, where time passes only while
// everybody waits. Give the view of such a test the real clock.
func bubbleTest(t *testing.T, name string, test func(*testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, test)
	})
}

// bubbleView returns a view that holds the objects at revision 10, in a bubble.
func bubbleView(access grants, objects ...*object) *testView {
	v := New[*object, string](kindOf(), &access, clock.RealClock{})
	v.Replace(objects, "10")
	return v
}

// bubbleAdvance lets time pass, and everybody do what there is to do then.
func bubbleAdvance(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// bubbleStaged returns an object with a stage, which is a label and a field of it, to
// be selected by.
func bubbleStaged(name, uid string, resourceVersion uint64, stage string) *object {
	o := newObject(name, uid, resourceVersion)
	o.Labels = map[string]string{"stage": stage}
	o.Annotations = map[string]string{"phase": stage}
	return o
}

// bubbleAccess gives a view other grants, as the index does: with the names whose
// audience changes, and the subjects that gain or lose something.
func bubbleAccess(v *testView, after grants) {
	before := *(*v.access.Load()).(*grants)
	names, subjects := map[string]bool{}, map[string]bool{}
	compare := func(a, b grants) {
		for subject := range a {
			for _, name := range a[subject] {
				if slices.Contains(b[subject], name) {
					continue
				}
				subjects[subject] = true
				if name != "*" {
					names[name] = true
				}
			}
		}
	}
	compare(before, after)
	compare(after, before)
	v.AccessChanged(&after, slices.Sorted(maps.Keys(names)), slices.Sorted(maps.Keys(subjects)))
}

// bubbleGrant gives a subject names, bubbleRevoke takes them away.
func bubbleGrant(v *testView, subject string, names ...string) {
	after := maps.Clone(*(*v.access.Load()).(*grants))
	after[subject] = slices.Concat(after[subject], names)
	bubbleAccess(v, after)
}

func bubbleRevoke(v *testView, subject string, names ...string) {
	after := maps.Clone(*(*v.access.Load()).(*grants))
	after[subject] = slices.DeleteFunc(slices.Clone(after[subject]), func(name string) bool { return slices.Contains(names, name) })
	bubbleAccess(v, after)
}

// bubbleClient is a client that reads when the test wants it to.
type bubbleClient struct {
	watch.Interface
	cancel context.CancelFunc
}

// bubbleWatch opens a watch for subjects, which are separated by commas, and returns
// when it waits for its reader or for something to happen.
func bubbleWatch(t testing.TB, v *testView, subjects string, o WatchOptions) *bubbleClient {
	t.Helper()
	return bubbleWatchWith(t.Context(), t, v, subjects, o)
}

func bubbleWatchWith(ctx context.Context, t testing.TB, v *testView, subjects string, o WatchOptions) *bubbleClient {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	t.Cleanup(cancel)
	w, err := v.Watch(ctx, strings.Split(subjects, ","), o)
	require.NoError(t, err)
	synctest.Wait()
	return &bubbleClient{Interface: w, cancel: cancel}
}

// next returns the next event, false if there is none yet or no more.
func (c *bubbleClient) next() (watch.Event, bool) {
	synctest.Wait()
	select {
	case event, ok := <-c.ResultChan():
		return unshared(event), ok
	default:
		return watch.Event{}, false
	}
}

// read takes all events that there are, and says so if the watch has ended.
func (c *bubbleClient) read() []string {
	var events []string
	for {
		synctest.Wait()
		select {
		case event, ok := <-c.ResultChan():
			if !ok {
				return append(events, "END")
			}
			events = append(events, bubbleText(event))
		default:
			return events
		}
	}
}

// unshared returns the event with an object of its own, as an encoder sees it.
func unshared(event watch.Event) watch.Event {
	if o, ok := event.Object.(runtime.CacheableObject); ok {
		event.Object = o.GetObject()
	}
	return event
}

// bubbleText returns what tells an event from others.
func bubbleText(event watch.Event) string {
	event = unshared(event)
	switch o := event.Object.(type) {
	case *metav1.Status:
		return fmt.Sprintf("%s %d %s", event.Type, o.Code, o.Reason)
	case *object:
		text := string(event.Type)
		if event.Type != watch.Bookmark {
			text += " " + o.Name
		}
		if o.UID != "" {
			text += " uid=" + string(o.UID)
		}
		text += " rv=" + o.ResourceVersion
		if stage := o.Labels["stage"]; stage != "" {
			text += " " + stage
		}
		if o.Annotations[metav1.InitialEventsAnnotationKey] == "true" {
			text += " initial-events-end"
		}
		return text
	default:
		return fmt.Sprintf("%s %T", event.Type, o)
	}
}

// wantEvents compares all events that there are with those that must be.
func (c *bubbleClient) wantEvents(t testing.TB, want ...string) {
	t.Helper()
	if diff := gocmp.Diff(want, c.read()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func bubbleNoBookmarks(events []string) []string {
	return slices.DeleteFunc(slices.Clone(events), func(event string) bool { return strings.HasPrefix(event, string(watch.Bookmark)) })
}

// bubbleNoWatches holds that nothing of ended watches is kept.
func bubbleNoWatches(t testing.TB, v *testView) {
	t.Helper()
	v.lock.Lock()
	defer v.lock.Unlock()
	if open, subjects := len(v.open), len(v.watchers); cmp.Or(open, subjects) != 0 {
		t.Errorf("%d watches of %d subjects are still open", open, subjects)
	}
}

// hold does with an event what a client's cache does, and returns the revision
// that the client would resume at.
func hold(t testing.TB, held map[string]*object, event watch.Event) string {
	t.Helper()
	o, ok := event.Object.(*object)
	require.True(t, ok, "%s", bubbleText(event))
	switch event.Type {
	case watch.Added, watch.Modified:
		held[o.Name] = o
	case watch.Deleted:
		delete(held, o.Name)
	}
	return o.ResourceVersion
}
