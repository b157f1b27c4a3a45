// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// token returns a continue token that says anything.
func token(t testing.TB, version string, resourceVersion int64, from string) string {
	t.Helper()
	data, err := json.Marshal(map[string]any{"v": version, "rv": resourceVersion, "start": from})
	require.NoError(t, err)
	return base64.RawURLEncoding.EncodeToString(data)
}

const encoding = "meta.k8s.io/v1"

// continueOf returns the token that an error offers.
func continueOf(err error) string {
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok {
		return status.Status().ListMeta.Continue
	}
	return ""
}

func TestContinue(t *testing.T) {
	t.Parallel()
	good := token(t, encoding, 12, "b\x00")
	tests := map[string]struct {
		given    ListOptions
		want     []string
		revision uint64
		status   int32
	}{
		"past revision":              {given: ListOptions{Continue: good}, want: []string{"c"}, revision: 12},
		"any revision":               {given: ListOptions{Continue: good, ResourceVersion: "0"}, want: []string{"c"}, revision: 12},
		"at a name":                  {given: ListOptions{Continue: token(t, encoding, 12, "b")}, want: []string{"b", "c"}, revision: 12},
		"absolute":                   {given: ListOptions{Continue: token(t, encoding, 12, "/b")}, want: []string{"b", "c"}, revision: 12},
		"beyond the last":            {given: ListOptions{Continue: token(t, encoding, 12, "zz")}, revision: 12},
		"root":                       {given: ListOptions{Continue: token(t, encoding, 12, "/")}, want: []string{"a", "b", "c"}, revision: 12},
		"present":                    {given: ListOptions{Continue: token(t, encoding, -1, "b")}, want: []string{"b"}, revision: 16},
		"present, least":             {given: ListOptions{Continue: token(t, encoding, math.MinInt64, "b")}, want: []string{"b"}, revision: 16},
		"by name":                    {given: ListOptions{Continue: good, Selection: Selection{Fields: fields.OneTermEqualSelector("metadata.name", "c")}}, want: []string{"c"}, revision: 12},
		"by name, before":            {given: ListOptions{Continue: good, Selection: Selection{Fields: fields.OneTermEqualSelector("metadata.name", "a")}}, revision: 12},
		"forgotten":                  {given: ListOptions{Continue: token(t, encoding, 9, "b")}, status: 410},
		"with a revision":            {given: ListOptions{Continue: good, ResourceVersion: "12"}, status: 400},
		"present with revision":      {given: ListOptions{Continue: token(t, encoding, -1, "b"), ResourceVersion: "12"}, status: 400},
		"revision 0":                 {given: ListOptions{Continue: token(t, encoding, 0, "b")}, status: 400},
		"no start":                   {given: ListOptions{Continue: token(t, encoding, 12, "")}, status: 400},
		"other version":              {given: ListOptions{Continue: token(t, "v2", 12, "b")}, status: 400},
		"traversal":                  {given: ListOptions{Continue: token(t, encoding, 12, "../b")}, status: 400},
		"traversal inside":           {given: ListOptions{Continue: token(t, encoding, 12, "a/../b")}, status: 400},
		"traversal, absolute":        {given: ListOptions{Continue: token(t, encoding, 12, "/../../b")}, status: 400},
		"two slashes":                {given: ListOptions{Continue: token(t, encoding, 12, "//b")}, status: 400},
		"not base64":                 {given: ListOptions{Continue: "%"}, status: 400},
		"padded base64":              {given: ListOptions{Continue: good + "=="}, status: 400},
		"not JSON":                   {given: ListOptions{Continue: base64.RawURLEncoding.EncodeToString([]byte("{"))}, status: 400},
		"revision is a string":       {given: ListOptions{Continue: base64.RawURLEncoding.EncodeToString([]byte(`{"v":"meta.k8s.io/v1","rv":"1","start":"b"}`))}, status: 400},
		"revision exceeds 64 bits":   {given: ListOptions{Continue: base64.RawURLEncoding.EncodeToString([]byte(`{"v":"meta.k8s.io/v1","rv":9223372036854775808,"start":"b"}`))}, status: 400},
		"malformed and a revision":   {given: ListOptions{Continue: "%", ResourceVersion: "12"}, status: 400},
		"a name of another resource": {given: ListOptions{Continue: token(t, encoding, 12, "secrets/b")}, revision: 12},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, _ := newEdited(t)
			list, err := v.List(t.Context(), []string{"root"}, tt.given)
			assert.Equal(t, tt.status, statusOf(t, err), "%v", err)
			assert.Equal(t, tt.want, namesOf(list.Items))
			assert.Equal(t, tt.revision, list.ResourceVersion)
		})
	}
}

