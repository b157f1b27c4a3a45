// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/storage"
)

const (
	exact        = metav1.ResourceVersionMatchExact
	notOlderThan = metav1.ResourceVersionMatchNotOlderThan
)

// statusOf returns the HTTP status of an error, 0 for none.
func statusOf(t testing.TB, err error) int32 {
	t.Helper()
	if err == nil {
		return 0
	}
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok {
		t.Fatalf("not an API error: %v", err)
	}
	return status.Status().Code
}

// isTooLarge reports whether the error is the one that tells clients to try again
// when the revision may have come.
func isTooLarge(err error) bool {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	return ok && storage.IsTooLargeResourceVersion(err) && status.Status().Code == 504 && status.Status().Details.RetryAfterSeconds == retryAfter
}

// newEdited returns a view whose history begins at 10, with a, b and c: at 12 a
// is updated, at 14 c is deleted; a bookmark makes it 16.
func newEdited(t testing.TB) (*testView, *fakeClock) {
	t.Helper()
	v, c := newTestView(t, grants{"root": {"*"}, "alice": {"a", "c", "missing"}}, 10,
		newObject("a", "1", 5), newObject("b", "2", 6), newObject("c", "3", 7))
	v.Upsert(newObject("a", "1", 12))
	v.Delete(newObject("c", "3", 14))
	v.Bookmark("16")
	return v, c
}

func TestListAtRevision(t *testing.T) {
	t.Parallel()
	now := []string{"a uid=1 rv=12", "b uid=2 rv=6"}
	at12 := []string{"a uid=1 rv=12", "b uid=2 rv=6", "c uid=3 rv=7"}
	at10 := []string{"a uid=1 rv=5", "b uid=2 rv=6", "c uid=3 rv=7"}
	tests := map[string]struct {
		given    ListOptions
		want     []string
		revision uint64
		status   int32
	}{
		"nothing":              {given: ListOptions{}, want: now, revision: 16},
		"any":                  {given: ListOptions{ResourceVersion: "0"}, want: now, revision: 16},
		"any, not older":       {given: ListOptions{ResourceVersion: "0", ResourceVersionMatch: notOlderThan}, want: now, revision: 16},
		"legacy":               {given: ListOptions{ResourceVersion: "12"}, want: now, revision: 16},
		"not older":            {given: ListOptions{ResourceVersion: "12", ResourceVersionMatch: notOlderThan}, want: now, revision: 16},
		"not older, limit":     {given: ListOptions{ResourceVersion: "12", ResourceVersionMatch: notOlderThan, Limit: 9}, want: now, revision: 16},
		"not older, forgotten": {given: ListOptions{ResourceVersion: "3", ResourceVersionMatch: notOlderThan}, want: now, revision: 16},
		"legacy, limit":        {given: ListOptions{ResourceVersion: "12", Limit: 9}, want: at12, revision: 12},
		"any, limit":           {given: ListOptions{ResourceVersion: "0", Limit: 9}, want: now, revision: 16},
		"exact, first":         {given: ListOptions{ResourceVersion: "10", ResourceVersionMatch: exact}, want: at10, revision: 10},
		"exact, before entry":  {given: ListOptions{ResourceVersion: "11", ResourceVersionMatch: exact}, want: at10, revision: 11},
		"exact, entry":         {given: ListOptions{ResourceVersion: "12", ResourceVersionMatch: exact}, want: at12, revision: 12},
		"exact, after entry":   {given: ListOptions{ResourceVersion: "13", ResourceVersionMatch: exact}, want: at12, revision: 13},
		"exact, bookmark":      {given: ListOptions{ResourceVersion: "15", ResourceVersionMatch: exact}, want: now, revision: 15},
		"exact, present":       {given: ListOptions{ResourceVersion: "16", ResourceVersionMatch: exact}, want: now, revision: 16},
		"exact, forgotten":     {given: ListOptions{ResourceVersion: "9", ResourceVersionMatch: exact}, status: 410},
		"legacy, forgotten":    {given: ListOptions{ResourceVersion: "9", Limit: 9}, status: 410},
		"no number":            {given: ListOptions{ResourceVersion: "x"}, status: 400},
		"negative":             {given: ListOptions{ResourceVersion: "-1", ResourceVersionMatch: exact}, status: 400},
		"exceeds uint64":       {given: ListOptions{ResourceVersion: "18446744073709551616"}, status: 400},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, _ := newEdited(t)
			list, err := v.List(t.Context(), []string{"root"}, tt.given)
			assert.Equal(t, tt.status, statusOf(t, err), "%v", err)
			assert.Equal(t, tt.status == 410, apierrors.IsResourceExpired(err))
			if diff := cmp.Diff(tt.want, describeAll(list.Items)); diff != "" {
				t.Errorf("items (-want +got):\n%s", diff)
			}
			assert.Equal(t, tt.revision, list.ResourceVersion)
		})
	}
}

