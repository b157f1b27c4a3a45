// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/utils/clock"
	"k8s.io/utils/third_party/forked/golang/btree"

	"tenancy.capsule.io/pkg/internal/metrics"
)

// Access says who may get which name at one moment. It is immutable.
type Access[S comparable] interface {
	// Every reports whether one of the subjects may get every name.
	Every(subjects []S) bool
	// Allowed reports whether one of the subjects may get the name.
	Allowed(subjects []S, name string) bool
	// Names yields, in ascending order and each once, the names from from on that
	// one of the subjects may get. It may leave out what Every grants.
	Names(subjects []S, from string) iter.Seq[string]
	// Audience yields the subjects that may get the name.
	Audience(name string) iter.Seq[S]
}

// Object is what a view holds: a pointer to a type of the API.
type Object interface {
	metav1.Object
	runtime.Object
}

// Kind is what a view needs to know of the objects it holds.
type Kind[P Object] struct {
	// Resource names the view in metrics.
	Resource string
	// Fields returns the fields of an object that field selectors may name.
	Fields func(P) fields.Fields
	// New returns an empty object, ShallowCopy one that shares all but its root:
	// watches stamp a revision on what they hand out, and encoders the kind.
	New         func() P
	ShallowCopy func(P) P
}

// View holds the objects of one cluster-scoped resource. P is a pointer to the
// object's type, S the type of a subject.
//
// Replace, Upsert, Delete and Bookmark are the sink of one feed; AccessChanged is
// called by the index; the other methods may be called concurrently at any time.
type View[P Object, S comparable] struct {
	kind    Kind[P]
	clock   clock.WithTicker
	metrics *metrics.Watch
	// queueCapacity is how many entries a watcher may be behind.
	queueCapacity int

	// lock protects the log, the tree that the writer changes, the open watches,
	// the same by their subjects, and advanced.
	lock     sync.Mutex
	history  *history[P, S]
	tree     *btree.BTree[*Element[P]]
	open     sets.Set[*watcher[P, S]]
	watchers map[S]sets.Set[*watcher[P, S]]
	// advanced is closed when the resourceVersion grows; nil while nobody waits.
	advanced chan struct{}

	// snapshot and access are what readers start from; the writer, holding lock,
	// replaces them.
	snapshot atomic.Pointer[snapshot[P]]
	access   atomic.Pointer[Access[S]]
}

// Element is an object in the view. It is immutable.
type Element[P Object] struct {
	Name   string
	Object P
}

// snapshot is the content of the view at one revision. It is immutable.
type snapshot[P Object] struct {
	*mark
	tree *btree.BTree[*Element[P]]
}

// mark is the revision of a snapshot, for those who need not keep its content.
type mark struct {
	resourceVersion uint64
	// handedOut is whether a client was told of the revision by this process, as
	// one to watch from.
	handedOut atomic.Bool
}

func newSnapshot[P Object](tree *btree.BTree[*Element[P]], resourceVersion uint64) *snapshot[P] {
	return &snapshot[P]{mark: &mark{resourceVersion: resourceVersion}, tree: tree}
}

// handOut notes that a client is told of the revision, and returns it.
func (m *mark) handOut() uint64 {
	if !m.handedOut.Load() { // readers share the word: write it once
		m.handedOut.Store(true)
	}
	return m.resourceVersion
}

func (s *snapshot[P]) get(name string) (*Element[P], bool) {
	return s.tree.Get(&Element[P]{Name: name})
}

// New returns an empty view. access is what holds until AccessChanged says
// otherwise.
func New[P Object, S comparable](kind Kind[P], access Access[S], clock clock.WithTicker) *View[P, S] {
	v := &View[P, S]{
		kind:    kind,
		clock:   clock,
		metrics: metrics.ForWatches(kind.Resource),
		tree:    newTree[P](),

		queueCapacity: queueCapacity,

		open:     sets.New[*watcher[P, S]](),
		watchers: map[S]sets.Set[*watcher[P, S]]{},
	}
	v.history = newHistory[P, S](newSnapshot(v.tree.Clone(), 0), clock.Now())
	v.snapshot.Store(v.history.base)
	v.access.Store(&access)
	return v
}

// degree is that of the API server's own watch cache.
const degree = 16

func newTree[P Object]() *btree.BTree[*Element[P]] {
	return btree.New(degree, func(a, b *Element[P]) bool { return a.Name < b.Name })
}

// Len returns the number of objects.
func (v *View[P, S]) Len() int { return v.snapshot.Load().tree.Len() }

// Upsert takes an object that was created or updated.
func (v *View[P, S]) Upsert(object P) {
	resourceVersion, ok := revisionOf(object)
	if !ok {
		return
	}
	v.lock.Lock()
	defer v.lock.Unlock()
	after := &Element[P]{Name: object.GetName(), Object: object}
	before, _ := v.tree.ReplaceOrInsert(after)
	v.logLocked(resourceVersion, resourceVersion, Change[P]{Before: before, After: after})
}

// Delete takes an object that was deleted, with the revision of its deletion.
func (v *View[P, S]) Delete(object P) {
	resourceVersion, ok := revisionOf(object)
	if !ok {
		return
	}
	v.lock.Lock()
	defer v.lock.Unlock()
	if before, found := v.tree.Delete(&Element[P]{Name: object.GetName()}); found {
		v.logLocked(resourceVersion, resourceVersion, Change[P]{Before: before})
	}
	v.advanceLocked(resourceVersion)
}

