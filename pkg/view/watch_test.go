// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	utilflowcontrol "k8s.io/apiserver/pkg/util/flowcontrol"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/utils/clock"
)

// bubbleSettled is a time after which a view accepts resumes at what is new.
const bubbleSettled = ReplicaLag + time.Second

// bubbleEdited returns the view of newEdited, edited when it has been up for long
// enough to accept resumes: it holds a, b and c at 10; at 12 a is updated, at 14
// c is deleted; a bookmark makes it 16.
func bubbleEdited() *testView {
	v := bubbleView(grants{"root": {"*"}, "alice": {"a", "c", "missing"}},
		newObject("a", "1", 5), newObject("b", "2", 6), newObject("c", "3", 7))
	bubbleAdvance(bubbleSettled)
	v.Upsert(newObject("a", "1", 12))
	v.Delete(newObject("c", "3", 14))
	v.Bookmark("16")
	return v
}

// TestWatchModes is what a watch begins with; that the same comes next, whatever
// it began with, is checked, too.
func TestWatchModes(t *testing.T) {
	t.Parallel()
	yes, no := new(true), new(false)
	const (
		a, b, c  = "ADDED a uid=1 rv=12", "ADDED b uid=2 rv=6", "DELETED c uid=3 rv=14"
		bookmark = "BOOKMARK rv=16"
		end      = "BOOKMARK rv=16 initial-events-end"
		tooOld   = "ERROR 410 Expired"
	)
	tests := map[string]struct {
		given WatchOptions
		// want is what comes to a client that takes bookmarks, and, without them, to
		// one that does not.
		want []string
	}{
		"nothing":                        {given: WatchOptions{}, want: []string{a, b, bookmark}},
		"any":                            {given: WatchOptions{ResourceVersion: "0"}, want: []string{a, b, bookmark}},
		"initial events":                 {given: WatchOptions{SendInitialEvents: yes}, want: []string{a, b, end}},
		"initial events of any":          {given: WatchOptions{SendInitialEvents: yes, ResourceVersion: "0"}, want: []string{a, b, end}},
		"initial events, not older":      {given: WatchOptions{SendInitialEvents: yes, ResourceVersion: "12"}, want: []string{a, b, end}},
		"initial events, forgotten":      {given: WatchOptions{SendInitialEvents: yes, ResourceVersion: "1"}, want: []string{a, b, end}},
		"initial events, the present":    {given: WatchOptions{SendInitialEvents: yes, ResourceVersion: "16"}, want: []string{a, b, end}},
		"from now":                       {given: WatchOptions{SendInitialEvents: no}},
		"from now, any":                  {given: WatchOptions{SendInitialEvents: no, ResourceVersion: "0"}},
		"resume, the entry before":       {given: WatchOptions{ResourceVersion: "12"}, want: []string{c}},
		"resume, no initial events":      {given: WatchOptions{SendInitialEvents: no, ResourceVersion: "12"}, want: []string{c}},
		"resume between entries":         {given: WatchOptions{ResourceVersion: "13"}, want: []string{c}},
		"resume at the last entry":       {given: WatchOptions{ResourceVersion: "14"}},
		"resume before the bookmark":     {given: WatchOptions{ResourceVersion: "15"}},
		"resume at the present":          {given: WatchOptions{ResourceVersion: "16"}},
		"resume at what others knew":     {given: WatchOptions{ResourceVersion: "10"}, want: []string{tooOld, "END"}},
		"resume at what is forgotten":    {given: WatchOptions{ResourceVersion: "9"}, want: []string{tooOld, "END"}},
		"resume, forgotten, no initials": {given: WatchOptions{SendInitialEvents: no, ResourceVersion: "9"}, want: []string{tooOld, "END"}},
	}
	for name, tt := range tests {
		for kind, bookmarks := range map[string]bool{"bookmarks": true, "no bookmarks": false} {
			bubbleTest(t, name+"/"+kind, func(t *testing.T) {
				v := bubbleEdited()
				o, want := tt.given, tt.want
				if o.AllowBookmarks = bookmarks; !bookmarks {
					want = bubbleNoBookmarks(want)
				}
				client := bubbleWatch(t, v, "root", o)
				got := client.read()
				if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
					t.Errorf("first events (-want +got):\n%s", diff)
				}
				if len(got) > 0 && got[len(got)-1] == "END" {
					bubbleNoWatches(t, v)
					return
				}
				v.Upsert(newObject("d", "4", 17))
				v.Upsert(newObject("a", "1", 18))
				v.Delete(newObject("b", "2", 19))
				client.wantEvents(t, "ADDED d uid=4 rv=17", "MODIFIED a uid=1 rv=18", "DELETED b uid=2 rv=19")
			})
		}
	}
}

