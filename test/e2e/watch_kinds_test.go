// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// expect reads events until so many that are not bookmarks or changes have come,
// in any order, and returns what they carried, by name. In between may come
// changes of the names in may, which an object's controllers make.
func (s *stream) expect(t *testing.T, may []string, events ...string) map[string]frame {
	t.Helper()
	carried := map[string]frame{}
	for len(events) > 0 {
		next, ok := s.next(t)
		require.True(t, ok, "the watch has ended, to come were %v", events)
		name := next.metadata().Name
		if next.Type == watch.Bookmark || next.Type == watch.Modified && slices.Contains(may, name) {
			continue
		}
		i := slices.Index(events, string(next.Type)+" "+name)
		require.GreaterOrEqual(t, i, 0, "%s came, to come were %v", next.summary(), events)
		events = slices.Delete(events, i, i+1)
		carried[name] = next
	}
	return carried
}

// TestWatchOfEveryKindFollowsAccess grants, revokes, changes and deletes while a
// watch is open, and resumes it where it was.
func TestWatchOfEveryKindFollowsAccess(t *testing.T) {
	t.Parallel()
	forEveryKind(t, func(t *testing.T, k kind) {
		t.Parallel()
		id := "watched-" + k.String()
		names := []string{id + "-0", id + "-1", id + "-2"}
		stored := map[string]*unstructured.Unstructured{}
		for _, name := range names {
			stored[name] = k.create(t, k.object(name, map[string]string{"test": id}))
			k.await(t, stored[name])
		}
		of := func(eventType watch.EventType, numbers ...int) []string {
			var events []string
			for _, n := range numbers {
				events = append(events, string(eventType)+" "+names[n])
			}
			return events
		}
		change := func(n int) string {
			t.Helper()
			object, err := k.client(t).Patch(t.Context(), names[n], types.MergePatchType, []byte(`{"metadata":{"annotations":{"changed":"true"}}}`), metav1.PatchOptions{})
			require.NoError(t, err)
			return object.GetResourceVersion()
		}
		bindRole(t, id)
		config := system.Config(t, id)
		s := openStream(t, config, k.viewPath()+query("watch", "1", "labelSelector", "test="+id, "allowWatchBookmarks", "true"), "")

		k.putRole(t, id, names[0], names[1])
		for name, f := range s.expect(t, names[:2], of(watch.Added, 0, 1)...) {
			require.Equal(t, stored[name].GetUID(), f.metadata().UID)
			require.Equal(t, k.viewKind, f.metadata().Kind)
		}
		change(2)
		revision := change(0)
		for changed := ""; changed != revision; {
			next := s.expect(t, names[1:2], of(watch.Modified, 0)...)[names[0]]
			changed = next.metadata().ResourceVersion
		}
		k.putRole(t, id, names[1], names[2])
		last := s.expect(t, names[1:], append(of(watch.Deleted, 0), of(watch.Added, 2)...)...)
		s.end()

		// What happens while nobody watches is told to who goes on where it was; what
		// is known may be told again.
		from := max(last[names[0]].revision(t), last[names[2]].revision(t))
		k.putRole(t, id, names[0], names[2])
		s = openStream(t, config, k.viewPath()+query("watch", "1", "labelSelector", "test="+id, "allowWatchBookmarks", "true", "resourceVersion", strconv.FormatUint(from, 10)), "")
		var resumed []string
		s.until(t, func(f frame) bool {
			resumed = append(resumed, string(f.Type)+" "+f.metadata().Name)
			return slices.Contains(resumed, of(watch.Added, 0)[0]) && slices.Contains(resumed, of(watch.Deleted, 1)[0])
		})
		require.NotContains(t, strings.Join(resumed, ","), "DELETED "+names[2])
		s.end()

		s = openStream(t, config, k.viewPath()+query("watch", "1", "labelSelector", "test="+id), "")
		s.expect(t, nil, of(watch.Added, 0, 2)...)
		k.putRole(t, id)
		s.expect(t, names, of(watch.Added, 1)...)
		k.putRole(t, id, names[0])
		s.expect(t, names, of(watch.Deleted, 1, 2)...)
		require.NoError(t, k.client(t).Delete(t.Context(), names[0], metav1.DeleteOptions{}))
		require.Equal(t, stored[names[0]].GetUID(), s.expect(t, names[:1], of(watch.Deleted, 0)...)[names[0]].metadata().UID)
		k.awaitDeleted(t, names[0])
		recreated := k.create(t, k.object(names[0], map[string]string{"test": id}))
		require.Equal(t, recreated.GetUID(), s.expect(t, nil, of(watch.Added, 0)...)[names[0]].metadata().UID)
		unbindRole(t, id)
		s.expect(t, names[:1], of(watch.Deleted, 0)...)
	})
}

// TestStatusOfOneNode holds that a watch of nodes is told what the kubelet of a
// node says all the time if the user may get the node, and not woken otherwise.
func TestStatusOfOneNode(t *testing.T) {
	t.Parallel()
	const id, heartbeats = "heartbeat", 60
	i := slices.IndexFunc(kinds(), func(k kind) bool { return k.String() == "nodes" })
	k := kinds()[i]
	for _, name := range []string{id + "-seen", id + "-unseen"} {
		k.await(t, k.create(t, k.object(name, map[string]string{"test": id})))
	}
	bindRole(t, id)
	k.putRole(t, id, id+"-seen")
	s := openStream(t, system.Config(t, id), k.viewPath()+query("watch", "1", "allowWatchBookmarks", "true"), "")
	s.expect(t, nil, "ADDED "+id+"-seen")

	beat := func(name string, n int) string {
		t.Helper()
		status := fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","status":"True","reason":"Beat%d"}]}}`, n)
		node, err := k.client(t).Patch(t.Context(), name, types.MergePatchType, []byte(status), metav1.PatchOptions{}, "status")
		require.NoError(t, err)
		return node.GetResourceVersion()
	}
	for n := range heartbeats {
		beat(id+"-unseen", n)
	}
	var want, got []string
	for n := range heartbeats {
		want = append(want, beat(id+"-seen", n))
		beat(id+"-unseen", heartbeats+n)
	}
	bookmarks := 0
	for _, f := range s.until(t, func(f frame) bool {
		return f.Type != watch.Bookmark && f.metadata().ResourceVersion == want[heartbeats-1]
	}) {
		if f.Type == watch.Bookmark {
			bookmarks++
			continue
		}
		require.Equal(t, id+"-seen", f.metadata().Name, "%s", f.summary())
		require.Equal(t, watch.Modified, f.Type, "%s", f.summary())
		got = append(got, f.metadata().ResourceVersion)
	}
	require.Equal(t, want, got)
	// One ends what the grant was, one comes a minute.
	require.LessOrEqual(t, bookmarks, 3)
}
