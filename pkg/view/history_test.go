// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"maps"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func contentOf(s *snapshot[*object]) map[string]*object {
	content := map[string]*object{}
	s.tree.Ascend(func(e *Element[*object]) bool {
		content[e.Name] = e.Object
		return true
	})
	return content
}

// checkLog holds that the log, applied to its base, gives each entry's content
// and, in the end, what readers see; and that sequences, revisions and access
// follow on each other.
func checkLog(t rapid.TB, v *testView) {
	v.lock.Lock()
	defer v.lock.Unlock()
	content := contentOf(v.history.base)
	resourceVersion := v.history.base.resourceVersion
	var previous *Entry[*object, string]
	for i := range v.history.entries {
		e := v.history.entries[i]
		if previous != nil && (e.Sequence != previous.Sequence+1 || e.AccessBefore != previous.AccessAfter || e.Recorded.Before(previous.Recorded)) {
			t.Fatalf("entry %+v follows %+v", e, previous)
		}
		if e.ResourceVersion < resourceVersion || e.ResourceVersion != e.snapshot.resourceVersion {
			t.Fatalf("entry at %d of content %d after %d", e.ResourceVersion, e.snapshot.resourceVersion, resourceVersion)
		}
		switch {
		case e.ofAccess():
			if len(e.Changes) > 0 || e.ResourceVersion != resourceVersion {
				t.Fatalf("a change of access with one of an object: %+v", e)
			}
		case e.AccessBefore != e.AccessAfter || len(e.Names) != 0:
			t.Fatalf("a change of an object with one of access: %+v", e)
		case len(e.Changes) == 0 && e.ResourceVersion <= resourceVersion:
			t.Fatalf("an entry of nothing: %+v", e)
		}
		for _, c := range e.Changes {
			if c.Before != nil {
				if content[c.Before.Name] != c.Before.Object {
					t.Fatalf("%s before the entry was another", c.Before.Name)
				}
				delete(content, c.Before.Name)
			}
			if c.After != nil {
				if content[c.After.Name] != nil {
					t.Fatalf("%s existed before the entry", c.After.Name)
				}
				content[c.After.Name] = c.After.Object
			}
		}
		if !maps.Equal(content, contentOf(e.snapshot)) {
			t.Fatalf("content after the entry:\n%s", cmp.Diff(content, contentOf(e.snapshot)))
		}
		previous, resourceVersion = e, e.ResourceVersion
	}
	if !maps.Equal(content, contentOf(v.snapshot.Load())) {
		t.Fatalf("the log leads elsewhere:\n%s", cmp.Diff(content, contentOf(v.snapshot.Load())))
	}
	if previous != nil && (previous.AccessAfter != *v.access.Load() || previous.Sequence != v.history.next-1) {
		t.Fatal("the last entry is not of the present access and sequence")
	}
}

// changesOf describes the changes of an entry.
func changesOf(e *Entry[*object, string]) []string {
	text := func(e *Element[*object]) string {
		if e == nil {
			return ""
		}
		return describe(e.Object)
	}
	var changes []string
	for _, c := range e.Changes {
		changes = append(changes, text(c.Before)+" -> "+text(c.After))
	}
	return changes
}

