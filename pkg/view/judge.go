// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"context"
	"iter"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/watch"

	"tenancy.capsule.io/pkg/internal/metrics"
)

// sendInitial tells the client every object that it may get. annotate asks for the
// bookmark that ends them.
func (w *watcher[P, S]) sendInitial(ctx context.Context, content *snapshot[P], access Access[S], annotate bool) bool {
	ok := true
	w.view.visible(content, access, w.subjects, "", w.selection, func(element *Element[P]) bool {
		ok = w.show(ctx, element, true, reason[P]{content: content, cause: metrics.CausedByInitial})
		return ok
	})
	if ok && annotate && w.bookmarks {
		return w.sendBookmark(ctx, true)
	}
	return ok
}

// apply tells the client what an entry changes for it, and reports whether the
// watch goes on. What makes an event ADDED, MODIFIED or DELETED is whether the
// object existed, matched and could be got before the entry, and after it.
func (w *watcher[P, S]) apply(ctx context.Context, e *Entry[P, S]) bool {
	r := reason[P]{content: e.snapshot, deletedAt: e.DeletedAt, unsure: w.unsure(e.Recorded), cause: metrics.CausedByObject}
	var ok bool
	if e.ofAccess() {
		r.deletedAt, r.cause = e.ResourceVersion, metrics.CausedByAccess
		ok = w.applyAccess(ctx, e, r)
	} else {
		if len(e.Changes) == 1 {
			r.sharing = &e.sharing
		}
		ok = w.applyObjects(ctx, e, r)
	}
	w.position = e.snapshot.mark
	return ok
}

// applyObjects tells of what is gone first: a client that loses the connection
// among several changes is at the revision of the last that it got, and a replica
// that saw them one by one takes it that everything before is known.
func (w *watcher[P, S]) applyObjects(ctx context.Context, e *Entry[P, S], r reason[P]) bool {
	for _, c := range e.Changes {
		if w.selects(c.Before) && !w.selects(c.After) && e.AccessAfter.Allowed(w.subjects, c.Before.Name) && !w.hide(ctx, c.Before.Name, c.Before, r) {
			return false
		}
	}
	for _, c := range e.Changes {
		if w.selects(c.After) && e.AccessAfter.Allowed(w.subjects, c.After.Name) && !w.show(ctx, c.After, !w.selects(c.Before), r) {
			return false
		}
	}
	return true
}

// applyAccess tells the client what it may get from the entry on, or no longer.
// What it may get and is not there is nothing to a client whose state is known. An
// unsure one may hold it, by a grant that another replica applied before, and
// missed its end.
func (w *watcher[P, S]) applyAccess(ctx context.Context, e *Entry[P, S], r reason[P]) bool {
	var missing []string
	ok := true
	w.touched(e)(func(name string) bool {
		element, _ := e.snapshot.get(name)
		switch visible, is := w.selects(element), e.AccessAfter.Allowed(w.subjects, name); {
		case visible && is:
			ok = w.show(ctx, element, true, r)
		case visible:
			ok = w.hide(ctx, name, element, r)
		case is:
			missing = append(missing, name)
		}
		return ok
	})
	if !ok || !r.unsure {
		return ok
	}
	return w.retract(ctx, missing, e.everyChanged(w.subjects) && e.AccessAfter.Every(w.subjects), e.AccessAfter, r, e.Sequence)
}

// touched yields the names for which the entry changes what the client may get: of
// those that the entry names, or of all objects.
func (w *watcher[P, S]) touched(e *Entry[P, S]) iter.Seq[string] {
	differs := func(name string) bool {
		return e.AccessBefore.Allowed(w.subjects, name) != e.AccessAfter.Allowed(w.subjects, name)
	}
	return func(yield func(string) bool) {
		if e.everyChanged(w.subjects) {
			e.snapshot.tree.Ascend(func(element *Element[P]) bool { return !differs(element.Name) || yield(element.Name) })
			return
		}
		for _, name := range e.Names {
			if differs(name) && !yield(name) {
				return
			}
		}
	}
}

func (e *Entry[P, S]) everyChanged(subjects []S) bool {
	return e.AccessBefore.Every(subjects) != e.AccessAfter.Every(subjects)
}

