// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"k8s.io/apiserver/pkg/storage"
)

const (
	// resumeAge is how long a client may resume at a revision after another took
	// its place: bookmarks come once a minute, and 75 s is what the API server's
	// watch cache keeps at least.
	resumeAge = 80 * time.Second
	// ReplicaLag is by how much the access that two replicas apply may differ. A
	// client that resumes here may have been told of a revision by another replica
	// that knew less of the access then, or more. It must be longer than a replica
	// answers without hearing from the API server.
	ReplicaLag = 3*time.Minute + 10*time.Second
	// historyCapacity is how many entries are kept at most, whatever their age. An
	// entry keeps some 2 KiB alive besides its objects: the nodes of the tree that
	// its change replaced.
	historyCapacity = 16 * 1024
)

// Change is what an entry says of one object: nil where it did not, or does not,
// exist.
type Change[P Object] struct {
	Before, After *Element[P]
}

// name returns the name of the object.
func (c Change[P]) name() string { return cmp.Or(c.After, c.Before).Name }

// revision returns that of the object, 0 for one that is gone.
func (c Change[P]) revision() uint64 {
	if c.After == nil {
		return 0
	}
	revision, _ := storage.APIObjectVersioner{}.ParseResourceVersion(c.After.Object.GetResourceVersion())
	return revision
}

// Entry is a change of an object, or of all that a relist found to differ, or of
// the access to objects, or of the revision alone. It is immutable, but for sharing.
type Entry[P Object, S comparable] struct {
	// Sequence numbers the entries of a view without gaps.
	Sequence uint64
	// ResourceVersion is that of the view after the entry.
	ResourceVersion uint64
	// Recorded is when the entry was appended.
	Recorded time.Time

	// Changes are those of objects, in the order of the revisions of After. DeletedAt
	// is the revision to tell of what is gone: for a relist, which does not say when,
	// the one before it.
	Changes   []Change[P]
	DeletedAt uint64

	// Names are the names whose audience changed, Subjects those whose access
	// changed. Both are empty for a change of an object.
	Names    []string
	Subjects []S

	// AccessBefore and AccessAfter are equal for a change of an object.
	AccessBefore, AccessAfter Access[S]

	// snapshot is the content after the entry.
	snapshot *snapshot[P]
	// sharing is for the watches that are told of the object, if the entry is of one.
	sharing sharing[P]
}

// ofAccess reports whether the entry is a change of access.
func (e *Entry[P, S]) ofAccess() bool { return len(e.Subjects) > 0 }

// history is the log of a view: its latest entries, oldest first, and the
// content from which they started. The view's lock protects it.
type history[P Object, S comparable] struct {
	// base is the content before the first entry kept, reached when its revision
	// became that of the view. torn says that entries of that revision were dropped.
	base    *snapshot[P]
	reached time.Time
	torn    bool
	// entries may be read without the lock by who got the slice under it: only what
	// is behind its end is written. dropped is how many entries its array keeps that
	// are forgotten.
	entries []*Entry[P, S]
	dropped int
	next    uint64
	// gaps are the revisions that relists skipped, relisted is where the last ended.
	gaps     []gap
	relisted uint64
	// oldest is the first revision of which the content is known, complete the
	// moment since which no entry is missing.
	oldest   uint64
	complete time.Time
}

// gap says that the revisions after one and before another are not known.
type gap struct {
	after, before uint64
	recorded      time.Time
}

func newHistory[P Object, S comparable](base *snapshot[P], now time.Time) *history[P, S] {
	h := &history[P, S]{}
	h.reset(base, now)
	return h
}

func (h *history[P, S]) reset(base *snapshot[P], now time.Time) {
	h.base, h.oldest = base, base.resourceVersion
	h.reached, h.complete, h.torn = now, now, false
	h.entries, h.dropped, h.gaps, h.relisted = nil, 0, nil, 0
}

// gap notes that a relist skipped the revisions between two.
func (h *history[P, S]) gap(after, before uint64, now time.Time) {
	h.relisted = before
	if before > after+1 {
		h.gaps = append(h.gaps, gap{after: after, before: before, recorded: now})
	}
}

func (h *history[P, S]) append(e *Entry[P, S]) {
	e.Sequence = h.next
	h.next++
	h.prune(e.Recorded, 1)
	h.entries = append(h.entries, e)
}

