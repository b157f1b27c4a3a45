// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The race has counters, of which every revision changes one, so that a content
// tells its revision; and objects of fixed content, of which every generation of
// the access grants others.
const (
	raceCounters = 8
	raceFixed    = 12
	raceSteps    = 3000
	raceReaders  = 4
)

// race is a view that everybody uses at once.
type race struct {
	view *testView
	// begun and done are the generations of access whose change has begun, and is
	// done; written is the last revision whose change is done.
	begun, done, written atomic.Uint64
}

func fixedName(i int) string             { return fmt.Sprintf("fixed-%02d", i) }
func counterName(revision uint64) string { return fmt.Sprintf("counter-%d", revision%raceCounters) }

// accessOf returns the access of a generation.
func accessOf(generation uint64) *grants {
	g := grants{"alice": nil, "root": {"*"}}
	for i := range raceFixed {
		if (uint64(i)+generation)%3 == 0 {
			g["alice"] = append(g["alice"], fixedName(i))
		}
	}
	return &g
}

// counters returns the counters as they are at a revision.
func counters(resourceVersion uint64) []*object {
	var objects []*object
	for r := resourceVersion - raceCounters + 1; r <= resourceVersion; r++ {
		objects = append(objects, newObject(counterName(r), "1", r))
	}
	return objects
}

func (r *race) relist(resourceVersion uint64) {
	objects := counters(resourceVersion)
	for i := range raceFixed {
		objects = append(objects, newObject(fixedName(i), "1", 1))
	}
	r.view.Replace(objects, revision(resourceVersion))
	r.written.Store(resourceVersion)
}

// write changes a counter each revision, now and then all of them by a relist.
func (r *race) write() {
	for step := range uint64(raceSteps) {
		resourceVersion := r.written.Load() + 1
		switch {
		case step%100 == 99:
			r.relist(resourceVersion + raceCounters)
			continue
		case step%10 == 9:
			r.view.Delete(newObject(counterName(resourceVersion), "1", resourceVersion))
			r.view.Bookmark(revision(resourceVersion))
			resourceVersion += raceCounters // comes to the same counter
			r.relist(resourceVersion)
		default:
			r.view.Upsert(newObject(counterName(resourceVersion), "1", resourceVersion))
		}
		r.written.Store(resourceVersion)
	}
}

func (r *race) changeAccess() {
	for generation := uint64(1); generation <= raceSteps; generation++ {
		r.begun.Store(generation)
		r.view.AccessChanged(accessOf(generation), []string{"all"}, []string{"alice"})
		r.done.Store(generation)
	}
}

// readAll lists as one who may get all and holds that the content is that of its
// revision, which is none before the last one written.
func (r *race) readAll(ctx context.Context, t *testing.T, least uint64, o ListOptions) uint64 {
	list, err := r.view.List(ctx, []string{"root"}, o)
	if err != nil {
		t.Errorf("list: %v", err)
		return least
	}
	if list.ResourceVersion < least {
		t.Errorf("list at %d after %d was seen", list.ResourceVersion, least)
	}
	if !slices.IsSorted(namesOf(list.Items)) {
		t.Errorf("not sorted: %q", namesOf(list.Items))
	}
	found := map[string]string{}
	for _, item := range list.Items {
		found[item.Name] = item.ResourceVersion
	}
	deleted := counterName(list.ResourceVersion)
	for _, want := range counters(list.ResourceVersion) {
		got, exists := found[want.Name]
		if exists && got != want.ResourceVersion || !exists && want.Name != deleted {
			t.Errorf("list at %d holds %s of %q", list.ResourceVersion, want.Name, got)
		}
	}
	return list.ResourceVersion
}

// readGranted lists as one whose access changes and holds that the list is what
// one generation grants, which is none before the last that was done.
func (r *race) readGranted(ctx context.Context, t *testing.T) {
	least := r.done.Load()
	list, err := r.view.List(ctx, []string{"alice"}, ListOptions{})
	most := r.begun.Load()
	if err != nil {
		t.Errorf("list: %v", err)
		return
	}
	for generation := least; generation <= most; generation++ {
		if slices.Equal(namesOf(list.Items), (*accessOf(generation))["alice"]) {
			return
		}
	}
	t.Errorf("no access from %d to %d grants %q", least, most, namesOf(list.Items))
}

// readPages reads all pages of a revision and holds that they make its content.
func (r *race) readPages(ctx context.Context, t *testing.T) {
	o := ListOptions{Limit: 3}
	at := uint64(0)
	var names []string
	for {
		list, err := r.view.List(ctx, []string{"root"}, o)
		if err != nil {
			t.Errorf("page: %v", err)
			return
		}
		if at != 0 && list.ResourceVersion != at {
			t.Errorf("page at %d of a list at %d", list.ResourceVersion, at)
		}
		at = list.ResourceVersion
		for _, item := range list.Items {
			written, err := strconv.ParseUint(item.ResourceVersion, 10, 64)
			if err != nil || written > at {
				t.Errorf("%s in a list at %d", describe(item), at)
			}
			names = append(names, item.Name)
		}
		if o.Continue = list.Continue; o.Continue == "" {
			break
		}
	}
	if n := len(names); n < raceFixed+raceCounters-1 || n > raceFixed+raceCounters || !slices.IsSorted(names) {
		t.Errorf("pages of %d: %s", at, strings.Join(names, " "))
	}
}

// TestConcurrentReads reads while objects and access change.
func TestConcurrentReads(t *testing.T) {
	t.Parallel()
	v, _ := newTestView(t, grants{}, 1)
	r := &race{view: v}
	r.relist(100)
	r.view.AccessChanged(accessOf(0), []string{"all"}, []string{"alice"})

	var writers, readers sync.WaitGroup
	ended := make(chan struct{})
	writers.Go(r.write)
	writers.Go(r.changeAccess)
	for range raceReaders {
		readers.Go(func() {
			ctx, seen := t.Context(), uint64(0)
			for !t.Failed() {
				seen = r.readAll(ctx, t, max(seen, r.written.Load()), ListOptions{})
				seen = r.readAll(ctx, t, seen, ListOptions{ResourceVersion: revision(seen), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan})
				r.readAll(ctx, t, seen, ListOptions{ResourceVersion: revision(seen), ResourceVersionMatch: metav1.ResourceVersionMatchExact})
				r.readGranted(ctx, t)
				r.readPages(ctx, t)
				if _, found, err := r.view.Get(ctx, []string{"root"}, fixedName(0), ""); !found || err != nil {
					t.Errorf("get: %t, %v", found, err)
				}
				select {
				case <-ended:
					return
				default:
				}
			}
		})
	}
	writers.Wait()
	close(ended)
	readers.Wait()
	checkLog(t, v)
}
