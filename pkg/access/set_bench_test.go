// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"fmt"
	"runtime"
	"testing"
)

// newLargeAudiences returns an index of the nodes and of what grants them: 1,000
// names, each for the same 2,000 users.
func newLargeAudiences(b *testing.B) *Index {
	b.Helper()
	const names, audience = 1000, 2000
	nodes := make([]string, names)
	for i := range nodes {
		nodes[i] = fmt.Sprintf("node-%04d", i)
	}
	index := NewIndex(getNodes)
	apply(index, clusterRole("nodes", getRule("nodes", nodes...)), clusterRoleBinding("users", "ClusterRole/nodes", manyUserSubjects(audience)...))
	return index
}

// gainAndLose has a user gain all names when i is even, and lose them when it is
// odd; where the user sorts among the others changes from pair to pair.
func gainAndLose(index *Index, i int) {
	binding := clusterRoleBinding("another", "ClusterRole/nodes", userSubject(fmt.Sprintf("user-%04d-another", i/2*379%2000)))
	if i%2 == 0 {
		apply(index, binding)
	} else {
		remove(index, binding)
	}
}

// BenchmarkLargeAudiences has one user gain, or lose, 1,000 names whose
// audiences hold 2,000 users each.
func BenchmarkLargeAudiences(b *testing.B) {
	b.Run("event", func(b *testing.B) {
		index := newLargeAudiences(b)
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			gainAndLose(index, i)
			i++
		}
	})
	b.Run("kept", func(b *testing.B) {
		const changes = 10
		start := liveHeap()
		index := newLargeAudiences(b)
		filled := liveHeap()
		var past []*Snapshot
		index.Subscribe(getNodes, func(c Change) { past = append(past, c.Before) })
		for b.Loop() {
			past = nil
			before := liveHeap()
			for i := range changes {
				gainAndLose(index, i)
			}
			b.ReportMetric((float64(liveHeap())-float64(before))/changes, "live-B/change")
			runtime.KeepAlive(past)
		}
		b.ReportMetric(float64(filled)-float64(start), "live-B/index")
	})
	b.Run("fill", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			newLargeAudiences(b)
		}
	})
}

// BenchmarkSet compares what changes of one subject, and reading, cost around
// the size from which on a set is a tree.
func BenchmarkSet(b *testing.B) {
	for _, size := range []int{sortedLimit / 2, sortedLimit, 2 * sortedLimit} {
		subjects := manyUsers(size)
		tree := newTree(subjects)
		for name, f := range map[string]func([]Subject){
			"change/slice": func(removed []Subject) { changedSlice(subjects, nil, removed) },
			"change/tree":  func(removed []Subject) { changedTree(tree, nil, removed) },
			"has/slice":    func(wanted []Subject) { (&Set{sorted: subjects}).Has(wanted[0]) },
			"has/tree":     func(wanted []Subject) { (&Set{tree: tree}).Has(wanted[0]) },
		} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					f(subjects[i*379%size:][:1])
					i++
				}
			})
		}
	}
}