// TestWatchOfSome is TestWatchModes for one who may get some of it.
func TestWatchOfSome(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		subjects string
		given    WatchOptions
		want     []string
	}{
		"initial":         {subjects: "alice", given: WatchOptions{SendInitialEvents: new(true), AllowBookmarks: true}, want: []string{"ADDED a uid=1 rv=12", "BOOKMARK rv=16 initial-events-end"}},
		"resume":          {subjects: "alice", given: WatchOptions{ResourceVersion: "11"}, want: []string{"ERROR 410 Expired", "END"}},
		"resume later":    {subjects: "alice", given: WatchOptions{ResourceVersion: "12"}, want: []string{"DELETED c uid=3 rv=14"}},
		"nobody":          {subjects: "nobody", given: WatchOptions{SendInitialEvents: new(true), AllowBookmarks: true}, want: []string{"BOOKMARK rv=16 initial-events-end"}},
		"nobody, resumed": {subjects: "nobody", given: WatchOptions{ResourceVersion: "12"}},
		"each once":       {subjects: "alice,root", given: WatchOptions{}, want: []string{"ADDED a uid=1 rv=12", "ADDED b uid=2 rv=6"}},
		"each once again": {subjects: "root,alice", given: WatchOptions{ResourceVersion: "12"}, want: []string{"DELETED c uid=3 rv=14"}},
	}
	for name, tt := range tests {
		bubbleTest(t, name, func(t *testing.T) {
			v := bubbleEdited()
			client := bubbleWatch(t, v, tt.subjects, tt.given)
			client.wantEvents(t, tt.want...)
		})
	}
	bubbleTest(t, "what comes, each once", func(t *testing.T) {
		v := bubbleEdited()
		client := bubbleWatch(t, v, "alice,nobody,root", WatchOptions{SendInitialEvents: new(false)})
		v.Upsert(newObject("a", "1", 17))
		client.wantEvents(t, "MODIFIED a uid=1 rv=17")
	})
}

func TestWatchRefusesUnreadableRevision(t *testing.T) {
	t.Parallel()
	v, _ := newEdited(t)
	for _, resourceVersion := range []string{"x", "-1", "1.5", " 1", "18446744073709551616"} {
		for _, initial := range []*bool{nil, new(true), new(false)} {
			w, err := v.Watch(t.Context(), []string{"root"}, WatchOptions{ResourceVersion: resourceVersion, SendInitialEvents: initial})
			assert.Error(t, err, resourceVersion)
			assert.Nil(t, w, resourceVersion)
		}
	}
	bubbleNoWatches(t, v)
}

