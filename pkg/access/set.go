// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"iter"
	"slices"

	"k8s.io/utils/third_party/forked/golang/btree"
)

// Set is an immutable set of subjects. A large set shares most of its memory
// with the one that it was changed from, so that both can be kept.
type Set struct {
	// sorted holds up to sortedLimit subjects, tree holds more.
	sorted []Subject
	tree   *btree.BTree[Subject]
}

const (
	// linearLimit is the size up to which comparing words beats searching strings.
	linearLimit = 16
	// sortedLimit is the size beyond which a change of one subject takes a multiple
	// of the time and memory in a slice that it takes in a tree. Trees are larger
	// and slower to read, see BenchmarkSet.
	sortedLimit = 128
)

// Has reports whether the set holds the subject. A nil Set is empty.
func (s *Set) Has(subject Subject) bool {
	switch {
	case s == nil:
		return false
	case s.tree != nil:
		return s.tree.Has(subject)
	case len(s.sorted) <= linearLimit:
		return slices.Contains(s.sorted, subject)
	}
	_, found := slices.BinarySearchFunc(s.sorted, subject, compareSubjects)
	return found
}

// HasAny reports whether the set holds one of the subjects.
func (s *Set) HasAny(subjects []Subject) bool {
	return s != nil && slices.ContainsFunc(subjects, s.Has)
}

// Len returns the number of subjects.
func (s *Set) Len() int {
	switch {
	case s == nil:
		return 0
	case s.tree != nil:
		return s.tree.Len()
	}
	return len(s.sorted)
}

// All yields the subjects of the set, in order.
func (s *Set) All() iter.Seq[Subject] {
	switch {
	case s == nil:
		return func(func(Subject) bool) {}
	case s.tree != nil:
		return func(yield func(Subject) bool) { s.tree.Ascend(yield) }
	}
	return slices.Values(s.sorted)
}

// changed returns the set with the subjects that it does not hold, added, and
// without those that it holds, removed; both are sorted. It returns nil for an
// empty set.
func (s *Set) changed(added, removed []Subject) *Set {
	if s == nil {
		s = &Set{}
	}
	size := s.Len() + len(added) - len(removed)
	if size == 0 {
		return nil
	}
	before := s.sorted
	if s.tree != nil {
		if size > sortedLimit {
			return &Set{tree: changedTree(s.tree, added, removed)}
		}
		before = slices.Collect(s.All())
	}
	after := changedSlice(before, added, removed)
	if size > sortedLimit {
		return &Set{tree: newTree(after)}
	}
	return &Set{sorted: after}
}

func changedSlice(before, added, removed []Subject) []Subject {
	after := make([]Subject, 0, len(before)+len(added)-len(removed))
	for _, subject := range before {
		for len(added) > 0 && lessSubject(added[0], subject) {
			after, added = append(after, added[0]), added[1:]
		}
		if len(removed) > 0 && removed[0] == subject {
			removed = removed[1:]
			continue
		}
		after = append(after, subject)
	}
	return append(after, added...)
}

// newTree returns the tree of sorted subjects. Its free list keeps nothing: there
// are many trees, and a change can free only the few nodes that it made itself.
func newTree(sorted []Subject) *btree.BTree[Subject] {
	tree := btree.NewWithFreeList(degree, lessSubject, btree.NewFreeList[Subject](0))
	// Subjects that come in order leave every node half full. One pass over every
	// other subject, and one over the rest, fill them.
	for first := range 2 {
		for i := first; i < len(sorted); i += 2 {
			tree.ReplaceOrInsert(sorted[i])
		}
	}
	return tree
}

func changedTree(before *btree.BTree[Subject], added, removed []Subject) *btree.BTree[Subject] {
	after := cloneImmutable(before)
	for _, subject := range removed {
		after.Delete(subject)
	}
	for _, subject := range added {
		after.ReplaceOrInsert(subject)
	}
	return after
}
