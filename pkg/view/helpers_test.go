// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

type (
	object = metav1.PartialObjectMetadata
	// testView is a view of bare metadata whose subjects are strings.
	testView = View[*object, string]
)

// newObject returns an object of a name. Its UID tells it from others of the name.
func newObject(name, uid string, resourceVersion uint64) *object {
	return &object{ObjectMeta: metav1.ObjectMeta{
		Name: name, UID: types.UID(uid), ResourceVersion: revision(resourceVersion),
	}}
}

func revision(resourceVersion uint64) string { return strconv.FormatUint(resourceVersion, 10) }

// fieldsOf makes the annotation "phase" a field beside the name.
func fieldsOf(o *object) fields.Fields {
	return fields.Set{"metadata.name": o.Name, "phase": o.Annotations["phase"]}
}

func kindOf() Kind[*object] {
	return Kind[*object]{
		Resource: "test",
		Fields:   fieldsOf,
		New:      func() *object { return &object{} },
		ShallowCopy: func(o *object) *object {
			root := *o
			return &root
		},
	}
}

// describe returns what tells an object and its content from others.
func describe(o *object) string {
	return fmt.Sprintf("%s uid=%s rv=%s", o.Name, o.UID, o.ResourceVersion)
}

func describeAll(objects []*object) []string {
	var described []string
	for _, o := range objects {
		described = append(described, describe(o))
	}
	return described
}

func namesOf(objects []*object) []string {
	var names []string
	for _, o := range objects {
		names = append(names, o.Name)
	}
	return names
}

// grants is an Access: a subject's names, of which "*" is every name. As the
// interface lets it, Names leaves out what "*" grants.
type grants map[string][]string

func (g *grants) Every(subjects []string) bool { return g.any(subjects, "*") }

func (g *grants) Allowed(subjects []string, name string) bool {
	return g.Every(subjects) || g.any(subjects, name)
}

func (g *grants) any(subjects []string, name string) bool {
	return slices.ContainsFunc(subjects, func(s string) bool { return slices.Contains((*g)[s], name) })
}

func (g *grants) Names(subjects []string, from string) iter.Seq[string] {
	names := map[string]bool{}
	for _, subject := range subjects {
		for _, name := range (*g)[subject] {
			if name >= from && name != "*" {
				names[name] = true
			}
		}
	}
	return slices.Values(slices.Sorted(maps.Keys(names)))
}

func (g *grants) Audience(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for subject := range *g {
			if g.Allowed([]string{subject}, name) && !yield(subject) {
				return
			}
		}
	}
}

// fakeClock is a fake clock that tells when somebody begins to wait.
type fakeClock struct {
	*clocktesting.FakeClock
	// timers gets a value for every new timer.
	timers chan struct{}
}

var _ clock.WithTicker = &fakeClock{}

func newFakeClock() *fakeClock {
	return &fakeClock{
		FakeClock: clocktesting.NewFakeClock(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)),
		timers:    make(chan struct{}, 1),
	}
}

func (c *fakeClock) NewTimer(d time.Duration) clock.Timer {
	timer := c.FakeClock.NewTimer(d)
	select {
	case c.timers <- struct{}{}:
	default:
	}
	return timer
}

// newTestView returns a view that holds the objects at a revision, and its clock.
func newTestView(t testing.TB, access grants, resourceVersion uint64, objects ...*object) (*testView, *fakeClock) {
	t.Helper()
	fake := newFakeClock()
	v := New[*object, string](kindOf(), &access, fake)
	v.Replace(objects, revision(resourceVersion))
	return v, fake
}

// result is what a list returned.
type result struct {
	list List[*object]
	err  error
}

// start lists as root in the background, and returns when the list waits for a revision
// or has returned.
func start(ctx context.Context, v *testView, c *fakeClock, o ListOptions) <-chan result {
	select {
	case <-c.timers: // of an earlier wait
	default:
	}
	results := make(chan result, 1)
	go func() {
		list, err := v.List(ctx, []string{"root"}, o)
		results <- result{list: list, err: err}
	}()
	select {
	case <-c.timers:
	case r := <-results:
		results <- r
	}
	return results
}

// waiting fails the test if the list that start began has returned already.
func waiting(t testing.TB, results <-chan result) {
	t.Helper()
	select {
	case r := <-results:
		t.Fatalf("the list did not wait: %v, %v", r.list, r.err)
	default:
	}
}
