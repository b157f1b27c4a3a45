// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	utilflowcontrol "k8s.io/apiserver/pkg/util/flowcontrol"

	"tenancy.capsule.io/pkg/internal/metrics"
)

const (
	// queueCapacity is how many entries a client may be behind.
	queueCapacity = 1000
	// bookmarkPeriod and bookmarkMargin are when bookmarks are sent: regularly, and
	// before the deadline. Both are those of the API server's watch cache.
	bookmarkPeriod = time.Minute
	bookmarkMargin = 2 * time.Second
)

// watcher is one open watch. Entries reach it in the order of the log; one
// goroutine, run, makes events of them and waits for the client to take each.
type watcher[P Object, S comparable] struct {
	view      *View[P, S]
	subjects  []S
	selection Selection
	bookmarks bool

	// stopped is closed, by stop, when the client wants no more.
	stop    sync.Once
	stopped chan struct{}

	// The view's lock protects what follows: offered is the number of the entries
	// up to the last that was offered. done is closed, once failure is set, when the
	// watch has ended.
	offered uint64
	failure error
	done    chan struct{}

	// queue holds what is yet to be told. It is written under the view's lock, so
	// that a watcher who finds it empty under that lock is at the head of the log.
	queue chan *Entry[P, S]
	// judge holds a value after a change of the subjects' access: an event that the
	// client has not taken is to be judged again.
	judge chan struct{}
	// result has no room: an event that waits in it could not be called back when
	// access to its object is revoked.
	result chan watch.Event

	// What follows belongs to the goroutine.

	// position is the revision whose content the client holds, but for what it may
	// not get. The content itself may be of long ago: it is not kept for the client.
	position *mark
	// behind says that a bookmark is due: by time, or because the last event carried
	// a revision below the position's, at which the client would resume.
	behind bool
	// replaying says that there is more to tell than the queue holds.
	replaying bool
	// unsureUntil is until when the client may know of access that this replica has
	// yet to apply, unsureSince from when on. Both are zero unless it resumed.
	unsureUntil, unsureSince time.Time
	// absent are names of which the client holds no object although it might: true
	// if the log says that it does, because an event was withheld; false for a
	// deletion that an unsure watcher must not tell twice.
	absent map[string]bool
}

func newWatcher[P Object, S comparable](v *View[P, S], subjects []S, o WatchOptions) *watcher[P, S] {
	return &watcher[P, S]{
		view:      v,
		subjects:  subjects,
		selection: o.Selection,
		bookmarks: o.AllowBookmarks,
		done:      make(chan struct{}),
		stopped:   make(chan struct{}),
		queue:     make(chan *Entry[P, S], v.queueCapacity),
		judge:     make(chan struct{}, 1),
		result:    make(chan watch.Event),
		absent:    map[string]bool{},
	}
}

// ResultChan returns the events. It is closed when the watch has ended.
func (w *watcher[P, S]) ResultChan() <-chan watch.Event { return w.result }

// Stop ends the watch. It may be called more than once.
func (w *watcher[P, S]) Stop() { w.stop.Do(func() { close(w.stopped) }) }

// offer queues an entry, without blocking. It returns false if there is no room.
// The view's lock is held.
func (w *watcher[P, S]) offer(e *Entry[P, S]) bool {
	select {
	case w.queue <- e:
	default:
		return false
	}
	if e.ofAccess() {
		select {
		case w.judge <- struct{}{}:
		default: // one value says it
		}
	}
	return true
}

// run tells the client what the watch begins with, and then what happens.
func (w *watcher[P, S]) run(ctx context.Context, begin func(context.Context) bool) {
	defer close(w.result)
	if begin(ctx) {
		utilflowcontrol.WatchInitialized(ctx)
		w.follow(ctx)
	}
	cause := metrics.EndedByClient
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		cause = metrics.EndedByDeadline
	}
	if err := w.end(cause, nil); err != nil {
		select {
		case w.result <- errorEvent(err):
		case <-w.stopped:
		case <-ctx.Done():
		}
	}
}

// end ends the watch, unless it has ended, and returns the error that ended it.
func (w *watcher[P, S]) end(cause metrics.EndCause, err error) error {
	w.view.lock.Lock()
	defer w.view.lock.Unlock()
	w.view.endLocked(w, cause, err)
	return w.failure
}

// follow makes events of the entries that come, until the watch ends.
func (w *watcher[P, S]) follow(ctx context.Context) {
	var bookmark <-chan time.Time
	next := func() {}
	if w.bookmarks {
		timer := w.view.clock.NewTimer(w.untilBookmark(ctx))
		defer timer.Stop()
		bookmark, next = timer.C(), func() { timer.Reset(w.untilBookmark(ctx)) }
	}
	for ok := w.confirm(ctx); ok; ok = w.confirm(ctx) {
		select {
		case e := <-w.queue:
			if !w.apply(ctx, e) {
				return
			}
		case <-bookmark:
			w.behind = true
			next()
		case <-w.done:
			return
		case <-w.stopped:
			return
		case <-ctx.Done():
			return
		}
	}
}

// confirm sends a bookmark if one is due.
func (w *watcher[P, S]) confirm(ctx context.Context) bool {
	if !w.behind || !w.bookmarks {
		return true
	}
	w.advance()
	return w.sendBookmark(ctx, false)
}

// advance moves the position to that of the view if there is nothing left to tell.
func (w *watcher[P, S]) advance() {
	w.view.lock.Lock()
	defer w.view.lock.Unlock()
	if len(w.queue) == 0 && w.view.open.Has(w) && !w.replaying {
		w.position = w.view.snapshot.Load().mark
	}
}

// untilBookmark returns how long to wait for the next bookmark.
func (w *watcher[P, S]) untilBookmark(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		if margin := deadline.Sub(w.view.clock.Now()) - bookmarkMargin; margin > 0 && margin < bookmarkPeriod {
			return margin
		}
	}
	return bookmarkPeriod
}

func (w *watcher[P, S]) sendBookmark(ctx context.Context, initialEventsEnd bool) bool {
	object := w.view.kind.New()
	object.SetResourceVersion(strconv.FormatUint(w.position.resourceVersion, 10))
	if initialEventsEnd {
		object.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	if w.send(ctx, watch.Event{Type: watch.Bookmark, Object: object}, nil) == over {
		return false
	}
	w.behind = false
	w.position.handOut()
	w.view.metrics.Event(watch.Bookmark, metrics.CausedByTime)
	return true
}

// outcome is what became of an event.
type outcome int

const (
	// sent: the client has taken it.
	sent outcome = iota
	// unjudged: the client has not taken it, and what it may get has changed.
	unjudged
	// over: the watch has ended.
	over
)

// send waits until the client has taken an event, judge has a value, or the watch
// has ended.
func (w *watcher[P, S]) send(ctx context.Context, event watch.Event, judge <-chan struct{}) outcome {
	if w.isOver(ctx) {
		return over // a select takes any case that is ready
	}
	select {
	case w.result <- event:
		return sent
	case <-judge:
		return unjudged
	case <-w.done:
	case <-w.stopped:
	case <-ctx.Done():
	}
	return over
}

func (w *watcher[P, S]) isOver(ctx context.Context) bool {
	select {
	case <-w.done:
	case <-w.stopped:
	case <-ctx.Done():
	default:
		return false
	}
	return true
}