// The greatest revisions do not fit the int64 of package storage.
func TestListWaitsForGreatestRevision(t *testing.T) {
	t.Parallel()
	for _, resourceVersion := range []string{"9223372036854775807", "9223372036854775808", "18446744073709551615"} {
		for _, o := range []ListOptions{
			{ResourceVersion: resourceVersion},
			{ResourceVersion: resourceVersion, ResourceVersionMatch: exact},
			{ResourceVersion: resourceVersion, Limit: 1},
		} {
			v, c := newEdited(t)
			results := start(t.Context(), v, c, o)
			waiting(t, results)
			c.Step(freshnessWait)
			r := <-results
			assert.True(t, isTooLarge(r.err), "%+v: %v", o, r.err)
		}
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		subjects        []string
		name            string
		resourceVersion string
		want            string
		fails           bool
	}{
		"granted":         {subjects: []string{"alice"}, name: "a", want: "a uid=1 rv=12"},
		"every":           {subjects: []string{"root"}, name: "b", want: "b uid=2 rv=6"},
		"second subject":  {subjects: []string{"nobody", "alice"}, name: "a", want: "a uid=1 rv=12"},
		"hidden":          {subjects: []string{"alice"}, name: "b"},
		"absent":          {subjects: []string{"alice"}, name: "missing"},
		"absent, every":   {subjects: []string{"root"}, name: "missing"},
		"deleted":         {subjects: []string{"alice"}, name: "c"},
		"nobody":          {name: "a"},
		"any revision":    {subjects: []string{"alice"}, name: "a", resourceVersion: "0", want: "a uid=1 rv=12"},
		"past revision":   {subjects: []string{"alice"}, name: "a", resourceVersion: "5", want: "a uid=1 rv=12"},
		"no number":       {subjects: []string{"alice"}, name: "a", resourceVersion: "x", fails: true},
		"hidden, no such": {subjects: []string{"alice"}, name: "", want: ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, _ := newEdited(t)
			o, found, err := v.Get(t.Context(), tt.subjects, tt.name, tt.resourceVersion)
			assert.Equal(t, tt.fails, err != nil, "%v", err)
			assert.Equal(t, tt.want != "", found)
			if found {
				assert.Equal(t, tt.want, describe(o))
			} else {
				assert.Nil(t, o)
			}
		})
	}
}

// Reads that ask for a revision to come wait for it.
func TestWait(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given func(*testView)
		want  []string
		at    uint64
	}{
		"upsert":   {given: func(v *testView) { v.Upsert(newObject("d", "4", 20)) }, want: []string{"a", "b", "d"}, at: 20},
		"bookmark": {given: func(v *testView) { v.Bookmark("21") }, want: []string{"a", "b"}, at: 21},
		"delete":   {given: func(v *testView) { v.Delete(newObject("a", "1", 20)) }, want: []string{"b"}, at: 20},
		"replace":  {given: func(v *testView) { v.Replace([]*object{newObject("b", "2", 6)}, "20") }, want: []string{"b"}, at: 20},
		"in steps": {given: func(v *testView) {
			v.Bookmark("18")
			v.Upsert(newObject("a", "1", 19))
			v.Bookmark("20")
		}, want: []string{"a", "b"}, at: 20},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, c := newEdited(t)
			results := start(t.Context(), v, c, ListOptions{ResourceVersion: "20", ResourceVersionMatch: notOlderThan})
			waiting(t, results)
			tt.given(v)
			r := <-results
			require.NoError(t, r.err)
			assert.Equal(t, tt.want, namesOf(r.list.Items))
			assert.Equal(t, tt.at, r.list.ResourceVersion)
			assert.False(t, c.HasWaiters(), "the timer is stopped")
		})
	}
}