// prune forgets entries that no client needs to resume any more, and those that
// are too many with room for more.
func (h *history[P, S]) prune(now time.Time, room int) {
	for len(h.gaps) > 0 && now.Sub(h.gaps[0].recorded) > resumeAge+ReplicaLag {
		h.oldest = max(h.oldest, h.gaps[0].before)
		h.gaps = h.gaps[1:]
	}
	drop := max(len(h.entries)+room-historyCapacity, h.expired(now))
	if drop <= 0 {
		return
	}
	last := h.entries[drop-1]
	h.reached = h.reachedAt(last.ResourceVersion)
	h.torn = h.before(drop-1).resourceVersion == last.ResourceVersion
	h.base, h.complete = last.snapshot, last.Recorded
	h.oldest = max(h.oldest, h.base.resourceVersion)
	h.entries, h.dropped = h.entries[drop:], h.dropped+drop
	if h.dropped >= len(h.entries) {
		// What is forgotten must not be kept alive by the array.
		h.entries, h.dropped = slices.Clone(h.entries), 0
	}
}

// expired returns how many entries no client needs. In a quiet cluster the
// revision of an hour ago may still be the present one: a client that resumes
// there needs every change of access since, and those that a replica which served
// it may not have known.
func (h *history[P, S]) expired(now time.Time) int {
	if len(h.entries) == 0 || now.Sub(h.entries[0].Recorded) <= resumeAge+ReplicaLag {
		return 0
	}
	settled := sort.Search(len(h.entries), func(i int) bool { return now.Sub(h.entries[i].Recorded) <= resumeAge })
	needed := h.reachedAt(h.entries[settled-1].ResourceVersion).Add(-ReplicaLag)
	return h.since(needed)
}

// since returns the index of the first entry recorded at or after a moment.
func (h *history[P, S]) since(moment time.Time) int {
	return sort.Search(len(h.entries), func(i int) bool { return !h.entries[i].Recorded.Before(moment) })
}

// reachedAt returns when a revision that the view had became that of the view.
func (h *history[P, S]) reachedAt(resourceVersion uint64) time.Time {
	if resourceVersion <= h.base.resourceVersion {
		return h.reached
	}
	return h.entries[h.first(resourceVersion)].Recorded
}

// first returns the index of the first entry that is at least at a revision.
func (h *history[P, S]) first(resourceVersion uint64) int {
	return sort.Search(len(h.entries), func(i int) bool { return h.entries[i].ResourceVersion >= resourceVersion })
}

// before returns the content before the entry of an index.
func (h *history[P, S]) before(index int) *snapshot[P] {
	if index == 0 {
		return h.base
	}
	return h.entries[index-1].snapshot
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
	return h.before(sort.Search(len(h.entries), func(i int) bool { return h.entries[i].ResourceVersion > resourceVersion })), true
}

// resumption is where a client that holds the content of a revision goes on.
type resumption[P Object, S comparable] struct {
	// content is what the client holds, but for what it was, or was not, allowed.
	content *snapshot[P]
	// position is the same content, at the revision that the client named.
	position *snapshot[P]
	// access are the changes of access that the client may not know although they
	// were applied here before the revision was reached; since is the moment from
	// which on it may have known more, or less.
	access []*Entry[P, S]
	since  time.Time
	// replay is what happened since, from the entry of sequence on.
	replay   []*Entry[P, S]
	sequence uint64
}

// resume returns where a client at a revision goes on; false if that is not known.
func (h *history[P, S]) resume(resourceVersion uint64) (resumption[P, S], bool) {
	if _, known := h.at(resourceVersion); !known || h.torn && resourceVersion == h.base.resourceVersion {
		return resumption[P, S]{}, false
	}
	// A client that was told last of an object by a grant is at the revision of the
	// object, and may hold others that are younger. What became of them is lost if
	// they came and went while the API server could not be watched.
	if resourceVersion < h.relisted {
		return resumption[P, S]{}, false
	}
	// The entry that brought the revision is known to the client. Changes of access
	// bring none.
	start := h.first(resourceVersion)
	if h.before(start).resourceVersion < resourceVersion && start < len(h.entries) && h.entries[start].ResourceVersion == resourceVersion {
		start++
	}
	r := resumption[P, S]{content: h.before(start)}
	r.since = h.reachedAt(r.content.resourceVersion).Add(-ReplicaLag)
	if !h.complete.Before(r.since) && !h.handedOut(resourceVersion) {
		// Another process may have handed it out that knew less of the access than
		// this one did when its log began.
		return resumption[P, S]{}, false
	}
	r.position = newSnapshot(r.content.tree, resourceVersion)
	for _, e := range h.entries[min(h.since(r.since), start):start] {
		if e.ofAccess() {
			r.access = append(r.access, e)
		}
	}
	r.replay = h.entries[start:]
	r.sequence = h.next - uint64(len(r.replay))
	return r, true
}

// handedOut reports whether this process told a client of the revision.
func (h *history[P, S]) handedOut(resourceVersion uint64) bool {
	if h.base.resourceVersion == resourceVersion && h.base.handedOut.Load() {
		return true
	}
	for _, e := range h.entries[h.first(resourceVersion):] {
		if e.ResourceVersion > resourceVersion {
			break
		}
		if e.snapshot.handedOut.Load() {
			return true
		}
	}
	return false
}