func TestLog(t *testing.T) {
	t.Parallel()
	v, clock := newTestView(t, grants{"alice": {"a"}}, 10, newObject("a", "1", 5), newObject("b", "2", 6))
	first := *v.access.Load()
	require.Empty(t, v.history.entries, "the first fill is no change")

	a7 := newObject("a", "1", 17)
	v.Upsert(a7)
	v.Bookmark("18")
	second := grants{"alice": {"b"}}
	v.AccessChanged(&second, []string{"a", "b"}, []string{"root"})
	clock.Step(time.Second)
	v.Delete(newObject("a", "1", 19))
	v.Delete(newObject("missing", "9", 20))
	v.Replace([]*object{newObject("b", "2", 6), newObject("c", "3", 21)}, "22")
	v.Upsert(newObject("d", "4", 3)) // older than the view: its revision must not fall
	v.Upsert(&object{})              // without a revision
	checkLog(t, v)

	type entry struct {
		Sequence, ResourceVersion uint64
		Changes                   []string
		Names, Subjects           []string
		AccessBefore, AccessAfter bool // whether it is the second
		Age                       time.Duration
	}
	var got []entry
	for _, e := range v.history.entries {
		got = append(got, entry{
			e.Sequence, e.ResourceVersion, changesOf(e), e.Names, e.Subjects,
			e.AccessBefore != first, e.AccessAfter != first, clock.Since(e.Recorded),
		})
	}
	want := []entry{
		{Sequence: 0, ResourceVersion: 17, Changes: []string{"a uid=1 rv=5 -> a uid=1 rv=17"}, Age: time.Second},
		{Sequence: 1, ResourceVersion: 18, Age: time.Second},
		{Sequence: 2, ResourceVersion: 18, Names: []string{"a", "b"}, Subjects: []string{"root"}, AccessAfter: true, Age: time.Second},
		{Sequence: 3, ResourceVersion: 19, Changes: []string{"a uid=1 rv=17 -> "}, AccessBefore: true, AccessAfter: true},
		{Sequence: 4, ResourceVersion: 20, AccessBefore: true, AccessAfter: true},
		{Sequence: 5, ResourceVersion: 22, Changes: []string{" -> c uid=3 rv=21"}, AccessBefore: true, AccessAfter: true},
		{Sequence: 6, ResourceVersion: 22, Changes: []string{" -> d uid=4 rv=3"}, AccessBefore: true, AccessAfter: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// A relist that differs in nothing but the revision is not logged.
func TestReplaceLogsWhatDiffers(t *testing.T) {
	t.Parallel()
	a, b, c := newObject("a", "1", 5), newObject("b", "2", 6), newObject("c", "3", 7)
	tests := map[string]struct {
		given           []*object
		resourceVersion uint64
		want            []string
	}{
		"nothing":        {given: []*object{c, a, b}, resourceVersion: 20},
		"other pointers": {given: []*object{newObject("a", "1", 5), newObject("b", "2", 6), newObject("c", "3", 7)}, resourceVersion: 20},
		"deleted":        {given: []*object{b}, resourceVersion: 20, want: []string{"-a", "-c"}},
		"updated":        {given: []*object{a, newObject("b", "2", 16), c}, resourceVersion: 20, want: []string{"-b+b"}},
		"in order":       {given: []*object{newObject("a", "1", 19), newObject("b", "2", 18), newObject("d", "4", 17)}, resourceVersion: 20, want: []string{"-c", "+d", "-b+b", "-a+a"}},
		"recreated":      {given: []*object{a, newObject("b", "4", 16), c}, resourceVersion: 20, want: []string{"-b", "+b"}},
		"same revision":  {given: []*object{a, b, newObject("c", "4", 7)}, resourceVersion: 20, want: []string{"-c", "+c"}},
		"created":        {given: []*object{a, newObject("aa", "4", 16), b, c}, resourceVersion: 10, want: []string{"+aa"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, _ := newTestView(t, grants{}, 10, a, b, c)
			v.Replace(tt.given, revision(tt.resourceVersion))
			var got []string
			for _, e := range v.history.entries {
				assert.Equal(t, tt.resourceVersion, e.ResourceVersion)
				assert.Empty(t, got, "all is one entry")
				for _, c := range e.Changes {
					assert.Equal(t, uint64(10), e.DeletedAt, "it is not known when it went")
					text := ""
					if c.Before != nil {
						text += "-" + c.Before.Name
					}
					if c.After != nil {
						text += "+" + c.After.Name
					}
					got = append(got, text)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
			assert.Equal(t, tt.resourceVersion, v.snapshot.Load().resourceVersion)
			checkLog(t, v)
		})
	}
}

func TestRevisionNeverFalls(t *testing.T) {
	t.Parallel()
	v, _ := newTestView(t, grants{}, 10)
	for _, step := range []struct {
		bookmark string
		want     uint64
	}{{"9", 10}, {"10", 10}, {"12", 12}, {"11", 12}, {"", 12}, {"0", 12}, {"-20", 12}, {"x", 12}} {
		v.Bookmark(step.bookmark)
		assert.Equal(t, step.want, v.snapshot.Load().resourceVersion, "after bookmark %q", step.bookmark)
	}
	assert.Len(t, v.history.entries, 1)
}

// A list at a lower revision is that of an API server restored from a backup:
// what was known of the later revisions is of no use.
func TestReplaceBackInTime(t *testing.T) {
	t.Parallel()
	v, _ := newTestView(t, grants{"root": {"*"}}, 10, newObject("a", "1", 5))
	v.Upsert(newObject("b", "2", 30))
	next := v.history.next
	v.Replace([]*object{newObject("a", "1", 5), newObject("c", "3", 19)}, "20")

	assert.Empty(t, v.history.entries)
	assert.Equal(t, uint64(20), v.history.base.resourceVersion)
	assert.Equal(t, next, v.history.next, "sequences go on")
	list, err := v.List(t.Context(), []string{"root"}, ListOptions{})
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "c"}, namesOf(list.Items))
	assert.Equal(t, uint64(20), list.ResourceVersion)
	v.Upsert(newObject("d", "4", 21))
	assert.Equal(t, []string{"a", "c", "d"}, slices.Sorted(maps.Keys(contentOf(v.snapshot.Load()))))
	checkLog(t, v)
}

// sequences returns the sequences of the entries that are kept.
func sequences(v *testView) []uint64 {
	var kept []uint64
	for _, e := range v.history.entries {
		kept = append(kept, e.Sequence)
	}
	return kept
}

// What a client needs who resumes at the revision of 80 s ago is kept, with the
// two minutes before that revision was reached.
func TestHistoryForgetsByAge(t *testing.T) {
	t.Parallel()
	v, clock := newTestView(t, grants{}, 10)
	v.Upsert(newObject("a", "1", 11))
	clock.Step(100 * time.Second)
	v.Upsert(newObject("a", "1", 12)) // at 100 s
	clock.Step(ReplicaLag + 1)
	v.Upsert(newObject("a", "1", 13))
	clock.Step(resumeAge)
	v.Bookmark("13")
	require.Equal(t, []uint64{0, 1, 2}, sequences(v), "12 was the revision 80 s ago")
	require.Equal(t, uint64(10), v.history.base.resourceVersion)

	clock.Step(1)
	v.Bookmark("13")
	require.Equal(t, []uint64{2}, sequences(v), "13 was, and was reached long after 12")
	require.Equal(t, uint64(12), v.history.base.resourceVersion)
	_, known := v.history.at(11)
	require.False(t, known)
	at12, known := v.history.at(12)
	require.True(t, known)
	require.Equal(t, "12", contentOf(at12)["a"].ResourceVersion)
	checkLog(t, v)
}

// In a quiet cluster the revision stays. Who resumes there after an hour needs
// every change of access since.
func TestHistoryKeepsAccessOfThePresentRevision(t *testing.T) {
	t.Parallel()
	v, clock := newTestView(t, grants{}, 10)
	v.AccessChanged(&grants{"alice": {"a"}}, []string{"a"}, []string{"alice"})
	clock.Step(10 * time.Minute)
	v.AccessChanged(&grants{"alice": {"b"}}, []string{"a", "b"}, []string{"alice"})
	v.Upsert(newObject("a", "1", 11))
	v.AccessChanged(&grants{"alice": {"c"}}, []string{"b", "c"}, []string{"alice"})
	for range 60 {
		clock.Step(time.Minute)
		v.Bookmark("11")
	}
	require.Equal(t, []uint64{1, 2, 3}, sequences(v))
	start, known := v.history.resume(11)
	require.True(t, known)
	require.Len(t, start.access, 1)
	require.Len(t, start.replay, 1)
	require.Equal(t, uint64(3), start.sequence)
	checkLog(t, v)
}

// Who was told of a revision by this process may resume there even when what
// happened before is forgotten, but not when a change of access since is.
func TestHistoryForgetsAccessOfARevision(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		access bool
		want   bool
	}{"an object": {want: true}, "an object and access to it": {access: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, clock := newTestView(t, grants{}, 10)
			v.Upsert(newObject("a", "1", 13))
			v.snapshot.Load().handOut()
			if tt.access {
				v.AccessChanged(&grants{"alice": {"a"}}, []string{"a"}, []string{"alice"})
			}
			clock.Step(50 * time.Second)
			v.Bookmark("14")
			clock.Step(ReplicaLag - 50*time.Second + 1)
			v.Upsert(newObject("b", "2", 15))
			clock.Step(resumeAge + 1)
			v.Bookmark("15")
			require.Equal(t, uint64(13), v.history.base.resourceVersion, "the rest is forgotten")
			_, known := v.history.resume(13)
			require.Equal(t, tt.want, known)
			checkLog(t, v)
		})
	}
}

func TestHistoryForgetsByCapacity(t *testing.T) {
	t.Parallel()
	v, _ := newTestView(t, grants{}, 10)
	for i := range uint64(historyCapacity) {
		v.Upsert(newObject("a", "1", 11+i))
	}
	require.Len(t, v.history.entries, historyCapacity)
	require.Equal(t, uint64(10), v.history.base.resourceVersion)

	v.Upsert(newObject("a", "1", 11+historyCapacity))
	require.Len(t, v.history.entries, historyCapacity)
	require.Equal(t, uint64(11), v.history.base.resourceVersion)
	require.Equal(t, uint64(1), v.history.entries[0].Sequence)
	require.Equal(t, uint64(historyCapacity), v.history.entries[historyCapacity-1].Sequence)
	_, known := v.history.at(10)
	require.False(t, known)
	first, known := v.history.at(12)
	require.True(t, known)
	require.Equal(t, "12", contentOf(first)["a"].ResourceVersion)
}

// What was forgotten must not be kept alive by the array that held it.
func TestHistoryReleasesMemory(t *testing.T) {
	t.Parallel()
	v, clock := newTestView(t, grants{}, 10)
	freed := make(chan string, 1)
	func() {
		old := newObject("a", "1", 11)
		runtime.AddCleanup(old, func(resourceVersion string) { freed <- resourceVersion }, "11")
		v.Upsert(old)
	}()
	clock.Step(time.Second)
	for i := range uint64(4) {
		v.Upsert(newObject("a", "1", 12+i))
	}
	runtime.GC()
	select {
	case <-freed:
		t.Fatal("forgotten too early")
	default:
	}
	clock.Step(time.Second)
	v.Upsert(newObject("a", "1", 20))
	// The entries that hold it go, as After and as Before.
	clock.Step(ReplicaLag + 1)
	v.Upsert(newObject("a", "1", 21))
	clock.Step(resumeAge + 1)
	v.Bookmark("22")
	require.Len(t, v.history.entries, 2)
	require.Eventually(t, func() bool {
		runtime.GC()
		select {
		case <-freed:
			return true
		default:
			return false
		}
	}, 10*time.Second, time.Millisecond)
	runtime.KeepAlive(v)
}