// A token of a revision that is forgotten is answered with one that goes on.
func TestContinueAfterForgotten(t *testing.T) {
	t.Parallel()
	v, c := newTestView(t, grants{"root": {"*"}}, 10, newObject("a", "1", 5), newObject("b", "2", 6), newObject("c", "3", 7))
	first, err := v.List(t.Context(), []string{"root"}, ListOptions{Limit: 1})
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, namesOf(first.Items))
	v.Delete(newObject("b", "2", 12))
	v.Upsert(newObject("bb", "4", 13))
	c.Step(ReplicaLag + 1)
	v.Bookmark("14")
	c.Step(resumeAge + 1)
	v.Bookmark("14")

	_, err = v.List(t.Context(), []string{"root"}, ListOptions{Limit: 1, Continue: first.Continue})
	require.True(t, apierrors.IsResourceExpired(err), "%v", err)
	var rest []string
	next := continueOf(err)
	for next != "" {
		list, err := v.List(t.Context(), []string{"root"}, ListOptions{Limit: 1, Continue: next})
		require.NoError(t, err)
		require.Equal(t, uint64(14), list.ResourceVersion)
		rest, next = append(rest, namesOf(list.Items)...), list.Continue
	}
	assert.Equal(t, []string{"bb", "c"}, rest)

	_, err = v.List(t.Context(), []string{"root"}, ListOptions{ResourceVersion: "10", ResourceVersionMatch: exact})
	require.True(t, apierrors.IsResourceExpired(err), "%v", err)
	assert.Empty(t, continueOf(err), "no token was given, none is offered")
}

// Pages are of one revision; what is revoked, or belongs to another object by
// now, is not in them.
func TestPages(t *testing.T) {
	t.Parallel()
	v, _ := newTestView(t, grants{"alice": {"a", "b", "c", "d", "e"}}, 10,
		newObject("a", "1", 5), newObject("b", "2", 5), newObject("c", "3", 5), newObject("d", "4", 5), newObject("e", "5", 5))
	page, err := v.List(t.Context(), []string{"alice"}, ListOptions{Limit: 1})
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, namesOf(page.Items))

	v.Upsert(newObject("aa", "6", 11))    // is not of the revision
	v.Delete(newObject("b", "2", 12))     // is gone: nothing says that alice was to know it
	v.Upsert(newObject("c", "3", 13))     // is, with its old content
	v.Delete(newObject("d", "4", 14))     // is another object now
	v.Upsert(newObject("d", "other", 15)) //
	v.AccessChanged(&grants{"alice": {"a", "aa", "b", "c", "d"}}, []string{"e"}, []string{"alice"})

	page, err = v.List(t.Context(), []string{"alice"}, ListOptions{Limit: 9, Continue: page.Continue})
	require.NoError(t, err)
	assert.Equal(t, []string{"c uid=3 rv=5"}, describeAll(page.Items))
	assert.Equal(t, uint64(10), page.ResourceVersion)
	assert.Empty(t, page.Continue, "what may not be seen makes no further page")
}

// Who may get every name reads an old content as it was.
func TestPagesOfEverything(t *testing.T) {
	t.Parallel()
	v, _ := newTestView(t, grants{"root": {"*"}}, 10, newObject("a", "1", 5), newObject("b", "2", 5), newObject("c", "3", 5))
	page, err := v.List(t.Context(), []string{"root"}, ListOptions{Limit: 1})
	require.NoError(t, err)
	v.Delete(newObject("b", "2", 11))
	v.Delete(newObject("c", "3", 12))
	v.Upsert(newObject("c", "other", 13))
	page, err = v.List(t.Context(), []string{"root"}, ListOptions{Limit: 9, Continue: page.Continue})
	require.NoError(t, err)
	assert.Equal(t, []string{"b uid=2 rv=5", "c uid=3 rv=5"}, describeAll(page.Items))
}