// TestWatchWaits is what becomes of a watch at a revision that is yet to come.
func TestWatchWaits(t *testing.T) {
	t.Parallel()
	yes := new(true)
	tests := map[string]struct {
		given WatchOptions
		after time.Duration
		come  func(*testView, context.CancelFunc)
		want  []string
		waits time.Duration
	}{
		"resume, in vain":         {given: WatchOptions{ResourceVersion: "20"}, want: []string{"ERROR 504 Timeout", "END"}, waits: 3 * time.Second},
		"initial events, in vain": {given: WatchOptions{ResourceVersion: "20", SendInitialEvents: yes}, want: []string{"ERROR 504 Timeout", "END"}, waits: 3 * time.Second},
		"greatest, in vain":       {given: WatchOptions{ResourceVersion: "18446744073709551615"}, want: []string{"ERROR 504 Timeout", "END"}, waits: 3 * time.Second},
		"not enough":              {given: WatchOptions{ResourceVersion: "20"}, after: time.Second, come: func(v *testView, _ context.CancelFunc) { v.Bookmark("19") }, want: []string{"ERROR 504 Timeout", "END"}, waits: 3 * time.Second},
		"client gone":             {given: WatchOptions{ResourceVersion: "20"}, after: time.Second, come: func(_ *testView, cancel context.CancelFunc) { cancel() }, want: []string{"ERROR 504 Timeout", "END"}, waits: time.Second},
		"resume, comes":           {given: WatchOptions{ResourceVersion: "20"}, after: 2999 * time.Millisecond, come: func(v *testView, _ context.CancelFunc) { v.Upsert(newObject("d", "4", 20)) }, waits: 2999 * time.Millisecond},
		"resume, is passed":       {given: WatchOptions{ResourceVersion: "20"}, after: time.Second, come: func(v *testView, _ context.CancelFunc) { v.Upsert(newObject("d", "4", 21)) }, want: []string{"ADDED d uid=4 rv=21"}, waits: time.Second},
		"initial events, come": {given: WatchOptions{ResourceVersion: "20", SendInitialEvents: yes, AllowBookmarks: true}, after: time.Second, come: func(v *testView, _ context.CancelFunc) { v.Bookmark("22") },
			want: []string{"ADDED a uid=1 rv=12", "ADDED b uid=2 rv=6", "BOOKMARK rv=22 initial-events-end"}, waits: time.Second},
	}
	for name, tt := range tests {
		bubbleTest(t, name, func(t *testing.T) {
			v := bubbleEdited()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			start := time.Now()
			opened := make(chan watch.Interface, 1)
			go func() {
				w, err := v.Watch(ctx, []string{"root"}, tt.given)
				assert.NoError(t, err)
				opened <- w
			}()
			if tt.come != nil {
				bubbleAdvance(tt.after)
				require.Empty(t, opened, "the watch waits")
				tt.come(v, cancel)
			}
			client := &bubbleClient{Interface: <-opened, cancel: cancel}
			assert.Equal(t, tt.waits, time.Since(start))
			client.wantEvents(t, tt.want...)
		})
	}
}

// TestWatchTooLarge holds the error to what reflectors know it by.
func TestWatchTooLarge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := bubbleEdited()
		client := bubbleWatch(t, v, "root", WatchOptions{ResourceVersion: "20"})
		event, ok := client.next()
		require.True(t, ok)
		want := storage.NewTooLargeResourceVersionError(20, 16, 1).(interface{ Status() metav1.Status }).Status()
		if diff := cmp.Diff(&want, event.Object); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
		require.NotNil(t, want.Details)
		assert.Contains(t, want.Details.Causes, metav1.StatusCause{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"})
		client.Stop()
		client.wantEvents(t, "END")
	})
}

