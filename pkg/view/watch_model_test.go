// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/clock"
	"pgregory.net/rapid"
)

const (
	// worldLag is by how much the objects, the revision and the access of a replica
	// are behind those of the API server at most: access and the others together by
	// less than ReplicaLag.
	worldLag = ReplicaLag/2 - 10*time.Second
	// worldQueue is short, so that slow clients are ended.
	worldQueue = 3
	// versionKey annotates a content with what tells it from every other.
	versionKey = "version"
)

// world is an API server, replicas that follow it at their own pace, and clients
// that watch now one and now another.
type world struct {
	*rapid.T
	ctx context.Context //nolint:containedctx // of the test

	// revision is that of the API server: objects and RBAC count as one.
	revision uint64
	writes   []write
	access   []accessState
	versions int

	replicas []*replica
	clients  []*watchClient
	// seen is what the replicas ever had a user see.
	seen map[sight]bool
}

// write is a change of an object; content is what there is after it.
type write struct {
	at       time.Time
	object   *object
	deleted  bool
	revision uint64
	content  map[string]*object
}

// accessState is what holds from a moment on, and what that changed.
type accessState struct {
	at              time.Time
	written         int // how many writes were before
	granted         grants
	names, subjects []string
}

// sight is a content that a user was, or might have been, shown.
type sight struct {
	user    int
	version string
}

// replica is a view that has applied a part of what happened.
type replica struct {
	view            *testView
	written, access int
	// filled is how much of the access the replica had applied when it started.
	filled  int
	content map[string]*object
	granted grants
	// current is when the replica was last told a revision that was the API
	// server's, but for what it has yet to apply.
	current time.Time
}

func newWorld(ctx context.Context, t *rapid.T) *world {
	w := &world{T: t, ctx: ctx, revision: 10, seen: map[sight]bool{}}
	w.writes = []write{{at: time.Now(), revision: 10, content: map[string]*object{}}}
	w.access = []accessState{{at: time.Now(), granted: grants{"root": {"*"}}}}
	for range 2 {
		w.replicas = append(w.replicas, &replica{})
	}
	for _, r := range w.replicas {
		w.fill(r)
	}
	for range 3 {
		w.clients = append(w.clients, newWatchClient(t, w))
	}
	return w
}

func (w *world) now() write { return w.writes[len(w.writes)-1] }

func (w *world) grantsNow() grants { return w.access[len(w.access)-1].granted }

// change creates, changes, replaces or deletes an object.
func (w *world) change(t *rapid.T) {
	w.revision += rapid.Uint64Range(1, 2).Draw(t, "revisions")
	name := rapid.SampledFrom(modelNames).Draw(t, "name")
	content := maps.Clone(w.now().content)
	before, exists := content[name]
	next := write{at: time.Now(), revision: w.revision, content: content}
	if exists && rapid.IntRange(0, 2).Draw(t, "delete") == 0 {
		last := *before
		last.ResourceVersion = revision(w.revision)
		next.object, next.deleted = &last, true
		delete(content, name)
	} else {
		w.versions++
		uid := strconv.Itoa(w.versions)
		if exists {
			uid = string(before.UID)
		}
		next.object = newObject(name, uid, w.revision)
		next.object.Labels = map[string]string{"color": rapid.SampledFrom([]string{"red", "blue"}).Draw(t, "color")}
		next.object.Annotations = map[string]string{versionKey: strconv.Itoa(w.versions)}
		content[name] = next.object
	}
	w.writes = append(w.writes, next)
	if w.reveals(len(w.writes) - 1) {
		w.spreadLoss(name)
	}
}

// grant gives or takes names, or every name, in one batch.
func (w *world) grant(t *rapid.T) {
	w.revision++
	next := accessState{at: time.Now(), written: len(w.writes), granted: maps.Clone(w.grantsNow())}
	for range rapid.IntRange(1, 3).Draw(t, "grants") {
		subject := rapid.SampledFrom(modelSubjects).Draw(t, "subject")
		name := rapid.SampledFrom(append(modelNames, "*")).Draw(t, "name")
		names := slices.Clone(next.granted[subject])
		if i := slices.Index(names, name); i >= 0 {
			names = slices.Delete(names, i, i+1)
		} else {
			names = append(names, name)
		}
		next.granted[subject] = names
		next.subjects = append(next.subjects, subject)
		if name != "*" {
			next.names = append(next.names, name)
		}
	}
	next.names, next.subjects = distinct(next.names), distinct(next.subjects)
	w.access = append(w.access, next)
}

