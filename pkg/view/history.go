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
	// base is the content before the first entry kept. Before its revision
	// nothing is known.
	base    *snapshot[P]
	entries []Entry[P, S]
	next    uint64
}

func newHistory[P metav1.Object, S comparable](base *snapshot[P]) *history[P, S] {
	return &history[P, S]{base: base}
}

func (h *history[P, S]) reset(base *snapshot[P]) {
	h.base = base
	h.entries = nil
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
	drop := max(0, len(h.entries)+room-historyCapacity)
	for drop < len(h.entries) && now.Sub(h.entries[drop].Recorded) > historyAge {
		drop++
	}
	if drop == 0 {
		return
	}
	h.base = h.entries[drop-1].snapshot
	clear(h.entries[:drop]) // what was dropped must not be kept alive by the array
	h.entries = h.entries[drop:]
	if len(h.entries) == 0 {
		h.entries = nil
	}
}

// at returns the content at a revision, false if that is before all that is known.
func (h *history[P, S]) at(resourceVersion uint64) (*snapshot[P], bool) {
	if resourceVersion < h.base.resourceVersion {
		return nil, false
	}
	after := sort.Search(len(h.entries), func(i int) bool { return h.entries[i].ResourceVersion > resourceVersion })
	if after == 0 {
		return h.base, true
	}
	return h.entries[after-1].snapshot, true
}
