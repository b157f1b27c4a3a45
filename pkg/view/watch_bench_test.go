// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"
)

const (
	benchShared   = "shared"
	benchAudience = 10
)

// audiences is an Access: who may get a name. Everybody may get the name that is
// the subject's own, too.
type audiences map[string][]string

func (audiences) Every([]string) bool { return false }

func (a audiences) Allowed(subjects []string, name string) bool {
	return slices.ContainsFunc(subjects, func(s string) bool { return s == name || slices.Contains(a[name], s) })
}

func (a audiences) Names(subjects []string, from string) iter.Seq[string] {
	var names []string
	for _, subject := range subjects {
		names = append(names, subject)
		for name, audience := range a {
			if slices.Contains(audience, subject) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	i, _ := slices.BinarySearch(names, from)
	return slices.Values(slices.Compact(names[i:]))
}

func (a audiences) Audience(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if _, shared := a[name]; shared || yield(name) {
			slices.Values(a[name])(yield)
		}
	}
}

// benchUser is both a subject and the name of an object that only it may get.
func benchUser(i int) string { return fmt.Sprintf("user-%06d", i) }

// newWatchedView returns a view with an object for each of the users and one that
// an audience shares, according to the access.
func newWatchedView(b *testing.B, users int, access Access[string]) *testView {
	b.Helper()
	objects := []*object{newObject(benchShared, "1", 1)}
	for i := range users {
		objects = append(objects, newObject(benchUser(i), "1", 1))
	}
	v := New[*object, string](kindOf(), access, clock.RealClock{})
	v.Replace(objects, "1")
	return v
}

// openBenchWatches opens a watch for each of the users, and sends a value for
// every event that one of them gets, but for bookmarks.
func openBenchWatches(b *testing.B, v *testView, users int) <-chan struct{} {
	b.Helper()
	got := make(chan struct{}, benchAudience)
	var readers sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // Cleanup waits for what this ends
	b.Cleanup(func() {
		cancel()
		readers.Wait()
	})
	fromNow := false
	for i := range users {
		w, err := v.Watch(ctx, []string{benchUser(i), "everybody"}, WatchOptions{SendInitialEvents: &fromNow, AllowBookmarks: true})
		if err != nil {
			b.Fatal(err)
		}
		readers.Go(func() {
			for event := range w.ResultChan() {
				switch event.Type {
				case watch.Bookmark:
				case watch.Error:
					b.Errorf("the watch sent %v", event.Object)
				default:
					got <- struct{}{} // it is being waited for
				}
			}
		})
	}
	return got
}

func benchAudienceOf(users int) []string {
	audience := make([]string, benchAudience)
	for i := range audience {
		audience[i] = benchUser(i * users / benchAudience)
	}
	return audience
}

// BenchmarkWatchObject is one change of an object until the ten watches that may
// see it have it.
func BenchmarkWatchObject(b *testing.B) {
	for _, users := range []int{1_000, 10_000} {
		b.Run(fmt.Sprintf("10of%d", users), func(b *testing.B) {
			v := newWatchedView(b, users, audiences{benchShared: benchAudienceOf(users)})
			got := openBenchWatches(b, v, users)
			resourceVersion := uint64(1)
			b.ReportAllocs()
			for b.Loop() {
				resourceVersion++
				v.Upsert(newObject(benchShared, "1", resourceVersion))
				for range benchAudience {
					<-got
				}
			}
		})
	}
}

// BenchmarkWatchAccess is one change of access, to one object and for ten users,
// until their watches have it: in turn a grant and a revocation.
func BenchmarkWatchAccess(b *testing.B) {
	for _, users := range []int{1_000, 10_000} {
		b.Run(fmt.Sprintf("10of%d", users), func(b *testing.B) {
			audience := benchAudienceOf(users)
			states := []Access[string]{audiences{benchShared: nil}, audiences{benchShared: audience}}
			v := newWatchedView(b, users, states[0])
			got := openBenchWatches(b, v, users)
			changes := 0
			b.ReportAllocs()
			for b.Loop() {
				changes++
				v.AccessChanged(states[changes%2], []string{benchShared}, audience)
				for range benchAudience {
					<-got
				}
			}
		})
	}
}

// BenchmarkWatchInitialEvents is 100 watches that begin, each with 1,000 objects
// and the bookmark that ends them.
func BenchmarkWatchInitialEvents(b *testing.B) {
	const objects, watches = 1_000, 100
	all := benchObjects(objects, 1)
	granted := make(names, 0, objects)
	for _, o := range all {
		granted = append(granted, o.Name)
	}
	v := New[*object, string](kindOf(), granted, clock.RealClock{})
	v.Replace(all, "1")
	yes := true
	o := WatchOptions{SendInitialEvents: &yes, AllowBookmarks: true}
	b.ReportAllocs()
	for b.Loop() {
		var readers sync.WaitGroup
		for i := range watches {
			w, err := v.Watch(b.Context(), []string{benchUser(i)}, o)
			if err != nil {
				b.Fatal(err)
			}
			readers.Go(func() {
				defer w.Stop()
				count := 0
				for event := range w.ResultChan() {
					if accessor, ok := event.Object.(metav1.Object); ok && accessor.GetAnnotations()[metav1.InitialEventsAnnotationKey] == strconv.FormatBool(true) {
						break
					}
					count++
				}
				if count != objects {
					b.Errorf("%d initial events instead of %d", count, objects)
				}
			})
		}
		readers.Wait()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*objects*watches), "ns/event")
}