// A grant that outlives its object must not show an earlier object of the name.
func TestGrantOutlivesObject(t *testing.T) {
	t.Parallel()
	v, _ := newTestView(t, grants{"bob": {"d"}}, 10, newObject("d", "bobs", 5))
	v.Delete(newObject("d", "bobs", 11))
	v.Upsert(newObject("d", "alices", 12))
	v.AccessChanged(&grants{"alice": {"d"}}, []string{"d"}, []string{"alice"})
	v.Delete(newObject("d", "alices", 13))
	list, err := v.List(t.Context(), []string{"alice"}, ListOptions{ResourceVersion: "10", ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	require.NoError(t, err)
	assert.Empty(t, list.Items)
}

// A page that is full to the last object has no further one, whatever is hidden
// behind it.
func TestLastPageHasNoToken(t *testing.T) {
	t.Parallel()
	v, _ := newTestView(t, grants{"root": {"*"}, "alice": {"a", "b", "missing"}}, 10,
		newObject("a", "1", 5), newObject("b", "2", 5), newObject("c", "3", 5))
	for _, tt := range []struct {
		subject string
		limit   int64
		want    []string
		more    bool
	}{
		{"alice", 1, []string{"a"}, true},
		{"alice", 2, []string{"a", "b"}, false},
		{"root", 2, []string{"a", "b"}, true},
		{"root", 3, []string{"a", "b", "c"}, false},
		{"root", -1, []string{"a", "b", "c"}, false},
		{"nobody", 1, nil, false},
	} {
		list, err := v.List(t.Context(), []string{tt.subject}, ListOptions{Limit: tt.limit})
		require.NoError(t, err)
		assert.Equal(t, tt.want, namesOf(list.Items), "%+v", tt)
		assert.Equal(t, tt.more, list.Continue != "", "%+v", tt)
	}
}

// FuzzContinue holds that no token, whatever a client makes of it, panics or shows
// an object that the reader may not get.
func FuzzContinue(f *testing.F) {
	for _, from := range []string{"a\x00", "b", "/", "../b", "x/y", "\xff", "", "."} {
		for _, resourceVersion := range []int64{0, -1, 9, 10, 12, 14, 16, 17, math.MaxInt64, math.MinInt64} {
			f.Add(token(f, encoding, resourceVersion, from), from, resourceVersion, int64(1))
		}
	}
	f.Add("%", "", int64(0), int64(0))
	f.Fuzz(func(t *testing.T, raw, from string, resourceVersion, limit int64) {
		v, _ := newEdited(t)
		v.Upsert(newObject("c", "other", 17)) // another object of a name that alice may get
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // waits for no revision
		for _, next := range []string{raw, token(t, encoding, resourceVersion, from)} {
			for _, o := range []ListOptions{
				{Continue: next, Limit: limit},
				{Continue: next, ResourceVersion: "0"},
				{Continue: next, ResourceVersion: "12", ResourceVersionMatch: metav1.ResourceVersionMatchExact},
			} {
				list, err := v.List(ctx, []string{"alice"}, o)
				if err != nil && !slices.Contains([]int32{400, 410, 504}, statusOf(t, err)) {
					t.Fatalf("%+v: %v", o, err)
				}
				for _, item := range list.Items {
					if item.Name != "a" && (item.Name != "c" || item.UID != "other") {
						t.Fatalf("%+v shows %s", o, describe(item))
					}
				}
				if o.Limit > 0 && int64(len(list.Items)) > o.Limit || !slices.IsSortedFunc(list.Items, func(a, b *object) int { return strings.Compare(a.Name, b.Name) }) {
					t.Fatalf("%+v: %v", o, describeAll(list.Items))
				}
			}
		}
	})
}
