// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/watch"
)

// timeline reads a watch as it comes, until it ends, and notes when each event came.
func timeline(start time.Time, w watch.Interface) <-chan []string {
	done := make(chan []string, 1)
	go func() {
		var events []string
		for event := range w.ResultChan() {
			events = append(events, fmt.Sprintf("%s %s", time.Since(start), bubbleText(event)))
		}
		done <- append(events, fmt.Sprintf("%s END", time.Since(start)))
	}()
	return done
}

// TestBookmarkTimes is when bookmarks come: each minute, and two seconds before
// the deadline.
func TestBookmarkTimes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		timeout     time.Duration
		noBookmarks bool
		given       map[time.Duration]step
		want        []string
	}{
		"each minute": {timeout: 200 * time.Second, want: []string{"1m0s BOOKMARK rv=10", "2m0s BOOKMARK rv=10", "3m0s BOOKMARK rv=10", "3m18s BOOKMARK rv=10", "3m20s END"}},
		"progress": {timeout: 150 * time.Second, given: map[time.Duration]step{30 * time.Second: bookmark(12), 90 * time.Second: put("x", "9", 20, "")},
			want: []string{"1m0s BOOKMARK rv=12", "2m0s BOOKMARK rv=20", "2m28s BOOKMARK rv=20", "2m30s END"}},
		"short":                  {timeout: 10 * time.Second, want: []string{"8s BOOKMARK rv=10", "10s END"}},
		"a minute":               {timeout: time.Minute, want: []string{"58s BOOKMARK rv=10", "1m0s END"}},
		"a minute and the rest":  {timeout: 62 * time.Second, want: []string{"1m0s BOOKMARK rv=10", "1m2s END"}},
		"too short":              {timeout: time.Second, want: []string{"1s END"}},
		"none taken":             {timeout: 150 * time.Second, noBookmarks: true, given: map[time.Duration]step{time.Second: bookmark(12)}, want: []string{"2m30s END"}},
		"at what happens":        {timeout: 10 * time.Second, given: map[time.Duration]step{time.Second: put("a", "1", 20, ""), 3 * time.Second: grant("alice", "h")}, want: []string{"1s MODIFIED a uid=1 rv=20", "3s ADDED h uid=3 rv=7", "3s BOOKMARK rv=20", "8s BOOKMARK rv=20", "10s END"}},
		"at what happens, none":  {timeout: 10 * time.Second, noBookmarks: true, given: map[time.Duration]step{time.Second: put("a", "1", 20, ""), 3 * time.Second: grant("alice", "h")}, want: []string{"1s MODIFIED a uid=1 rv=20", "3s ADDED h uid=3 rv=7", "10s END"}},
		"after the initial ones": {timeout: 10 * time.Second, given: map[time.Duration]step{9 * time.Second: bookmark(20)}, want: []string{"8s BOOKMARK rv=10", "10s END"}},
	}
	for name, tt := range tests {
		bubbleTest(t, name, func(t *testing.T) {
			v := bubbleView(grants{"alice": {"a"}}, newObject("a", "1", 5), newObject("h", "3", 7))
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), tt.timeout)
			defer cancel()
			client := bubbleWatchWith(ctx, t, v, "alice", WatchOptions{SendInitialEvents: new(false), AllowBookmarks: !tt.noBookmarks})
			events := timeline(start, client)
			for after, step := range tt.given {
				time.AfterFunc(after, func() { step(v) })
			}
			if diff := cmp.Diff(tt.want, <-events); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			bubbleNoWatches(t, v)
		})
	}
}

// TestBookmarksAreNotAhead has a client read after bookmarks are due: none of
// them may name a revision of which the client has not been told.
func TestBookmarksAreNotAhead(t *testing.T) {
	t.Parallel()
	// The goroutine chooses by chance between what happened and the time.
	for i := range 50 {
		bubbleTest(t, strconv.Itoa(i), func(t *testing.T) {
			v := bubbleView(grants{"alice": {"a"}}, newObject("a", "1", 5), newObject("h", "3", 7))
			client := bubbleWatch(t, v, "alice", WatchOptions{SendInitialEvents: new(false), AllowBookmarks: true})
			v.Upsert(newObject("a", "1", 20))
			v.Upsert(newObject("h", "1", 21))
			v.Upsert(newObject("a", "1", 22))
			v.Upsert(newObject("h", "1", 23))
			v.Replace([]*object{newObject("a", "1", 25), newObject("b", "2", 15), newObject("h", "1", 23)}, "30")
			bubbleAccess(v, grants{"alice": {"a", "b"}})
			v.Delete(newObject("a", "1", 40))
			bubbleAdvance(bookmarkPeriod)
			// The position, after each event that is no bookmark.
			positions := map[string]string{"": "10", "MODIFIED a uid=1 rv=20": "20", "MODIFIED a uid=1 rv=22": "22", "MODIFIED a uid=1 rv=25": "30", "ADDED b uid=2 rv=15": "30", "DELETED a uid=1 rv=40": "40"}
			last := ""
			events := client.read()
			for _, event := range events {
				if revision, ok := strings.CutPrefix(event, "BOOKMARK rv="); !ok {
					last = event
				} else if position := positions[last]; len(revision) != len(position) || revision > position {
					t.Errorf("a bookmark of %s at %s, after %q", revision, position, last)
				}
			}
			want := []string{"MODIFIED a uid=1 rv=20", "MODIFIED a uid=1 rv=22", "MODIFIED a uid=1 rv=25", "ADDED b uid=2 rv=15", "DELETED a uid=1 rv=40"}
			if diff := cmp.Diff(want, bubbleNoBookmarks(events)); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			// The time has come, again.
			bubbleAdvance(bookmarkPeriod)
			client.wantEvents(t, "BOOKMARK rv=40")
		})
	}
}