// Replace takes all objects that exist at a revision. What differs from the
// content so far becomes one entry of the log, but for the first time and after
// the API server went back in time, when the log begins there.
func (v *View[P, S]) Replace(objects []P, version string) {
	resourceVersion, ok := parseRevision(version)
	if !ok {
		return
	}
	v.lock.Lock()
	defer v.lock.Unlock()
	next := newTree[P]()
	for _, object := range objects {
		next.ReplaceOrInsert(&Element[P]{Name: object.GetName(), Object: object})
	}
	previous := v.snapshot.Load()
	if previous.resourceVersion == 0 || resourceVersion < previous.resourceVersion {
		v.tree = next
		v.history.reset(newSnapshot(v.tree.Clone(), resourceVersion), v.clock.Now())
		v.publishLocked(v.history.base)
		// What watchers hold is of revisions that are no more.
		v.endAllLocked(metrics.EndedByReset, apierrors.NewResourceExpired("the API server went back in time: list again"))
		return
	}
	// What happened since, and was undone again, is not known.
	v.history.gap(previous.resourceVersion, resourceVersion, v.clock.Now())
	if changes := v.replaceLocked(next); len(changes) > 0 {
		v.logLocked(resourceVersion, previous.resourceVersion, changes...)
	}
	v.advanceLocked(resourceVersion)
}

// replaceLocked makes the writer's tree that of next, and returns the difference.
func (v *View[P, S]) replaceLocked(next *btree.BTree[*Element[P]]) []Change[P] {
	var changes []Change[P]
	v.tree.Ascend(func(before *Element[P]) bool {
		if !next.Has(before) {
			changes = append(changes, Change[P]{Before: before})
		}
		return true
	})
	next.Ascend(func(after *Element[P]) bool {
		switch before, found := v.tree.Get(after); {
		case found && before.Object.GetUID() != after.Object.GetUID():
			// Another object of the name: one went and one came.
			changes = append(changes, Change[P]{Before: before}, Change[P]{After: after})
		case !found || before.Object.GetResourceVersion() != after.Object.GetResourceVersion():
			changes = append(changes, Change[P]{Before: before, After: after})
		}
		return true
	})
	for _, c := range changes {
		if c.After == nil {
			v.tree.Delete(c.Before)
		} else {
			v.tree.ReplaceOrInsert(c.After)
		}
	}
	// A client that gets a part of them is at the revision of the last, and may go
	// on at a replica that saw them one by one.
	slices.SortStableFunc(changes, func(a, b Change[P]) int { return cmp.Compare(a.revision(), b.revision()) })
	return changes
}

// Bookmark says that the view holds all that happened up to a revision.
func (v *View[P, S]) Bookmark(version string) {
	resourceVersion, ok := parseRevision(version)
	if !ok {
		return
	}
	v.lock.Lock()
	defer v.lock.Unlock()
	v.advanceLocked(resourceVersion)
	v.history.prune(v.clock.Now(), 0)
}

// AccessChanged takes the access that holds from now on: names are the names
// whose audience changed, subjects those that gained or lost a name, or every name.
func (v *View[P, S]) AccessChanged(after Access[S], names []string, subjects []S) {
	v.lock.Lock()
	defer v.lock.Unlock()
	before := v.access.Swap(&after)
	present := v.snapshot.Load()
	if present.resourceVersion == 0 || len(subjects) == 0 {
		return // nobody has seen anything by it
	}
	e := &Entry[P, S]{
		ResourceVersion: present.resourceVersion,
		Recorded:        v.clock.Now(),
		Names:           names,
		Subjects:        subjects,
		AccessBefore:    *before,
		AccessAfter:     after,
		snapshot:        present,
	}
	v.history.append(e)
	v.dispatchLocked(e, slices.Values(subjects))
}

// logLocked logs, and publishes, changes that the writer's tree holds already.
// Without any it logs that the revision alone has changed.
func (v *View[P, S]) logLocked(resourceVersion, deletedAt uint64, changes ...Change[P]) {
	access := *v.access.Load()
	present := newSnapshot(v.tree.Clone(), max(resourceVersion, v.snapshot.Load().resourceVersion))
	e := &Entry[P, S]{
		ResourceVersion: present.resourceVersion,
		Recorded:        v.clock.Now(),
		Changes:         changes,
		DeletedAt:       deletedAt,
		AccessBefore:    access,
		AccessAfter:     access,
		snapshot:        present,
	}
	v.history.append(e)
	v.publishLocked(present)
	for _, c := range changes {
		v.dispatchLocked(e, access.Audience(c.name()))
	}
}

// advanceLocked logs that nothing else happened up to a revision.
func (v *View[P, S]) advanceLocked(resourceVersion uint64) {
	if resourceVersion > v.snapshot.Load().resourceVersion {
		v.logLocked(resourceVersion, resourceVersion)
	}
}

func (v *View[P, S]) publishLocked(s *snapshot[P]) {
	v.snapshot.Store(s)
	if v.advanced != nil {
		close(v.advanced)
		v.advanced = nil
	}
}

// CheckRevision returns an error for a revision that the view cannot put in order.
func (v *View[P, S]) CheckRevision(version string) error {
	revision, err := storage.APIObjectVersioner{}.ParseResourceVersion(version)
	if err == nil && revision == 0 {
		err = errors.New("the revision is 0")
	}
	return err
}

func revisionOf(object metav1.Object) (uint64, bool) {
	return parseRevision(object.GetResourceVersion())
}

// parseRevision returns the revision that the API server wrote. What carries one
// that CheckRevision refuses is left out and reported.
func parseRevision(version string) (uint64, bool) {
	revision, err := storage.APIObjectVersioner{}.ParseResourceVersion(version)
	if err != nil || revision == 0 {
		utilruntime.HandleErrorWithContext(context.Background(), err, "Ignoring what the API server sent: its resourceVersion is not a positive number", "resourceVersion", version)
		return 0, false
	}
	return revision, true
}