// retract tells an unsure client that there is nothing for it under names that it
// was granted: the missing ones, or, with every, all. It does so for those under
// which something was that another replica may have shown it.
func (w *watcher[P, S]) retract(ctx context.Context, missing []string, every bool, access Access[S], r reason[P], until uint64) bool {
	if len(missing) == 0 && !every {
		return true
	}
	names := missing
	if every {
		names = nil
	}
	for _, name := range w.view.held(w.selection, names, w.unsureSince, until) {
		var present *Element[P]
		if access.Allowed(w.subjects, name) && w.mayGet(name) {
			present, _ = r.content.get(name)
		}
		if !w.selects(present) && !w.hide(ctx, name, present, r) {
			return false
		}
	}
	return true
}

// mayGet reports whether the user may get the name now, whatever the client has
// been told of.
func (w *watcher[P, S]) mayGet(name string) bool {
	return (*w.view.access.Load()).Allowed(w.subjects, name)
}

func (w *watcher[P, S]) selects(element *Element[P]) bool {
	return element != nil && w.view.matches(element, w.selection)
}

// unsure reports whether the client may know, at a moment, of access that this
// replica does not.
func (w *watcher[P, S]) unsure(moment time.Time) bool {
	if moment.Before(w.unsureUntil) {
		return true
	}
	if !w.unsureUntil.IsZero() {
		w.unsureUntil = time.Time{}
		for name, held := range w.absent {
			if !held {
				delete(w.absent, name)
			}
		}
	}
	return false
}

// reason is why a client is told something: of a content that holds from then on.
type reason[P Object] struct {
	content *snapshot[P]
	// deletedAt is the revision to tell of what is gone.
	deletedAt uint64
	// unsure says that the client may hold what this replica did not tell it.
	unsure bool
	cause  metrics.EventCause
	// sharing is nil for what is told to one client alone.
	sharing *sharing[P]
}

// show tells the client of an object, unless the client may not get it any more:
// the entry that says so is on its way.
func (w *watcher[P, S]) show(ctx context.Context, element *Element[P], added bool, r reason[P]) bool {
	event := watch.Event{Type: watch.Modified, Object: r.sharing.objectFor(element.Object, w.view.kind.ShallowCopy)}
	_, absent := w.absent[element.Name]
	if added || absent {
		event.Type = watch.Added
	}
	for {
		if !w.mayGet(element.Name) {
			// To an unsure client it might not have been the first.
			if absent || added && !r.unsure {
				w.absent[element.Name] = true
			}
			return true
		}
		switch w.send(ctx, event, w.judge) {
		case over:
			return false
		case sent:
			delete(w.absent, element.Name)
			revision, _ := revisionOf(element.Object)
			w.told(revision, event.Type, r)
			return true
		case unjudged:
		}
	}
}

// hide tells the client that an object is gone, with what it was allowed to see of
// it last: its name alone if that is nothing.
func (w *watcher[P, S]) hide(ctx context.Context, name string, last *Element[P], r reason[P]) bool {
	if _, absent := w.absent[name]; absent {
		w.noteDeletion(name, r.unsure)
		return true
	}
	var object P
	if last != nil {
		object = w.view.kind.ShallowCopy(last.Object)
	} else {
		object = w.view.kind.New()
		object.SetName(name)
	}
	object.SetResourceVersion(strconv.FormatUint(r.deletedAt, 10))
	if w.send(ctx, watch.Event{Type: watch.Deleted, Object: object}, nil) == over {
		return false
	}
	w.noteDeletion(name, r.unsure)
	w.told(r.deletedAt, watch.Deleted, r)
	return true
}

// noteDeletion notes that the client knows that it does not hold an object.
func (w *watcher[P, S]) noteDeletion(name string, unsure bool) {
	if unsure {
		w.absent[name] = false
	} else {
		delete(w.absent, name)
	}
}

// told notes that the client has taken an event, and the revision that it is at.
func (w *watcher[P, S]) told(revision uint64, eventType watch.EventType, r reason[P]) {
	w.view.metrics.Event(eventType, r.cause)
	if w.behind = revision < r.content.resourceVersion; !w.behind {
		r.content.handOut()
	}
}