// TestDeadlineOfBlockedClient ends a watch whose client reads nothing.
func TestDeadlineOfBlockedClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := bubbleView(grants{"alice": {"a"}}, newObject("a", "1", 5))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		client := bubbleWatchWith(ctx, t, v, "alice", WatchOptions{SendInitialEvents: new(true), AllowBookmarks: true})
		bubbleAdvance(10 * time.Second)
		client.wantEvents(t, "END")
		bubbleNoWatches(t, v)
	})
}

// TestSlowClient holds that a client which does not read loses its watch, and can
// go on where it was, and that nobody else notices.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := bubbleView(grants{"alice": {"a"}, "root": {"*"}}, newObject("a", "1", 5))
		bubbleAdvance(ReplicaLag + time.Second)
		v.Bookmark("99")
		o := WatchOptions{SendInitialEvents: new(false)}
		slow, other, root := bubbleWatch(t, v, "alice", o), bubbleWatch(t, v, "alice", o), bubbleWatch(t, v, "root", o)
		var want []string
		write := func(i uint64) {
			t.Helper()
			v.Upsert(newObject("a", "1", 100+i))
			want = append(want, "MODIFIED a uid=1 rv="+revision(100+i))
			synctest.Wait()
			// The others have it before the next one comes.
			for _, client := range []*bubbleClient{other, root} {
				event, ok := client.next()
				require.True(t, ok)
				require.Equal(t, want[i], bubbleText(event))
			}
		}
		// One is offered to the client, the queue holds the rest.
		for i := range uint64(queueCapacity + 1) {
			write(i)
		}
		require.Equal(t, 3, v.Watches(), "the queue is full")
		write(queueCapacity + 1)
		require.Equal(t, 2, v.Watches(), "there is no room")
		write(queueCapacity + 2)
		slow.wantEvents(t, "END")
		require.Equal(t, 2, v.Watches())

		resumed := bubbleWatch(t, v, "alice", WatchOptions{ResourceVersion: "99"})
		resumed.wantEvents(t, want...)
	})
}

// TestSlowClientOfAccess fills a queue with changes of access.
func TestSlowClientOfAccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := bubbleView(grants{"alice": {"a"}}, newObject("a", "1", 5))
		slow := bubbleWatch(t, v, "alice", WatchOptions{SendInitialEvents: new(false)})
		v.Upsert(newObject("a", "1", 20))
		for v.Watches() > 0 {
			bubbleRevoke(v, "alice", "a")
			bubbleGrant(v, "alice", "a")
		}
		assert.Greater(t, len(v.history.entries), queueCapacity)
		slow.wantEvents(t, "END")
	})
}

// TestSlowStart fills the queue of a client that has not read its initial events.
func TestSlowStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := bubbleView(grants{"alice": {"a", "b"}}, newObject("a", "1", 5), newObject("b", "2", 6))
		slow := bubbleWatch(t, v, "alice", WatchOptions{SendInitialEvents: new(true), AllowBookmarks: true})
		event, ok := slow.next()
		require.True(t, ok)
		require.Equal(t, "ADDED a uid=1 rv=5", bubbleText(event))
		for i := range uint64(queueCapacity) {
			v.Upsert(newObject("a", "1", 100+i))
		}
		require.Equal(t, 1, v.Watches())
		v.Upsert(newObject("a", "1", 5000))
		slow.wantEvents(t, "END")
		bubbleNoWatches(t, v)
	})
}

// TestWatchersAreIndexed holds that an entry goes to those in its audience.
func TestWatchersAreIndexed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := bubbleView(grants{"alice": {"a"}, "team": {"b"}, "root": {"*"}})
		o := WatchOptions{SendInitialEvents: new(false)}
		clients := map[string]*bubbleClient{}
		for _, subjects := range []string{"alice", "alice,team", "team", "bob", "root", "root,team", "bob,alice"} {
			clients[subjects] = bubbleWatch(t, v, subjects, o)
		}
		require.Len(t, v.watchers, 4)
		holds := func(want ...string) {
			t.Helper()
			var got []string
			for subjects, client := range clients {
				switch events := client.read(); len(events) {
				case 0:
				case 1:
					got = append(got, subjects)
				default:
					t.Errorf("%s got %q", subjects, events)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("who got the event (-want +got):\n%s", diff)
			}
		}
		v.Upsert(newObject("a", "1", 20))
		holds("alice", "alice,team", "bob,alice", "root", "root,team")
		v.Upsert(newObject("b", "2", 21))
		holds("alice,team", "root", "root,team", "team")
		v.Upsert(newObject("c", "3", 22))
		holds("root", "root,team")
		bubbleGrant(v, "bob", "b")
		holds("bob", "bob,alice")
		bubbleRevoke(v, "team", "b")
		holds("alice,team", "team")
		clients["alice"].Stop()
		clients["alice"].wantEvents(t, "END")
		delete(clients, "alice")
		v.Delete(newObject("a", "1", 30))
		holds("alice,team", "bob,alice", "root", "root,team")
	})
}
