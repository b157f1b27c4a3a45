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
//	 ReplicaLag           revision v              now             ReplicaLag
//	──┬─────────────────────┬───────────────────────┬─────────────────┬──>
//	  └ changes of access:  └ entries: replayed     └ entries:        └ sure
//	    what holds at v                               as they come
//
// Another replica that served the client at v may have applied changes of access
// later than this one: the client does not know those on the left. Or earlier: it
// knows some on the right, and may hold what was deleted before they came here.
//
// One thing is not told. A client was shown an object by another replica, its user
// has lost access to it since, and here the loss was applied before the object came
// to be, or to match: the user never could get it here. To say that it is gone
// would say that it exists. What was deleted before the user was granted its name
// is told, by its name alone: another replica may have shown it.
func (w *watcher[P, S]) resume(ctx context.Context, start resumption[P, S], access Access[S]) bool {
	w.position, w.replaying = start.position.mark, true
	defer func() { w.replaying = false }()
	if !w.catchUp(ctx, start, access) || !w.confirm(ctx) {
		return false
	}
	for _, e := range start.replay {
		if !w.apply(ctx, e) || !w.confirm(ctx) {
			return false
		}
	}
	return true
}

// catchUp tells what holds at the revision for every name of which the client may
// not know that its access changed.
func (w *watcher[P, S]) catchUp(ctx context.Context, start resumption[P, S], access Access[S]) bool {
	changed := w.accessChangesOf(start)
	r := reason[P]{content: start.position, deletedAt: start.position.resourceVersion, unsure: true, cause: metrics.CausedByAccess}
	var missing []string
	for _, name := range changed.names(start.content) {
		element, _ := start.content.get(name)
		ok := true
		switch allowed := access.Allowed(w.subjects, name); {
		case allowed && w.selects(element):
			ok = w.show(ctx, element, true, r)
		case allowed:
			missing = append(missing, name)
		default:
			if last := changed.lastSeen(name); w.selects(last) {
				ok = w.hide(ctx, name, last, r)
			} else if changed.byName[name].gained {
				missing = append(missing, name)
			}
		}
		if !ok {
			return false
		}
	}
	return w.retract(ctx, missing, changed.every && access.Every(w.subjects), access, r, start.sequence)
}

// accessChanges are the changes of one client's access before it resumed.
type accessChanges[P Object, S comparable] struct {
	byName map[string]nameChange[P, S]
	// every is whether the access to every name changed, everyLost the last entry
	// that took it away, or nil.
	every     bool
	everyLost *Entry[P, S]
}

// nameChange says whether a name was granted, and which entry took it away last.
type nameChange[P Object, S comparable] struct {
	gained bool
	lost   *Entry[P, S]
}

func (w *watcher[P, S]) accessChangesOf(start resumption[P, S]) accessChanges[P, S] {
	changed := accessChanges[P, S]{byName: map[string]nameChange[P, S]{}}
	for _, e := range start.access {
		if e.everyChanged(w.subjects) {
			changed.every = true
			if e.AccessBefore.Every(w.subjects) {
				changed.everyLost = e
			}
		}
		for _, name := range e.Names {
			was, is := e.AccessBefore.Allowed(w.subjects, name), e.AccessAfter.Allowed(w.subjects, name)
			if was == is {
				continue
			}
			c := changed.byName[name]
			if c.gained = c.gained || is; was {
				c.lost = e
			}
			changed.byName[name] = c
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
	lost := c.byName[name].lost
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
	entries := v.history.entries[v.history.since(since):]
	v.lock.Unlock()
	for _, e := range entries {
		if e.Sequence >= until {
			break
		}
		for _, c := range e.Changes {
			if c.Before != nil && (names == nil || wanted.Has(c.Before.Name)) && v.matches(c.Before, s) {
				held.Insert(c.Before.Name)
			}
		}
	}
	return sets.List(held)
}
