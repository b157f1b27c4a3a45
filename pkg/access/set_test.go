// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"fmt"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
	"pgregory.net/rapid"
)

// Sets beyond the size up to which they are searched one by one.
func TestSet(t *testing.T) {
	t.Parallel()
	var all, even []Subject
	for i := range 3 * linearLimit {
		all = append(all, NewUser(string(rune('A'+i))))
		if i%2 == 0 {
			even = append(even, all[i])
		}
	}
	var s *Set
	for _, size := range []int{1, linearLimit - 1, linearLimit, linearLimit + 1, len(all)} {
		s = s.changed(all[s.Len():size], nil)
		for i, subject := range all {
			if s.Has(subject) != (i < size) {
				t.Errorf("%s of %d: %t", text(subject), size, s.Has(subject))
			}
		}
	}
	odd := s.changed(nil, even)
	again := odd.changed(even, nil)
	for i, subject := range all {
		if odd.Has(subject) != (i%2 == 1) || !again.Has(subject) || !s.Has(subject) {
			t.Errorf("%s: %t, %t, %t", text(subject), odd.Has(subject), again.Has(subject), s.Has(subject))
		}
	}
	if s.changed(nil, all) != nil {
		t.Error("an empty set is nil")
	}
}

// modelledSet is a set and what it holds.
type modelledSet struct {
	set  *Set
	want sets.Set[Subject]
}

// changed adds those of the subjects that are missing, removes those that are
// held, or does both.
func (m modelledSet) changed(subjects []Subject, add, remove bool) modelledSet {
	var added, removed []Subject
	for _, subject := range subjects {
		switch held := m.want.Has(subject); {
		case !held && add:
			added = append(added, subject)
		case held && remove:
			removed = append(removed, subject)
		}
	}
	return modelledSet{
		set:  m.set.changed(added, removed),
		want: m.want.Difference(sets.New(removed...)).Union(sets.New(added...)),
	}
}

// check compares the set with the model; all are the subjects that there are.
func (m modelledSet) check(t *rapid.T, all []Subject) {
	var want []Subject
	for i, subject := range all {
		if m.want.Has(subject) {
			want = append(want, subject)
		}
		if m.set.Has(subject) != m.want.Has(subject) {
			t.Fatalf("%s: %t", text(subject), m.set.Has(subject))
		}
		if pair := all[max(i-1, 0) : i+1]; m.set.HasAny(pair) != m.want.HasAny(pair...) {
			t.Fatalf("one of %v: %t", texts(pair), m.set.HasAny(pair))
		}
	}
	if !slices.Equal(slices.Collect(m.set.All()), want) || m.set.Len() != len(want) {
		t.Fatalf("%d subjects, want %d", m.set.Len(), len(want))
	}
	if len(want) == 0 && m.set != nil {
		t.Fatal("an empty set is nil")
	}
	if len(want) > 0 && (m.set.tree != nil) != (len(want) > sortedLimit) {
		t.Fatalf("%d subjects, in a tree: %t", len(want), m.set.tree != nil)
	}
}

// TestSetEqualsModel makes random changes of sets, small and large, those that
// were changed before included, and compares all of them with a model: each, and
// that none changes afterwards.
func TestSetEqualsModel(t *testing.T) {
	t.Parallel()
	all := manyUsers(8 * sortedLimit)
	rapid.Check(t, func(t *rapid.T) {
		made := []modelledSet{{want: sets.New[Subject]()}}
		for range rapid.IntRange(1, 20).Draw(t, "changes") {
			before := made[rapid.IntRange(0, len(made)-1).Draw(t, "before")]
			from := rapid.IntRange(0, len(all)-1).Draw(t, "from")
			length := rapid.OneOf(rapid.IntRange(1, 5), rapid.IntRange(1, len(all))).Draw(t, "length")
			kind := rapid.SampledFrom([]string{"add", "remove", "both"}).Draw(t, "kind")
			made = append(made, before.changed(all[from:min(from+length, len(all))], kind != "remove", kind != "add"))
		}
		for _, m := range made {
			m.check(t, all)
		}
	})
}

// TestLargeSetsAreReadWhileTheyChange reads a large audience, and the one that
// it was, while users join and leave it.
func TestLargeSetsAreReadWhileTheyChange(t *testing.T) {
	t.Parallel()
	const size, events = 8 * sortedLimit, 200
	index := NewIndex(getNodes)
	apply(index, clusterRole("nodes", getRule("nodes", "n")), clusterRoleBinding("users", "ClusterRole/nodes", manyUserSubjects(size)...))
	first := index.Snapshot(getNodes)
	readWhile(func() {
		for s, most := range map[*Snapshot]int{first: size, index.Snapshot(getNodes): size + 1} {
			entry, _ := s.names.Get(nameEntry{name: "n"})
			heard := slices.Collect(entry.subjects.All())
			if len(heard) != entry.subjects.Len() || len(heard) < size || len(heard) > most || !slices.IsSortedFunc(heard, compareSubjects) {
				t.Errorf("an audience of %d subjects that has %d", entry.subjects.Len(), len(heard))
			}
			if !s.Allowed([]Subject{NewUser("nobody"), NewUser("user-0007")}, "n") {
				t.Error("a user that stays is gone")
			}
		}
	}, func() {
		for event := range events {
			another := clusterRoleBinding("another", "ClusterRole/nodes", userSubject(fmt.Sprintf("user-%04d-another", event*37%size)))
			if event%2 == 0 {
				apply(index, another)
			} else {
				remove(index, another)
			}
		}
	})
}