// takes reports whether a state of the access takes a name from somebody.
func (w *world) takes(i int, name string) bool {
	return i > 0 && slices.ContainsFunc(w.access[i].subjects, func(subject string) bool {
		return w.access[i-1].granted.Allowed([]string{subject}, name) && !w.access[i].granted.Allowed([]string{subject}, name)
	})
}

// reveals reports whether a write makes an object, or may make it match.
func (w *world) reveals(i int) bool {
	if i == 0 || w.writes[i].deleted {
		return false
	}
	o := w.writes[i].object
	before, existed := w.writes[i-1].content[o.Name]
	return !existed || before.Labels["color"] != o.Labels["color"]
}

// spreadLoss has every replica know who lost a name, before an object comes to be
// under it, or to match. A replica that learns of the one before the other could
// not tell a client that it holds what its user never could get, see
// watcher.resume.
func (w *world) spreadLoss(name string) {
	for i := len(w.access) - 1; i > 0; i-- {
		if w.takes(i, name) {
			for _, r := range w.replicas {
				w.applyAccess(r, i+1)
			}
			return
		}
	}
}

func distinct(s []string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}

// fill starts a replica, by a consistent read: the Lease that it writes first
// makes a revision.
func (w *world) fill(r *replica) {
	w.revision++
	if r.view != nil {
		r.view.EndWatches()
	}
	r.granted, r.access, r.filled = w.grantsNow(), len(w.access), len(w.access)
	r.content, r.written, r.current = w.now().content, len(w.writes), time.Now()
	granted := r.granted
	r.view = New[*object, string](kindOf(), &granted, clock.RealClock{})
	r.view.queueCapacity = worldQueue
	r.view.Replace(slices.Collect(maps.Values(r.content)), revision(w.revision))
	w.look(r)
}

// applyWrites has a replica apply the writes up to an index.
func (w *world) applyWrites(r *replica, until int) {
	for ; r.written < until; r.written++ {
		next := w.writes[r.written]
		if next.deleted {
			r.view.Delete(next.object)
		} else {
			r.view.Upsert(next.object)
		}
		r.content = next.content
		w.look(r)
	}
}

func (w *world) applyAccess(r *replica, until int) {
	for ; r.access < until; r.access++ {
		next := w.access[r.access]
		for i := next.written - 1; i >= r.written; i-- {
			if w.reveals(i) && w.takes(r.access, w.writes[i].object.Name) {
				w.applyWrites(r, i+1) // see spreadLoss
			}
		}
		r.granted = next.granted
		r.view.AccessChanged(&next.granted, next.names, next.subjects)
		w.look(r)
	}
}

// look notes what a replica has every user see.
func (w *world) look(r *replica) {
	for user, subjects := range modelReaders {
		for name, o := range r.content {
			if r.granted.Allowed(subjects, name) {
				w.seen[sight{user, o.Annotations[versionKey]}] = true
			}
		}
	}
}

// bookmark tells a replica that there is nothing else before what it lacks.
func (w *world) bookmark(r *replica) {
	last := w.revision
	if r.written < len(w.writes) {
		last = w.writes[r.written].revision - 1
	}
	r.view.Bookmark(revision(last))
	r.current = time.Now()
}

// relist has a replica read everything anew, as after a broken watch.
func (w *world) relist(r *replica) {
	r.content, r.written, r.current = w.now().content, len(w.writes), time.Now()
	r.view.Replace(slices.Collect(maps.Values(r.content)), revision(w.revision))
	w.look(r)
}

// pass lets time pass, in which no replica falls behind by more than it may.
func (w *world) pass(d time.Duration) {
	for d > 0 {
		step := min(d, time.Second)
		d -= step
		time.Sleep(step) //nolint:forbidigo // the bubble's time, which passes at once
		w.keepUp()
	}
}

func (w *world) keepUp() {
	for _, r := range w.replicas {
		for r.written < len(w.writes) && time.Since(w.writes[r.written].at) > worldLag {
			w.applyWrites(r, r.written+1)
		}
		for r.access < len(w.access) && time.Since(w.access[r.access].at) > worldLag {
			w.applyAccess(r, r.access+1)
		}
		if time.Since(r.current) > worldLag {
			w.bookmark(r)
		}
	}
}

// expect returns the versions, by name, that a user may get of a content and that
// match.
func expect(content map[string]*object, granted grants, subjects []string, s Selection) map[string]string {
	expected := map[string]string{}
	for name, o := range content {
		if granted.Allowed(subjects, name) && (s.Labels == nil || s.Labels.Matches(labels.Set(o.Labels))) && (s.Fields == nil || s.Fields.Matches(fieldsOf(o))) {
			expected[name] = o.Annotations[versionKey]
		}
	}
	return expected
}

