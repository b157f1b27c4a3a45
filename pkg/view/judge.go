// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"cmp"
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
		ok = w.show(ctx, element, true, content, metrics.CausedByInitial)
		return ok
	})
	if ok && annotate && w.bookmarks {
		return w.sendBookmark(ctx, true)
	}
	return ok
}

// apply tells the client what an entry changes for it, and reports whether the
// watch goes on.
//
// was is whether the object existed, matched and could be got before the entry,
// is the same after it: these two alone make an event ADDED, MODIFIED or DELETED.
func (w *watcher[P, S]) apply(ctx context.Context, e *Entry[P, S]) bool {
	tell := w.applyObject
	if e.ofAccess() {
		tell = w.applyAccess
	}
	ok := tell(ctx, e, w.unsure(e.Recorded))
	if !e.Relist {
		w.position = e.snapshot
	}
	return ok
}

func (w *watcher[P, S]) applyObject(ctx context.Context, e *Entry[P, S], unsure bool) bool {
	element := cmp.Or(e.After, e.Before)
	if element == nil || !e.AccessAfter.Allowed(w.subjects, element.Name) {
		return true
	}
	switch was, is := w.selects(e.Before), w.selects(e.After); {
	case is:
		return w.show(ctx, e.After, !was, e.snapshot, metrics.CausedByObject)
	case was:
		return w.hide(ctx, e.Before.Name, e.Before, e.snapshot, unsure, metrics.CausedByObject)
	default:
		return true
	}
}

// applyAccess tells the client what it may get from the entry on, or no longer.
// What it may get and is not there is nothing to a client whose state is known. An
// unsure one may hold it, by a grant that another replica applied before, and
// missed its end.
func (w *watcher[P, S]) applyAccess(ctx context.Context, e *Entry[P, S], unsure bool) bool {
	var missing []string
	ok := true
	w.touched(e, e.snapshot)(func(name string) bool {
		element, _ := e.snapshot.get(name)
		switch visible, is := w.selects(element), e.AccessAfter.Allowed(w.subjects, name); {
		case visible && is:
			ok = w.show(ctx, element, true, e.snapshot, metrics.CausedByAccess)
		case visible:
			ok = w.hide(ctx, name, element, e.snapshot, unsure, metrics.CausedByAccess)
		case is:
			missing = append(missing, name)
		}
		return ok
	})
	if !ok || !unsure {
		return ok
	}
	return w.retract(ctx, missing, e.everyChanged(w.subjects) && e.AccessAfter.Every(w.subjects), e.snapshot, e.Sequence)
}

// touched yields the names, of a content or named by the entry, for which the
// entry changes what the client may get.
func (w *watcher[P, S]) touched(e *Entry[P, S], content *snapshot[P]) iter.Seq[string] {
	differs := func(name string) bool {
		return e.AccessBefore.Allowed(w.subjects, name) != e.AccessAfter.Allowed(w.subjects, name)
	}
	return func(yield func(string) bool) {
		if e.everyChanged(w.subjects) {
			content.tree.Ascend(func(element *Element[P]) bool { return !differs(element.Name) || yield(element.Name) })
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

// retract tells an unsure client that there is nothing under names that it may
// get: the missing ones, or, with every, all. It does so for those under which
// something was that the client may have been shown by another replica.
func (w *watcher[P, S]) retract(ctx context.Context, missing []string, every bool, content *snapshot[P], until uint64) bool {
	if len(missing) == 0 && !every {
		return true
	}
	names := missing
	if every {
		names = nil
	}
	for _, name := range w.view.held(w.selection, names, w.unsureSince, until) {
		element, _ := content.get(name)
		if w.selects(element) {
			continue
		}
		if !w.hide(ctx, name, element, content, true, metrics.CausedByAccess) {
			return false
		}
	}
	return true
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

// show tells the client of an object, unless the client may not get it any more:
// the entry that says so is on its way. content is what holds after it.
func (w *watcher[P, S]) show(ctx context.Context, element *Element[P], added bool, content *snapshot[P], cause metrics.EventCause) bool {
	event := watch.Event{Type: watch.Modified, Object: w.view.kind.ShallowCopy(element.Object)}
	if _, absent := w.absent[element.Name]; added || absent {
		event.Type = watch.Added
	}
	for {
		if !(*w.view.access.Load()).Allowed(w.subjects, element.Name) {
			if event.Type == watch.Added {
				w.absent[element.Name] = true
			}
			return true
		}
		switch w.send(ctx, event, w.judge) {
		case over:
			return false
		case sent:
			delete(w.absent, element.Name)
			w.told(element.Object.GetResourceVersion(), content)
			w.view.metrics.Event(event.Type, cause)
			return true
		case unjudged:
		}
	}
}

// hide tells the client that an object is gone, with what it was allowed to see of
// it last: its name alone if that is nothing.
func (w *watcher[P, S]) hide(ctx context.Context, name string, last *Element[P], content *snapshot[P], unsure bool, cause metrics.EventCause) bool {
	if _, absent := w.absent[name]; absent {
		w.noteDeletion(name, unsure)
		return true
	}
	object := w.view.kind.New()
	if last != nil {
		object = w.view.kind.ShallowCopy(last.Object)
	}
	object.SetName(name)
	object.SetResourceVersion(strconv.FormatUint(content.resourceVersion, 10))
	if w.send(ctx, watch.Event{Type: watch.Deleted, Object: object}, nil) == over {
		return false
	}
	w.noteDeletion(name, unsure)
	w.told(object.GetResourceVersion(), content)
	w.view.metrics.Event(watch.Deleted, cause)
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

// told notes the revision that the client was told of and whose content is known.
func (w *watcher[P, S]) told(resourceVersion string, content *snapshot[P]) {
	revision, _ := parseRevision(resourceVersion)
	if w.behind = revision < content.resourceVersion; !w.behind {
		content.handOut()
	}
}
