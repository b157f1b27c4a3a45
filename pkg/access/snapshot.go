// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"iter"
	"slices"

	"k8s.io/utils/third_party/forked/golang/btree"
)

// Set is an immutable set of subjects.
type Set struct {
	sorted []Subject
}

// linearLimit is the size up to which comparing words beats searching strings.
const linearLimit = 16

// Has reports whether the set holds the subject. A nil Set is empty.
func (s *Set) Has(subject Subject) bool {
	if s == nil {
		return false
	}
	if len(s.sorted) <= linearLimit {
		return slices.Contains(s.sorted, subject)
	}
	_, found := slices.BinarySearchFunc(s.sorted, subject, compareSubjects)
	return found
}

// HasAny reports whether the set holds one of the subjects.
func (s *Set) HasAny(subjects []Subject) bool {
	return s != nil && len(s.sorted) > 0 && slices.ContainsFunc(subjects, s.Has)
}

// Len returns the number of subjects.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.sorted)
}

// All yields the subjects of the set.
func (s *Set) All() iter.Seq[Subject] {
	if s == nil {
		return func(func(Subject) bool) {}
	}
	return slices.Values(s.sorted)
}

// changed returns the set with the subjects that it does not hold, added, and
// without those that it holds, removed; both are sorted. It returns nil for an
// empty set.
func (s *Set) changed(added, removed []Subject) *Set {
	size := s.Len() + len(added) - len(removed)
	if size == 0 {
		return nil
	}
	sorted := make([]Subject, 0, size)
	for subject := range s.All() {
		for len(added) > 0 && compareSubjects(added[0], subject) < 0 {
			sorted, added = append(sorted, added[0]), added[1:]
		}
		if len(removed) > 0 && removed[0] == subject {
			removed = removed[1:]
			continue
		}
		sorted = append(sorted, subject)
	}
	return &Set{sorted: append(sorted, added...)}
}

// Snapshot is the answer to one question at one moment. It is immutable: all
// methods may be called concurrently and return the same for ever.
type Snapshot struct {
	// every holds the subjects that may use every name, those of objects that do
	// not exist yet included.
	every *Set
	// names and subjects hold the same pairs, from either end.
	names    *btree.BTree[nameEntry]
	subjects *btree.BTree[subjectEntry]
}

type nameEntry struct {
	name     string
	subjects *Set
}

type subjectEntry struct {
	subject Subject
	names   *btree.BTree[string]
}

// Every reports whether one of the subjects may use every name.
func (s *Snapshot) Every(subjects []Subject) bool { return s.every.HasAny(subjects) }

// Allowed reports whether one of the subjects may use the name.
func (s *Snapshot) Allowed(subjects []Subject, name string) bool {
	if s.Every(subjects) {
		return true
	}
	entry, found := s.names.Get(nameEntry{name: name})
	return found && entry.subjects.HasAny(subjects)
}

// Names yields, in ascending order and each once, the names from from on that
// the subjects may use by a grant that names them. It does not speak of grants
// for every name, see Every.
func (s *Snapshot) Names(subjects []Subject, from string) iter.Seq[string] {
	var trees []*btree.BTree[string]
	for _, subject := range subjects {
		if entry, found := s.subjects.Get(subjectEntry{subject: subject}); found {
			trees = append(trees, entry.names)
		}
	}
	return merge(trees, from)
}

// Audience yields the subjects that may use the name, those that may use every
// name included; a subject that may do both comes twice.
func (s *Snapshot) Audience(name string) iter.Seq[Subject] {
	return func(yield func(Subject) bool) {
		for subject := range s.every.All() {
			if !yield(subject) {
				return
			}
		}
		entry, _ := s.names.Get(nameEntry{name: name})
		for subject := range entry.subjects.All() {
			if !yield(subject) {
				return
			}
		}
	}
}

const degree = 16

// newTrees returns the empty trees of a snapshot.
func newTrees() (*btree.BTree[nameEntry], *btree.BTree[subjectEntry]) {
	names := btree.New(degree, func(a, b nameEntry) bool { return a.name < b.name })
	subjects := btree.New(degree, func(a, b subjectEntry) bool { return compareSubjects(a.subject, b.subject) < 0 })
	return names, subjects
}
