// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"tenancy.capsule.io/pkg/internal/metrics"
)

// resume tells a client that holds the content of a revision what it may have
// missed. access is what held when the revision was reached.
//
//	 2 minutes            revision v              now             2 minutes
//	──┬─────────────────────┬───────────────────────┬─────────────────┬──>
//	  └ changes of access:  └ entries: replayed     └ entries:        └ sure
//	    what holds at v                               as they come
//
// Another replica that served the client at v may have applied changes of access
// later than this one: the client does not know those on the left. Or earlier: it
// knows some on the right, and may hold what was deleted before they came here.
func (w *watcher[P, S]) resume(ctx context.Context, start resumption[P, S], access Access[S]) bool {
	w.position = start.position
	if !w.catchUp(ctx, start, access) || !w.confirm(ctx, !start.partial) {
		return false
	}
	for _, e := range start.replay {
		if !w.apply(ctx, e) || !w.confirm(ctx, !e.Relist) {
			return false
		}
	}
	return true
}

// catchUp tells what holds at the revision for every name of which the client may
// not know that its access changed.
func (w *watcher[P, S]) catchUp(ctx context.Context, start resumption[P, S], access Access[S]) bool {
	changed := w.accessChangesOf(start)
	if hidden := changed.everyLost != nil && !access.Every(w.subjects) && w.anyHidden(start.content, changed, access); hidden {
		// A replica may have shown the client what was created after it lost
		// every name. To tell that it is gone would tell that it exists.
		w.end(metrics.EndedByExpiry, tooOldError(start.position.resourceVersion)) //nolint:errcheck // run tells it
		return false
	}
	var missing []string
	for _, name := range changed.names(start.content) {
		element, _ := start.content.get(name)
		ok := true
		switch allowed := access.Allowed(w.subjects, name); {
		case allowed && w.selects(element):
			ok = w.show(ctx, element, true, start.position, metrics.CausedByAccess)
		case allowed:
			missing = append(missing, name)
		default:
			ok = w.hide(ctx, name, changed.lastSeen(name), start.position, true, metrics.CausedByAccess)
		}
		if !ok {
			return false
		}
	}
	return w.retract(ctx, missing, changed.every && access.Every(w.subjects), start.position, start.sequence)
}

// anyHidden reports whether the content holds what the client may not get, and
// could not get when it lost every name.
func (w *watcher[P, S]) anyHidden(content *snapshot[P], changed accessChanges[P, S], access Access[S]) bool {
	hidden := false
	content.tree.Ascend(func(element *Element[P]) bool {
		_, existed := changed.everyLost.snapshot.get(element.Name)
		_, named := changed.byName[element.Name]
		hidden = !existed && !named && !access.Allowed(w.subjects, element.Name)
		return !hidden
	})
	return hidden
}

// accessChanges are the changes of one client's access before it resumed.
type accessChanges[P Object, S comparable] struct {
	// byName holds, for a name that was granted or taken away, the last entry that
	// took it away, or nil.
	byName map[string]*Entry[P, S]
	// every is whether the access to every name changed, everyLost the last entry
	// that took it away, or nil.
	every     bool
	everyLost *Entry[P, S]
}

func (w *watcher[P, S]) accessChangesOf(start resumption[P, S]) accessChanges[P, S] {
	changed := accessChanges[P, S]{byName: map[string]*Entry[P, S]{}}
	for _, e := range start.access {
		if e.everyChanged(w.subjects) {
			changed.every = true
			if e.AccessBefore.Every(w.subjects) {
				changed.everyLost = e
			}
		}
		for _, name := range e.Names {
			switch was, is := e.AccessBefore.Allowed(w.subjects, name), e.AccessAfter.Allowed(w.subjects, name); {
			case was && !is:
				changed.byName[name] = e
			case is && !was && changed.byName[name] == nil:
				changed.byName[name] = nil
			}
		}
	}
	return changed
}

// names returns the names, sorted, that the changes may concern.
func (c accessChanges[P, S]) names(content *snapshot[P]) []string {
	names := sets.KeySet(c.byName)
	add := func(element *Element[P]) bool {
		names.Insert(element.Name)
		return true
	}
	if c.every {
		content.tree.Ascend(add)
	}
	if c.everyLost != nil {
		c.everyLost.snapshot.tree.Ascend(add)
	}
	return sets.List(names)
}

// lastSeen returns the object of a name as it was when access to it was lost.
func (c accessChanges[P, S]) lastSeen(name string) *Element[P] {
	lost := c.byName[name]
	if lost == nil || c.everyLost != nil && c.everyLost.Sequence > lost.Sequence {
		lost = c.everyLost
	}
	if lost == nil {
		return nil
	}
	element, _ := lost.snapshot.get(name)
	return element
}

// held returns the names, sorted, under which the log has an object that matched
// and was changed or deleted since a moment and before an entry: those of names,
// or all if names is nil.
func (v *View[P, S]) held(s Selection, names []string, since time.Time, until uint64) []string {
	wanted := sets.New(names...)
	held := sets.New[string]()
	v.lock.Lock()
	defer v.lock.Unlock()
	for _, e := range v.history.entries[v.history.since(since):] {
		if e.Sequence >= until {
			break
		}
		if e.Before != nil && (names == nil || wanted.Has(e.Before.Name)) && v.matches(e.Before, s) {
			held.Insert(e.Before.Name)
		}
	}
	return sets.List(held)
}