// TestWatchEnds is how watches end: each once, and nothing of them is left.
func TestWatchEnds(t *testing.T) {
	t.Parallel()
	event := func(v *testView) { v.Upsert(newObject("a", "1", 20)) }
	tests := map[string]struct {
		given func(*testView, *bubbleClient)
		want  []string
	}{
		"stopped":           {given: func(_ *testView, c *bubbleClient) { c.Stop() }},
		"stopped twice":     {given: func(_ *testView, c *bubbleClient) { c.Stop(); c.Stop() }},
		"stopped, blocked":  {given: func(v *testView, c *bubbleClient) { event(v); synctest.Wait(); c.Stop() }},
		"canceled":          {given: func(_ *testView, c *bubbleClient) { c.cancel() }},
		"canceled, blocked": {given: func(v *testView, c *bubbleClient) { event(v); synctest.Wait(); c.cancel() }},
		"stopped, canceled": {given: func(_ *testView, c *bubbleClient) { c.Stop(); c.cancel(); c.Stop() }},
		"view stale":        {given: func(v *testView, _ *bubbleClient) { v.EndWatches() }},
		"view stale twice":  {given: func(v *testView, _ *bubbleClient) { v.EndWatches(); v.EndWatches() }},
		"stale, blocked":    {given: func(v *testView, _ *bubbleClient) { event(v); synctest.Wait(); v.EndWatches() }},
		"stale, stopped":    {given: func(v *testView, c *bubbleClient) { v.EndWatches(); c.Stop(); c.cancel() }},
		"back in time":      {given: func(v *testView, _ *bubbleClient) { v.Replace([]*object{newObject("a", "1", 5)}, "9") }, want: []string{"ERROR 410 Expired"}},
		"back, blocked": {given: func(v *testView, _ *bubbleClient) {
			event(v)
			synctest.Wait()
			v.Replace([]*object{newObject("a", "1", 5)}, "9")
		}, want: []string{"ERROR 410 Expired"}},
		"back, stale": {given: func(v *testView, _ *bubbleClient) { v.Replace(nil, "9"); v.EndWatches() }, want: []string{"ERROR 410 Expired"}},
		"stale, back": {given: func(v *testView, _ *bubbleClient) { v.EndWatches(); v.Replace(nil, "9") }},
		"back, stopped": {given: func(v *testView, c *bubbleClient) {
			v.Replace(nil, "9")
			synctest.Wait()
			c.Stop() // nobody reads the error
		}},
		"back, canceled": {given: func(v *testView, c *bubbleClient) {
			v.Replace(nil, "9")
			synctest.Wait()
			c.cancel()
		}},
	}
	for name, tt := range tests {
		bubbleTest(t, name, func(t *testing.T) {
			v := bubbleEdited()
			client := bubbleWatch(t, v, "alice,root", WatchOptions{SendInitialEvents: new(false), AllowBookmarks: true})
			require.Equal(t, 1, v.Watches())
			tt.given(v, client)
			client.wantEvents(t, append(tt.want, "END")...)
			bubbleNoWatches(t, v)
			// What comes next finds nobody.
			v.Upsert(newObject("a", "1", 30))
			v.EndWatches()
			client.Stop()
			client.wantEvents(t, "END")
		})
	}
}

// TestWatchOfAGoneClient begins when its context has ended.
func TestWatchOfAGoneClient(t *testing.T) {
	t.Parallel()
	for name, given := range map[string]WatchOptions{
		"initial events": {SendInitialEvents: new(true), AllowBookmarks: true},
		"nothing":        {},
		"from now":       {SendInitialEvents: new(false), AllowBookmarks: true},
		"resume":         {ResourceVersion: "12", AllowBookmarks: true},
	} {
		bubbleTest(t, name, func(t *testing.T) {
			v := bubbleEdited()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			client := bubbleWatchWith(ctx, t, v, "root", given)
			client.wantEvents(t, "END")
			bubbleNoWatches(t, v)
		})
	}
}

// TestWatchNoGap holds that what a watch begins with and what follows meet.
func TestWatchNoGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := bubbleEdited()
		client := bubbleWatch(t, v, "root", WatchOptions{SendInitialEvents: new(true), AllowBookmarks: true})
		// The first event waits for the reader, the content is that of 16.
		v.Upsert(newObject("a", "1", 17))
		v.Upsert(newObject("d", "4", 18))
		v.Delete(newObject("b", "2", 19))
		client.wantEvents(t,
			"ADDED a uid=1 rv=12", "ADDED b uid=2 rv=6", "BOOKMARK rv=16 initial-events-end",
			"MODIFIED a uid=1 rv=17", "ADDED d uid=4 rv=18", "DELETED b uid=2 rv=19")
	})
}

