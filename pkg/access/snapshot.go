// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"iter"

	"k8s.io/utils/third_party/forked/golang/btree"
)

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
	subjects := btree.New(degree, func(a, b subjectEntry) bool { return lessSubject(a.subject, b.subject) })
	return names, subjects
}

// cloneImmutable returns a clone of a tree that is never changed again, to be
// changed in its place. Readers use the tree meanwhile, without a lock, and Clone
// writes the tree that it is called on: the mark of the nodes that it may change.
// Readers do not read the mark; but called on a copy, Clone does not touch the
// tree at all, and the clone may change no node that the tree holds.
func cloneImmutable[T any](tree *btree.BTree[T]) *btree.BTree[T] {
	unshared := *tree
	return unshared.Clone()
}
