// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/third_party/forked/golang/btree"
)

// pair is a subject and what it may use: one name, or every name.
type pair struct {
	subject Subject
	every   bool
	name    string
}

// batch counts, for each question, the grants of a pair that an event adds or
// takes away. Only the sum matters, so an event may take away and add the same.
type batch struct {
	// deltas holds nil for the many questions that the event does not concern.
	deltas []map[pair]int
}

func newBatch(questions int) *batch {
	return &batch{deltas: make([]map[pair]int, questions)}
}

// difference is what changes when one grant takes the place of another.
type difference struct {
	before, after grant
	// gained and lost are the names that only after, or only before, holds.
	gained, lost []string
}

func newDifference(before, after grant) difference {
	return difference{
		before: before, after: after,
		gained: without(after.names, before.names),
		lost:   without(before.names, after.names),
	}
}

// without returns the elements of a that b does not hold; both are sorted.
func without(a, b []string) []string {
	if len(b) == 0 {
		return a
	}
	var rest []string
	for _, s := range a {
		for len(b) > 0 && b[0] < s {
			b = b[1:]
		}
		if len(b) == 0 || b[0] != s {
			rest = append(rest, s)
		}
	}
	return rest
}

// change notes what a difference of its role's grant changes for a binding.
func (b *batch) change(i int, question Question, binding *binding, d difference) {
	if binding.namespace != "" {
		if question.perNamespace() {
			b.add(i, binding.subjects, pair{name: binding.namespace}, count(d.after.allows(binding.namespace))-count(d.before.allows(binding.namespace)))
		}
		return
	}
	b.add(i, binding.subjects, pair{every: true}, count(d.after.every)-count(d.before.every))
	for _, name := range d.gained {
		b.add(i, binding.subjects, pair{name: name}, 1)
	}
	for _, name := range d.lost {
		b.add(i, binding.subjects, pair{name: name}, -1)
	}
}

func count(granted bool) int {
	if granted {
		return 1
	}
	return 0
}

func (b *batch) add(i int, subjects []Subject, p pair, n int) {
	if n == 0 {
		return
	}
	if b.deltas[i] == nil {
		b.deltas[i] = map[pair]int{}
	}
	for _, subject := range subjects {
		p.subject = subject
		b.deltas[i][p] += n
	}
}

// transition is a pair that came to be granted, or ceased to be.
type transition struct {
	pair
	granted bool
}

// commit applies the counted grants, publishes the result and tells the subscribers.
func (a *answer) commit(deltas map[pair]int) {
	transitions := a.count(deltas)
	if len(transitions) == 0 {
		return
	}
	change := Change{Before: a.published.Load(), Subjects: subjectsIn(transitions)}
	a.applyToSets(transitions, &change)
	a.applyToSubjects(transitions)
	change.After = a.publish()
	for _, notify := range a.subscribers {
		notify(change)
	}
}

// subjectsIn returns the subjects of the transitions, each once.
func subjectsIn(transitions []transition) []Subject {
	distinct := sets.New[Subject]()
	for _, t := range transitions {
		distinct.Insert(t.subject)
	}
	return distinct.UnsortedList()
}

// count adds the deltas to the counts and returns what that changes, sorted by
// name and subject, every name first.
func (a *answer) count(deltas map[pair]int) []transition {
	var transitions []transition
	for p, delta := range deltas {
		if delta == 0 {
			continue
		}
		grants := 0
		held := a.holds(p)
		if held {
			grants = 1 + a.surplus[p]
		}
		grants += delta
		if grants > 1 {
			a.surplus[p] = grants - 1
		} else {
			delete(a.surplus, p)
		}
		if granted := grants > 0; granted != held {
			transitions = append(transitions, transition{p, granted})
		}
	}
	slices.SortFunc(transitions, func(x, y transition) int {
		return cmp.Or(count(y.every)-count(x.every), strings.Compare(x.name, y.name), compareSubjects(x.subject, y.subject))
	})
	return transitions
}

func (a *answer) holds(p pair) bool {
	if p.every {
		return a.current.every.Has(p.subject)
	}
	entry, found := a.current.names.Get(nameEntry{name: p.name})
	return found && entry.subjects.Has(p.subject)
}

// applyToSets makes the transitions in the sets of subjects, each set once, and
// notes them in the change.
func (a *answer) applyToSets(transitions []transition, change *Change) {
	for len(transitions) > 0 {
		first := transitions[0]
		var added, removed []Subject
		for len(transitions) > 0 && transitions[0].every == first.every && transitions[0].name == first.name {
			if t := transitions[0]; t.granted {
				added = append(added, t.subject)
			} else {
				removed = append(removed, t.subject)
			}
			transitions = transitions[1:]
		}
		if first.every {
			a.current.every = a.current.every.changed(added, removed)
			continue
		}
		change.Names = append(change.Names, first.name)
		entry, _ := a.current.names.Get(nameEntry{name: first.name})
		if entry.name, entry.subjects = first.name, entry.subjects.changed(added, removed); entry.subjects == nil {
			a.current.names.Delete(entry)
		} else {
			a.current.names.ReplaceOrInsert(entry)
		}
	}
}

// applyToSubjects makes the transitions in the sets of names. A subject's set is
// cloned once a batch: the one it had belongs to the published snapshot.
func (a *answer) applyToSubjects(transitions []transition) {
	changed := map[Subject]*btree.BTree[string]{}
	for _, t := range transitions {
		if t.every {
			continue
		}
		names, cloned := changed[t.subject]
		if !cloned {
			if entry, found := a.current.subjects.Get(subjectEntry{subject: t.subject}); found {
				names = cloneImmutable(entry.names)
			} else {
				names = btree.NewWithFreeList(degree, btree.Less[string](), a.freeNames)
			}
			changed[t.subject] = names
		}
		if t.granted {
			names.ReplaceOrInsert(t.name)
		} else {
			names.Delete(t.name)
		}
	}
	for subject, names := range changed {
		if names.Len() == 0 {
			a.current.subjects.Delete(subjectEntry{subject: subject})
		} else {
			a.current.subjects.ReplaceOrInsert(subjectEntry{subject: subject, names: names})
		}
	}
}

// publish makes the writer's state visible to readers and returns it. Cloning a
// tree costs nothing; the writer copies the nodes that it changes afterwards.
func (a *answer) publish() *Snapshot {
	snapshot := &Snapshot{
		every:    a.current.every,
		names:    a.current.names.Clone(),
		subjects: a.current.subjects.Clone(),
	}
	a.published.Store(snapshot)
	return snapshot
}
