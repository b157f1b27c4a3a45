// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"pgregory.net/rapid"
)

// answers are all that a snapshot says about some names and users.
type answers map[string][]string

func answersOf(s *Snapshot, users, names []string) answers {
	all := answers{}
	for _, u := range users {
		subjects := []Subject{NewUser(u), NewGroup("of " + u)}
		all["names of "+u] = slices.Collect(s.Names(subjects, ""))
		for i := 0; i < len(names); i += 7 { // TestIndexEqualsEvaluation holds that the ways agree
			if name := names[i]; s.Allowed(subjects, name) {
				all["allowed to "+u] = append(all["allowed to "+u], name)
			}
		}
	}
	for _, name := range names {
		all["audience of "+name] = texts(slices.Collect(s.Audience(name)))
	}
	return all
}

// TestSnapshotsAreImmutable keeps snapshots while the index changes and asks
// them again later. There are so many names and subjects that the trees have
// several levels, whose nodes are split, merged and used again.
func TestSnapshotsAreImmutable(t *testing.T) {
	t.Parallel()
	var users, namespaces []string
	for i := range 50 {
		users = append(users, fmt.Sprintf("u%02d", i))
		namespaces = append(namespaces, fmt.Sprintf("n%02d", i))
	}
	rapid.Check(t, func(t *rapid.T) {
		index := NewIndex(getNamespaces)
		apply(index, clusterRole("admin", getRule("namespaces")))
		type kept struct {
			snapshot *Snapshot
			answers  answers
		}
		var past []kept
		index.Subscribe(getNamespaces, func(c Change) {
			if len(past) > 0 && past[len(past)-1].snapshot != c.Before {
				t.Fatal("a change begins where none ended")
			}
			past = append(past, kept{c.After, answersOf(c.After, users, namespaces)})
		})
		anyUsers := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) rbacv1.Subject {
			u := rapid.SampledFrom(users).Draw(t, "user")
			if rapid.Bool().Draw(t, "group") {
				return groupSubject("of " + u)
			}
			return userSubject(u)
		}), 0, 20)
		for range rapid.IntRange(1, 20).Draw(t, "events") {
			switch rapid.SampledFrom([]string{"bind", "bind", "batch", "role", "relist", "name"}).Draw(t, "event") {
			case "bind":
				apply(index, roleBinding(rapid.SampledFrom(namespaces).Draw(t, "in"), "b", "ClusterRole/admin", anyUsers.Draw(t, "subjects")...))
			case "batch":
				subjects := anyUsers.Draw(t, "subjects")
				var bindings []*rbacv1.RoleBinding
				for _, namespace := range namespaces[rapid.IntRange(0, 40).Draw(t, "from"):] {
					bindings = append(bindings, roleBinding(namespace, "b", "ClusterRole/admin", subjects...))
				}
				index.roleBindingSink().Replace(bindings, "1")
			case "role":
				apply(index, clusterRole("admin", getRule(rapid.SampledFrom([]string{"namespaces", "pods"}).Draw(t, "resource"))))
			case "relist":
				index.roleBindingSink().Replace(nil, "1")
			case "name":
				apply(index, clusterRole("named", getRule("namespaces", rapid.SliceOf(rapid.SampledFrom(namespaces)).Draw(t, "names")...)),
					clusterRoleBinding("b", "ClusterRole/named", anyUsers.Draw(t, "subjects")...))
			}
		}
		for i, k := range past {
			if now := answersOf(k.snapshot, users, namespaces); !maps.EqualFunc(k.answers, now, slices.Equal) {
				t.Fatalf("snapshot %d of %d (-then +now):\n%s", i, len(past), cmp.Diff(k.answers, now))
			}
		}
	})
}

// TestConcurrentReads reads while roles that all bindings share come and go: a
// reader sees all of an event or nothing of it.
func TestConcurrentReads(t *testing.T) {
	t.Parallel()
	const bindings, events = 500, 40
	index := NewIndex(getNamespaces)
	var all []*rbacv1.RoleBinding
	for i := range bindings {
		all = append(all, roleBinding(fmt.Sprintf("n%04d", i), "b", "ClusterRole/admin", userSubject("alice"), groupSubject(fmt.Sprintf("g%d", i%10))))
	}
	index.roleBindingSink().Replace(all, "1")

	var changes atomic.Int32
	index.Subscribe(getNamespaces, func(c Change) {
		changes.Add(1)
		if len(c.Names) != bindings || index.Snapshot(getNamespaces) != c.After {
			t.Errorf("a change of %d names", len(c.Names))
		}
	})
	alice := []Subject{NewUser("alice"), NewGroup("g1"), NewGroup("g2")}
	readWhile(func() {
		s := index.Snapshot(getNamespaces)
		seen := slices.Collect(s.Names(alice, ""))
		if len(seen) != 0 && len(seen) != bindings || !slices.IsSorted(seen) {
			t.Errorf("half an event: %d names", len(seen))
		}
		if s.Allowed(alice, "n0007") != (len(seen) > 0) {
			t.Error("Allowed and Names disagree")
		}
		if heard := len(slices.Collect(s.Audience("n0007"))); heard != 1 && heard != 3 || (heard == 3) != (len(seen) > 0) {
			t.Errorf("an audience of %d", heard)
		}
	}, func() {
		for event := range events {
			if event%2 == 0 {
				apply(index, clusterRole("admin", getRule("namespaces")))
			} else {
				remove(index, clusterRole("admin"))
			}
		}
	})
	if changes.Load() != events {
		t.Errorf("%d changes of %d events", changes.Load(), events)
	}
}
