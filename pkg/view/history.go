// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"sort"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// historyAge is how long an entry is kept: a client that reconnects resumes
	// at a bookmark that may be 75 s old, as in the API server's watch cache, and
	// needs the access changes of the two minutes before that.
	historyAge = 200 * time.Second
	// historyCapacity is how many entries are kept at most, whatever their age. An
	// entry keeps some 2 KiB alive besides its objects: the nodes of the tree that
	// its change replaced.
	historyCapacity = 16 * 1024
)

// Entry is one change of an object, or of the access to objects. It is immutable.
type Entry[P metav1.Object, S comparable] struct {
	// Sequence numbers the entries of a view without gaps.
	Sequence uint64
	// ResourceVersion is that of the view after the entry.
	ResourceVersion uint64
	// Recorded is when the entry was appended.
	Recorded time.Time

	// Before and After are the object; nil where it did not, or does not, exist.
	// Both are nil for a change of access.
	Before, After *Element[P]

	// Names are the names whose audience changed, Every the subjects that gained
	// or lost every name. Both are empty for a change of an object.
	Names []string
	Every []S

	// AccessBefore and AccessAfter are equal for a change of an object.
	AccessBefore, AccessAfter Access[S]

	// snapshot is the content after the entry.
	snapshot *snapshot[P]
}

// history is the log of a view: its latest entries, oldest first, and the
// content from which they started. The view's lock protects it.
type history[P metav1.Object, S comparable] struct {
	// base is the content before the first entry kept.
	base    *snapshot[P]
	entries []Entry[P, S]
	next    uint64
	// gaps are the revisions that relists skipped.
	gaps []gap
	// oldest is the first revision of which the content is known.
	oldest uint64
}

// gap says that the revisions after one and before another are not known.
type gap struct {
	after, before uint64
	recorded      time.Time
}

func newHistory[P metav1.Object, S comparable](base *snapshot[P]) *history[P, S] {
	return &history[P, S]{base: base, oldest: base.resourceVersion}
}

func (h *history[P, S]) reset(base *snapshot[P]) {
	h.base, h.oldest = base, base.resourceVersion
	h.entries, h.gaps = nil, nil
}

// gap notes that a relist skipped the revisions between two.
func (h *history[P, S]) gap(after, before uint64, now time.Time) {
	if before > after+1 {
		h.gaps = append(h.gaps, gap{after: after, before: before, recorded: now})
	}
}

func (h *history[P, S]) append(e Entry[P, S]) {
	e.Sequence = h.next
	h.next++
	h.prune(e.Recorded, 1)
	h.entries = append(h.entries, e)
}

// prune forgets entries that are too old, and those that are too many with room
// for more.
func (h *history[P, S]) prune(now time.Time, room int) {
	for len(h.gaps) > 0 && now.Sub(h.gaps[0].recorded) > historyAge {
		h.oldest = max(h.oldest, h.gaps[0].before)
		h.gaps = h.gaps[1:]
	}
	drop := max(0, len(h.entries)+room-historyCapacity)
	for drop < len(h.entries) && now.Sub(h.entries[drop].Recorded) > historyAge {
		drop++
	}
	if drop == 0 {
		return
	}
	h.base = h.entries[drop-1].snapshot
	h.oldest = max(h.oldest, h.base.resourceVersion)
	clear(h.entries[:drop]) // what was dropped must not be kept alive by the array
	h.entries = h.entries[drop:]
	if len(h.entries) == 0 {
		h.entries = nil
	}
}

// at returns the content at a revision, false if it is not known.
func (h *history[P, S]) at(resourceVersion uint64) (*snapshot[P], bool) {
	if resourceVersion < h.oldest {
		return nil, false
	}
	for _, g := range h.gaps {
		if g.after < resourceVersion && resourceVersion < g.before {
			return nil, false
		}
	}
	after := sort.Search(len(h.entries), func(i int) bool { return h.entries[i].ResourceVersion > resourceVersion })
	if after == 0 {
		return h.base, true
	}
	return h.entries[after-1].snapshot, true
}