// TestWatchInitialized holds that a watch is no burden to priority and fairness
// once its initial events are sent, and not before.
func TestWatchInitialized(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		given WatchOptions
		// events is how many have to be taken.
		events int
	}{
		"initial events":               {given: WatchOptions{SendInitialEvents: new(true), AllowBookmarks: true}, events: 3},
		"initial events, no bookmarks": {given: WatchOptions{SendInitialEvents: new(true)}, events: 2},
		"nothing":                      {given: WatchOptions{}, events: 2},
		"from now":                     {given: WatchOptions{SendInitialEvents: new(false)}},
		"resume":                       {given: WatchOptions{ResourceVersion: "12"}, events: 1},
		"resume at the present":        {given: WatchOptions{ResourceVersion: "16"}},
	} {
		bubbleTest(t, name, func(t *testing.T) {
			v := bubbleEdited()
			signal := utilflowcontrol.NewInitializationSignal()
			initialized := make(chan struct{})
			go func() {
				signal.Wait()
				close(initialized)
			}()
			client := bubbleWatchWith(utilflowcontrol.WithInitializationSignal(t.Context(), signal), t, v, "root", tt.given)
			isInitialized := func() bool {
				synctest.Wait()
				select {
				case <-initialized:
					return true
				default:
					return false
				}
			}
			for i := range tt.events {
				require.False(t, isInitialized(), "before event %d is taken", i)
				_, ok := client.next()
				require.True(t, ok)
			}
			require.True(t, isInitialized())
		})
	}
}

// TestWatchGivesCopies holds that what one client, or an encoder, does to the root
// of an event's object changes nothing for others.
func TestWatchGivesCopies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := bubbleView(grants{"root": {"*"}, "alice": {"a"}}, newObject("a", "1", 5))
		o := WatchOptions{SendInitialEvents: new(true), AllowBookmarks: true}
		spoiler, other := bubbleWatch(t, v, "alice", o), bubbleWatch(t, v, "alice", o)
		spoil := func() {
			t.Helper()
			for event, ok := spoiler.next(); ok; event, ok = spoiler.next() {
				*event.Object.(*object) = object{TypeMeta: metav1.TypeMeta{Kind: "Spoilt"}, ObjectMeta: metav1.ObjectMeta{Name: "spoilt", ResourceVersion: "1"}}
			}
		}
		spoil()
		other.wantEvents(t, "ADDED a uid=1 rv=5", "BOOKMARK rv=10 initial-events-end")
		v.Upsert(newObject("a", "1", 12))
		spoil()
		other.wantEvents(t, "MODIFIED a uid=1 rv=12")
		bubbleRevoke(v, "alice", "a")
		spoil()
		other.wantEvents(t, "DELETED a uid=1 rv=12")
		bubbleGrant(v, "alice", "a")
		v.Delete(newObject("a", "1", 15))
		spoil()
		other.wantEvents(t, "ADDED a uid=1 rv=12", "DELETED a uid=1 rv=15")

		// The log, and who replays it, has what there was.
		late := bubbleWatch(t, v, "root", WatchOptions{SendInitialEvents: new(true), AllowBookmarks: true})
		late.wantEvents(t, "BOOKMARK rv=15 initial-events-end")
		v.lock.Lock()
		defer v.lock.Unlock()
		for _, e := range v.history.entries {
			for _, c := range e.Changes {
				for _, element := range []*Element[*object]{c.Before, c.After} {
					if element != nil {
						assert.Equal(t, "a", element.Object.Name)
						assert.Empty(t, element.Object.Kind)
					}
				}
			}
		}
		assert.Equal(t, "12", v.history.entries[0].Changes[0].After.Object.ResourceVersion, "a DELETED does not stamp what others hold")
	})
}

