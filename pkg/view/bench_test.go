// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"iter"
	"runtime"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/clock"
)

// names is an Access that grants the same sorted names to everybody, without the
// cost of an index.
type names []string

func (names) Every([]string) bool { return false }

func (n names) Allowed(_ []string, name string) bool {
	_, found := slices.BinarySearch(n, name)
	return found
}

func (n names) Names(_ []string, from string) iter.Seq[string] {
	i, _ := slices.BinarySearch(n, from)
	return slices.Values(n[i:])
}

func (names) Audience(string) iter.Seq[string] { return slices.Values([]string{"everybody"}) }

func benchObjects(count int, resourceVersion uint64) []*object {
	objects := make([]*object, count)
	for i := range objects {
		objects[i] = newObject(fmt.Sprintf("namespace-%06d", i), "1", resourceVersion)
		objects[i].Labels = map[string]string{"kubernetes.io/metadata.name": objects[i].Name}
	}
	return objects
}

// newBenchView returns a view of count objects of which 100, spread evenly, are granted.
func newBenchView(b *testing.B, count int) (*testView, []*object) {
	b.Helper()
	objects := benchObjects(count, 1)
	var granted names
	for i := 0; i < count; i += count / 100 {
		granted = append(granted, objects[i].Name)
	}
	v := New[*object, string](kindOf(), granted, clock.RealClock{})
	v.Replace(objects, "1")
	return v, objects
}

func BenchmarkList(b *testing.B) {
	for _, count := range []int{1_000, 10_000, 100_000} {
		v, _ := newBenchView(b, count)
		for name, o := range map[string]ListOptions{
			"all":    {},
			"labels": {Selection: Selection{Labels: labels.SelectorFromSet(labels.Set{"kubernetes.io/metadata.name": "namespace-000000"})}},
			"limit":  {Limit: 10},
		} {
			b.Run(fmt.Sprintf("100of%d/%s", count, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if list, err := v.List(b.Context(), []string{"alice"}, o); err != nil || len(list.Items) == 0 {
						b.Fatal(list, err)
					}
				}
			})
		}
	}
}

func BenchmarkGet(b *testing.B) {
	v, objects := newBenchView(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, found, err := v.Get(b.Context(), []string{"alice"}, objects[100].Name, "0"); !found || err != nil {
			b.Fatal(found, err)
		}
	}
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// BenchmarkUpsert reports what an entry keeps alive, the object that it replaced
// included.
func BenchmarkUpsert(b *testing.B) {
	v, objects := newBenchView(b, 10_000)
	before := liveHeap()
	resourceVersion := uint64(1)
	b.ReportAllocs()
	for b.Loop() {
		resourceVersion++
		o := *objects[resourceVersion*7919%10_000]
		o.ResourceVersion = revision(resourceVersion)
		v.Upsert(&o)
	}
	b.ReportMetric((float64(liveHeap())-float64(before))/float64(len(v.history.entries)), "live-B/entry")
	runtime.KeepAlive(v)
}

func BenchmarkReplace(b *testing.B) {
	b.Run("same", func(b *testing.B) {
		v, objects := newBenchView(b, 10_000)
		b.ReportAllocs()
		for b.Loop() {
			v.Replace(objects, "2")
		}
	})
	b.Run("all-differ", func(b *testing.B) {
		v, _ := newBenchView(b, 10_000)
		sets := [][]*object{benchObjects(10_000, 2), benchObjects(10_000, 3)}
		resourceVersion := uint64(3)
		b.ReportAllocs()
		for b.Loop() {
			resourceVersion++
			v.Replace(sets[resourceVersion%2], revision(resourceVersion))
		}
	})
}