// What wakes a list that waits for an exact revision may be beyond it.
func TestWaitForExactRevision(t *testing.T) {
	t.Parallel()
	v, c := newEdited(t)
	results := start(t.Context(), v, c, ListOptions{ResourceVersion: "18", ResourceVersionMatch: exact})
	waiting(t, results)
	v.Upsert(newObject("d", "4", 20))
	r := <-results
	require.NoError(t, r.err)
	assert.Equal(t, []string{"a", "b"}, namesOf(r.list.Items))
	assert.Equal(t, uint64(18), r.list.ResourceVersion)
}

func TestWaitInVain(t *testing.T) {
	t.Parallel()
	t.Run("timeout", func(t *testing.T) {
		t.Parallel()
		v, c := newEdited(t)
		results := start(t.Context(), v, c, ListOptions{ResourceVersion: "20"})
		v.Bookmark("19")
		c.Step(freshnessWait - 1)
		waiting(t, results)
		c.Step(1)
		r := <-results
		assert.True(t, isTooLarge(r.err), "%v", r.err)
		assert.Equal(t, 3*time.Second, freshnessWait)
	})
	t.Run("client gone", func(t *testing.T) {
		t.Parallel()
		v, c := newEdited(t)
		ctx, cancel := context.WithCancel(t.Context())
		results := start(ctx, v, c, ListOptions{ResourceVersion: "20"})
		waiting(t, results)
		cancel()
		r := <-results
		assert.True(t, isTooLarge(r.err), "%v", r.err)
		assert.False(t, c.HasWaiters(), "the timer is stopped")
	})
	t.Run("get", func(t *testing.T) {
		t.Parallel()
		v, c := newEdited(t)
		errs := make(chan error, 1)
		go func() {
			_, _, err := v.Get(t.Context(), []string{"root"}, "a", "20")
			errs <- err
		}()
		<-c.timers
		c.Step(freshnessWait)
		err := <-errs
		assert.True(t, isTooLarge(err), "%v", err)
	})
	t.Run("access does not count", func(t *testing.T) {
		t.Parallel()
		v, c := newEdited(t)
		results := start(t.Context(), v, c, ListOptions{ResourceVersion: "17"})
		v.AccessChanged(&grants{}, []string{"a"}, []string{"alice"})
		waiting(t, results)
		v.Bookmark("17")
		r := <-results
		require.NoError(t, r.err)
		assert.Empty(t, r.list.Items, "the access that holds when the list is made")
	})
}

// probe is a clock that looks at the view while the writer takes the time.
type probe struct {
	*fakeClock
	look func()
}

func (p *probe) Now() time.Time {
	if p.look != nil {
		p.look()
	}
	return p.fakeClock.Now()
}

// A relist is one step to readers: what they see at its revision, or before, is
// all of it, or nothing of it.
func TestReplaceIsAtomic(t *testing.T) {
	t.Parallel()
	p := &probe{fakeClock: newFakeClock()}
	v := New[*object, string](kindOf(), &grants{"root": {"*"}}, p)
	v.Replace([]*object{newObject("a", "1", 5), newObject("b", "2", 6), newObject("c", "3", 7)}, "10")

	type seen struct {
		ResourceVersion uint64
		Items           []string
	}
	look := func() seen {
		list, err := v.List(t.Context(), []string{"root"}, ListOptions{})
		require.NoError(t, err)
		return seen{list.ResourceVersion, describeAll(list.Items)}
	}
	before := look()
	var during []seen
	p.look = func() { during = append(during, look()) }
	v.Replace([]*object{newObject("b", "2", 16), newObject("d", "4", 17)}, "20")
	p.look = nil
	after := look()
	require.Equal(t, seen{20, []string{"b uid=2 rv=16", "d uid=4 rv=17"}}, after)
	for _, s := range during {
		if diff := cmp.Diff(after, s); cmp.Diff(before, s) != "" && diff != "" {
			t.Errorf("a list during the relist holds a part of it (-after +got):\n%s", diff)
		}
	}
}