// bubbleMetrics returns the counters of a view's watches, by their labels.
func bubbleMetrics(t testing.TB, resource string) map[string]float64 {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	require.NoError(t, err)
	counters := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			key, mine := []string{family.GetName()}, false
			for _, label := range metric.GetLabel() {
				if label.GetName() == "resource" {
					mine = label.GetValue() == resource
				} else {
					key = append(key, label.GetValue())
				}
			}
			if value := metric.GetCounter().GetValue(); mine && value > 0 {
				counters[strings.Join(key, " ")] = value
			}
		}
	}
	return counters
}

func TestWatchMetrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kind := kindOf()
		kind.Resource = "metered"
		before := bubbleMetrics(t, kind.Resource)
		v := New[*object, string](kind, &grants{"alice": {"a", "b"}}, clock.RealClock{})
		v.Replace([]*object{newObject("a", "1", 5), newObject("b", "2", 6), newObject("h", "3", 7)}, "10")
		client := bubbleWatch(t, v, "alice", WatchOptions{SendInitialEvents: new(true), AllowBookmarks: true})
		client.read()
		v.Upsert(newObject("a", "1", 20))
		v.Delete(newObject("b", "2", 21))
		v.Upsert(newObject("b", "4", 22))
		client.read()
		bubbleGrant(v, "alice", "h")
		client.read() // and a bookmark
		bubbleRevoke(v, "alice", "b")
		client.read()
		bubbleAdvance(bookmarkPeriod)
		client.read()
		client.Stop()

		deadline, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		resume := func(ctx context.Context, resourceVersion string) *bubbleClient {
			t.Helper()
			return bubbleWatchWith(ctx, t, v, "alice", WatchOptions{ResourceVersion: resourceVersion})
		}
		resume(deadline, "22").read()
		bubbleAdvance(time.Second)
		resume(t.Context(), "9").read()
		resume(t.Context(), "99").read()
		slow := bubbleWatch(t, v, "alice", WatchOptions{SendInitialEvents: new(false)})
		for i := range uint64(queueCapacity + 2) {
			v.Upsert(newObject("a", "1", 100+i))
		}
		slow.read()
		stale := bubbleWatch(t, v, "alice", WatchOptions{SendInitialEvents: new(false)})
		v.EndWatches()
		stale.read()
		reset := bubbleWatch(t, v, "alice", WatchOptions{SendInitialEvents: new(false)})
		v.Replace(nil, "50")
		reset.read()

		want := map[string]float64{
			"tenancy_apiserver_watch_events_total initial ADDED":   2,
			"tenancy_apiserver_watch_events_total object MODIFIED": 1,
			"tenancy_apiserver_watch_events_total object DELETED":  1,
			"tenancy_apiserver_watch_events_total object ADDED":    1,
			// The grant, and what the resumed one may have missed of it.
			"tenancy_apiserver_watch_events_total access ADDED":   2,
			"tenancy_apiserver_watch_events_total access DELETED": 2,
			"tenancy_apiserver_watch_events_total time BOOKMARK":  3,
			"tenancy_apiserver_watch_resumes_total accepted":      1,
			"tenancy_apiserver_watch_resumes_total expired":       1,
			"tenancy_apiserver_watch_resumes_total too_large":     1,
			"tenancy_apiserver_watches_ended_total client":        1,
			"tenancy_apiserver_watches_ended_total deadline":      1,
			"tenancy_apiserver_watches_ended_total slowness":      1,
			"tenancy_apiserver_watches_ended_total staleness":     1,
			"tenancy_apiserver_watches_ended_total reset":         1,
		}
		got := bubbleMetrics(t, kind.Resource)
		for counter := range got {
			got[counter] -= before[counter]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("counters (-want +got):\n%s", diff)
		}
	})
}