// settle has every replica and every client catch up, and holds that all hold
// what the API server says.
func (w *world) settle() {
	for _, r := range w.replicas {
		w.applyWrites(r, len(w.writes))
		w.applyAccess(r, len(w.access))
		w.bookmark(r)
	}
	for i, c := range w.clients {
		// A client that has to list again, and resumes at the list, may have to
		// until the two minutes are over.
		for try := 0; !c.drain(); try++ {
			if try > 1000 {
				w.Fatalf("%s does not get there", c)
			}
			if try%10 == 9 {
				w.pass(5 * time.Second)
			}
			c.connect(w.replicas[(i+try)%len(w.replicas)])
		}
		want := expect(w.now().content, w.grantsNow(), c.subjects(), c.selection)
		if diff := cmp.Diff(want, c.versions()); diff != "" {
			w.Fatalf("%s does not hold what it may get (-want +got):\n%s", c, diff)
		}
	}
}

func (w *world) close() {
	for _, c := range w.clients {
		c.disconnect()
	}
}

// TestWatchModel lets objects and access change at random, in the API server and
// at replicas that learn of it sooner or later, while clients watch, read slowly,
// lose their connection and go on elsewhere. What is rare takes many runs to find:
// -rapid.checks=10000 takes a minute.
func TestWatchModel(t *testing.T) {
	t.Parallel()
	for i := range 10 {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) { inWorld(t, rt) })
		})
	}
}

// inWorld runs a world in a bubble of its own, where time passes at once.
func inWorld(t *testing.T, rt *rapid.T) {
	var failure any
	synctest.Test(t, func(st *testing.T) {
		// rapid's own panics have to reach it where it listens.
		defer func() { failure = recover() }()
		w := newWorld(st.Context(), rt)
		defer w.close()
		w.run(rt)
		w.settle()
	})
	// It tells failures from each other by where they come from.
	switch {
	case failure == nil:
	case fmt.Sprintf("%T", failure) == "rapid.invalidData":
		panic(failure)
	default:
		panic(failure)
	}
}

func (w *world) run(t *rapid.T) {
	some := func(t *rapid.T) *replica { return w.replicas[rapid.IntRange(0, len(w.replicas)-1).Draw(t, "replica")] }
	client := func(t *rapid.T) *watchClient { return w.clients[rapid.IntRange(0, len(w.clients)-1).Draw(t, "client")] }
	both := func(t *rapid.T) {
		r := some(t)
		w.applyWrites(r, len(w.writes))
		w.applyAccess(r, len(w.access))
	}
	receive := func(t *rapid.T) {
		c := client(t)
		for range rapid.IntRange(1, 4).Draw(t, "events") {
			c.receive()
		}
	}
	t.Repeat(map[string]func(*rapid.T){
		"change":      w.change,
		"changeAgain": w.change,
		"grant":       w.grant,
		"grantAgain":  w.grant,
		"applyWrites": func(t *rapid.T) {
			r := some(t)
			w.applyWrites(r, min(len(w.writes), r.written+rapid.IntRange(1, 3).Draw(t, "writes")))
		},
		"applyAccess": func(t *rapid.T) {
			r := some(t)
			w.applyAccess(r, min(len(w.access), r.access+rapid.IntRange(1, 3).Draw(t, "states")))
		},
		"applyBoth":   both,
		"applyAgain":  both,
		"bookmark":    func(t *rapid.T) { w.bookmark(some(t)) },
		"relistAgain": func(t *rapid.T) { w.relist(some(t)) },
		"relist":      func(t *rapid.T) { w.relist(some(t)) },
		"restart":     func(t *rapid.T) { w.fill(some(t)) },
		"stale":       func(t *rapid.T) { some(t).view.EndWatches() },
		"pass":        func(t *rapid.T) { w.pass(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second) },
		"breakOff": func(t *rapid.T) {
			// In the middle of what a relist tells.
			c, r := client(t), some(t)
			for range 3 {
				w.change(t)
			}
			w.relist(r)
			c.receive()
			c.connect(r)
		},
		"connect":    func(t *rapid.T) { c, r := client(t), some(t); c.connect(r) },
		"reconnect":  func(t *rapid.T) { c, r := client(t), some(t); c.drain(); c.connect(r) },
		"disconnect": func(t *rapid.T) { client(t).disconnect() },
		"receive":    receive,
		"drain":      func(t *rapid.T) { client(t).drain() },
		"drainAll": func(*rapid.T) {
			for _, c := range w.clients {
				c.drain()
			}
		},
		"": func(*rapid.T) { w.keepUp() },
	})
}
