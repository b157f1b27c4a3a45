// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// step is something that happens to a view.
type step func(*testView)

func put(name, uid string, resourceVersion uint64, stage string) step {
	return func(v *testView) { v.Upsert(bubbleStaged(name, uid, resourceVersion, stage)) }
}

func remove(name, uid string, resourceVersion uint64) step {
	return func(v *testView) { v.Delete(newObject(name, uid, resourceVersion)) }
}

func grant(subject string, names ...string) step {
	return func(v *testView) { bubbleGrant(v, subject, names...) }
}

func revoke(subject string, names ...string) step {
	return func(v *testView) { bubbleRevoke(v, subject, names...) }
}

func bookmark(resourceVersion uint64) step {
	return func(v *testView) { v.Bookmark(revision(resourceVersion)) }
}

func relist(resourceVersion uint64, objects ...*object) step {
	return func(v *testView) { v.Replace(objects, revision(resourceVersion)) }
}

// wait lets every client get as far as it can.
func wait(*testView) { synctest.Wait() }

// newStaged returns a view at 10 with objects in stages prod and dev. alice may
// get pa, da and those of names that begin with n; the others are hidden from her.
func newStaged() *testView {
	return bubbleView(grants{"root": {"*"}, "alice": {"pa", "da", "na"}},
		bubbleStaged("pa", "1", 5, "prod"), bubbleStaged("da", "2", 6, "dev"),
		bubbleStaged("ph", "3", 7, "prod"), bubbleStaged("dh", "4", 8, "dev"))
}

// selections select what is in production: by labels, by fields, by both.
func selections() map[string]Selection {
	byLabel := labels.SelectorFromSet(labels.Set{"stage": "prod"})
	byField := fields.SelectorFromSet(fields.Set{"phase": "prod"})
	return map[string]Selection{
		"labels": {Labels: byLabel},
		"fields": {Fields: byField},
		"both":   {Labels: byLabel, Fields: byField},
	}
}

// TestWatchTruthTable is all that can happen to an object, to whether it matches,
// and to the access of a client that follows closely.
func TestWatchTruthTable(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given []step
		want  []string
	}{
		// Objects that the client may get.
		"created":                      {given: []step{put("na", "9", 20, "prod")}, want: []string{"ADDED na uid=9 rv=20 prod"}},
		"created, does not match":      {given: []step{put("na", "9", 20, "dev")}},
		"updated":                      {given: []step{put("pa", "1", 20, "prod")}, want: []string{"MODIFIED pa uid=1 rv=20 prod"}},
		"updated, matches no more":     {given: []step{put("pa", "1", 20, "dev")}, want: []string{"DELETED pa uid=1 rv=20 prod"}},
		"updated, begins to match":     {given: []step{put("da", "2", 20, "prod")}, want: []string{"ADDED da uid=2 rv=20 prod"}},
		"updated, never matches":       {given: []step{put("da", "2", 20, "test")}},
		"deleted":                      {given: []step{remove("pa", "1", 20)}, want: []string{"DELETED pa uid=1 rv=20 prod"}},
		"deleted, does not match":      {given: []step{remove("da", "2", 20)}},
		"deleted, unknown":             {given: []step{remove("na", "9", 20)}},
		"deleted after it had matched": {given: []step{put("pa", "1", 20, "dev"), remove("pa", "1", 21)}, want: []string{"DELETED pa uid=1 rv=20 prod"}},
		"recreated": {given: []step{remove("pa", "1", 20), put("pa", "9", 21, "prod")},
			want: []string{"DELETED pa uid=1 rv=20 prod", "ADDED pa uid=9 rv=21 prod"}},
		"nothing but the revision": {given: []step{bookmark(20)}},

		// Objects that it may not get.
		"hidden, created":             {given: []step{put("nh", "9", 20, "prod")}},
		"hidden, updated":             {given: []step{put("ph", "3", 20, "prod")}},
		"hidden, matches no more":     {given: []step{put("ph", "3", 20, "dev")}},
		"hidden, begins to match":     {given: []step{put("dh", "4", 20, "prod")}},
		"hidden, deleted":             {given: []step{remove("ph", "3", 20)}},
		"hidden, recreated":           {given: []step{remove("ph", "3", 20), put("ph", "9", 21, "prod")}},
		"hidden, deleted, unmatching": {given: []step{remove("dh", "4", 20)}},

		// Access.
		"granted":                   {given: []step{grant("alice", "ph")}, want: []string{"ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=10"}},
		"granted, does not match":   {given: []step{grant("alice", "dh")}},
		"granted, does not exist":   {given: []step{grant("alice", "nh")}},
		"granted to all of a group": {given: []step{grant("team", "ph")}, want: []string{"ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=10"}},
		"granted once more":         {given: []step{grant("team", "pa")}},
		"granted to others":         {given: []step{grant("bob", "ph", "pa")}},
		"granted later":             {given: []step{bookmark(12), grant("alice", "ph")}, want: []string{"ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=12"}},
		"granted, just updated":     {given: []step{put("ph", "3", 20, "prod"), grant("alice", "ph")}, want: []string{"ADDED ph uid=3 rv=20 prod"}},
		"granted two":               {given: []step{put("da", "2", 11, "test"), put("dh", "4", 20, "prod"), grant("alice", "dh", "ph")}, want: []string{"ADDED dh uid=4 rv=20 prod", "ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=20"}},
		"revoked":                   {given: []step{revoke("alice", "pa")}, want: []string{"DELETED pa uid=1 rv=10 prod"}},
		"revoked later":             {given: []step{bookmark(12), revoke("alice", "pa")}, want: []string{"DELETED pa uid=1 rv=12 prod"}},
		"revoked, does not match":   {given: []step{revoke("alice", "da")}},
		"revoked, does not exist":   {given: []step{revoke("alice", "na")}},
		"revoked from others":       {given: []step{grant("bob", "pa"), revoke("bob", "pa")}},
		"one of two revoked":        {given: []step{grant("team", "pa"), revoke("alice", "pa")}},
		"both revoked":              {given: []step{grant("team", "pa"), revoke("alice", "pa"), revoke("team", "pa")}, want: []string{"DELETED pa uid=1 rv=10 prod"}},
		"one name for another": {given: []step{func(v *testView) { bubbleAccess(v, grants{"root": {"*"}, "alice": {"ph", "da", "na"}}) }},
			want: []string{"DELETED pa uid=1 rv=10 prod", "ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=10"}},

		// Every name.
		"granted every name": {given: []step{grant("alice", "*")}, want: []string{"ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=10"}},
		"revoked every name": {given: []step{grant("alice", "*"), revoke("alice", "*")},
			want: []string{"ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=10", "DELETED ph uid=3 rv=10 prod"}},
		"every name for a name": {given: []step{func(v *testView) { bubbleAccess(v, grants{"root": {"*"}, "alice": {"*"}}) }},
			want: []string{"ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=10"}},
		"a name for every name": {given: []step{grant("alice", "*"), func(v *testView) { bubbleAccess(v, grants{"root": {"*"}, "alice": {"ph"}}) }},
			want: []string{"ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=10", "DELETED pa uid=1 rv=10 prod"}},
		"every name, then objects": {given: []step{grant("team", "*"), put("nh", "9", 20, "prod"), revoke("team", "*"), put("nh", "9", 21, "prod")},
			want: []string{"ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=10", "ADDED nh uid=9 rv=20 prod", "DELETED nh uid=9 rv=20 prod", "DELETED ph uid=3 rv=20 prod"}},

		// Both.
		"the RoleBinding dies before the namespace": {given: []step{revoke("alice", "pa"), remove("pa", "1", 20)}, want: []string{"DELETED pa uid=1 rv=10 prod"}},
		"the namespace dies before the RoleBinding": {given: []step{remove("pa", "1", 20), revoke("alice", "pa")}, want: []string{"DELETED pa uid=1 rv=20 prod"}},
		"terminating, then the RoleBinding, then the namespace": {given: []step{put("pa", "1", 20, "prod"), revoke("alice", "pa"), put("pa", "1", 21, "prod"), remove("pa", "1", 22)},
			want: []string{"MODIFIED pa uid=1 rv=20 prod", "DELETED pa uid=1 rv=20 prod"}},
		"revoked, updated":             {given: []step{revoke("alice", "pa"), put("pa", "1", 20, "prod")}, want: []string{"DELETED pa uid=1 rv=10 prod"}},
		"revoked, granted":             {given: []step{revoke("alice", "pa"), grant("alice", "pa")}, want: []string{"DELETED pa uid=1 rv=10 prod", "ADDED pa uid=1 rv=5 prod", "BOOKMARK rv=10"}},
		"revoked, updated, granted":    {given: []step{revoke("alice", "pa"), put("pa", "1", 20, "prod"), grant("alice", "pa")}, want: []string{"DELETED pa uid=1 rv=10 prod", "ADDED pa uid=1 rv=20 prod"}},
		"revoked, relabeled, granted":  {given: []step{revoke("alice", "pa"), put("pa", "1", 20, "dev"), grant("alice", "pa")}, want: []string{"DELETED pa uid=1 rv=10 prod"}},
		"granted, created":             {given: []step{grant("alice", "nh"), put("nh", "9", 20, "prod")}, want: []string{"ADDED nh uid=9 rv=20 prod"}},
		"granted, deleted, revoked":    {given: []step{grant("alice", "ph"), remove("ph", "3", 20), revoke("alice", "ph")}, want: []string{"ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=10", "DELETED ph uid=3 rv=20 prod"}},
		"hidden, relabeled, granted":   {given: []step{put("dh", "4", 20, "prod"), grant("alice", "dh")}, want: []string{"ADDED dh uid=4 rv=20 prod"}},
		"relabeled, revoked":           {given: []step{put("pa", "1", 20, "dev"), revoke("alice", "pa")}, want: []string{"DELETED pa uid=1 rv=20 prod"}},
		"recreated while it is hidden": {given: []step{revoke("alice", "pa"), remove("pa", "1", 20), put("pa", "9", 21, "prod"), grant("alice", "pa")}, want: []string{"DELETED pa uid=1 rv=10 prod", "ADDED pa uid=9 rv=21 prod"}},
	}
	for name, tt := range tests {
		for by, selection := range selections() {
			for _, bookmarks := range []bool{true, false} {
				bubbleTest(t, fmt.Sprintf("%s/%s,bookmarks=%t", name, by, bookmarks), func(t *testing.T) {
					v := newStaged()
					client := bubbleWatch(t, v, "alice,team", WatchOptions{SendInitialEvents: new(false), Selection: selection, AllowBookmarks: bookmarks})
					var got []string
					for _, step := range tt.given {
						step(v)
						got = append(got, client.read()...)
					}
					want := tt.want
					if !bookmarks {
						want = bubbleNoBookmarks(want)
					}
					if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
						t.Errorf("events (-want +got):\n%s", diff)
					}
				})
			}
		}
	}
}

// TestWatchWithoutSelection holds that who selects nothing gets everything, and
// that one who selects a name gets that.
func TestWatchWithoutSelection(t *testing.T) {
	t.Parallel()
	happen := func(v *testView) {
		for _, step := range []step{put("pa", "1", 20, "dev"), put("na", "9", 21, "test"), grant("alice", "dh"), remove("da", "2", 22), revoke("alice", "pa")} {
			step(v)
			synctest.Wait()
		}
	}
	for name, tt := range map[string]struct {
		given Selection
		want  []string
	}{
		"all": {want: []string{"MODIFIED pa uid=1 rv=20 dev", "ADDED na uid=9 rv=21 test", "ADDED dh uid=4 rv=8 dev", "DELETED da uid=2 rv=22 dev", "DELETED pa uid=1 rv=22 dev"}},
		"everything": {given: Selection{Labels: labels.Everything(), Fields: fields.Everything()},
			want: []string{"MODIFIED pa uid=1 rv=20 dev", "ADDED na uid=9 rv=21 test", "ADDED dh uid=4 rv=8 dev", "DELETED da uid=2 rv=22 dev", "DELETED pa uid=1 rv=22 dev"}},
		"nothing":       {given: Selection{Labels: labels.Nothing()}},
		"a name":        {given: Selection{Fields: fields.OneTermEqualSelector("metadata.name", "dh")}, want: []string{"ADDED dh uid=4 rv=8 dev"}},
		"a hidden name": {given: Selection{Fields: fields.OneTermEqualSelector("metadata.name", "ph")}},
		"another name":  {given: Selection{Fields: fields.OneTermNotEqualSelector("metadata.name", "dh")}, want: []string{"MODIFIED pa uid=1 rv=20 dev", "ADDED na uid=9 rv=21 test", "DELETED da uid=2 rv=22 dev", "DELETED pa uid=1 rv=22 dev"}},
	} {
		bubbleTest(t, name, func(t *testing.T) {
			v := newStaged()
			client := bubbleWatch(t, v, "alice", WatchOptions{SendInitialEvents: new(false), Selection: tt.given})
			var got []string
			done := make(chan struct{})
			go func() {
				defer close(done)
				for event := range client.ResultChan() {
					got = append(got, bubbleText(event))
				}
			}()
			happen(v)
			client.Stop()
			<-done
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWatchWithholds is what a client gets that reads nothing until everything has
// happened: nothing that it may no longer get, and no end of what it never got.
func TestWatchWithholds(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given []step
		want  []string
	}{
		"created, revoked":                  {given: []step{put("na", "9", 20, "prod"), wait, revoke("alice", "na")}},
		"created, revoked at once":          {given: []step{put("na", "9", 20, "prod"), revoke("alice", "na")}},
		"updated, revoked":                  {given: []step{put("pa", "1", 20, "prod"), wait, revoke("alice", "pa")}, want: []string{"DELETED pa uid=1 rv=20 prod"}},
		"updated, revoked at once":          {given: []step{put("pa", "1", 20, "prod"), revoke("alice", "pa")}, want: []string{"DELETED pa uid=1 rv=20 prod"}},
		"begins to match, revoked":          {given: []step{put("da", "2", 20, "prod"), wait, revoke("alice", "da")}},
		"granted, revoked":                  {given: []step{grant("alice", "ph"), wait, revoke("alice", "ph")}},
		"granted, revoked, granted":         {given: []step{grant("alice", "ph"), wait, revoke("alice", "ph"), wait, grant("alice", "ph")}, want: []string{"ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=10"}},
		"granted every name, revoked":       {given: []step{grant("alice", "*"), wait, revoke("alice", "*")}},
		"created, updated, revoked":         {given: []step{put("na", "9", 20, "prod"), wait, put("na", "9", 21, "prod"), revoke("alice", "na")}},
		"created, deleted, revoked":         {given: []step{put("na", "9", 20, "prod"), wait, remove("na", "9", 21), revoke("alice", "na")}},
		"created, relabeled, revoked":       {given: []step{put("na", "9", 20, "prod"), wait, put("na", "9", 21, "dev"), revoke("alice", "na")}},
		"created, revoked, deleted":         {given: []step{put("na", "9", 20, "prod"), wait, revoke("alice", "na"), remove("na", "9", 21)}},
		"created, revoked, updated":         {given: []step{put("na", "9", 20, "prod"), wait, revoke("alice", "na"), put("na", "9", 21, "prod")}},
		"created, revoked, granted":         {given: []step{put("na", "9", 20, "prod"), wait, revoke("alice", "na"), wait, grant("alice", "na")}, want: []string{"ADDED na uid=9 rv=20 prod"}},
		"created, revoked, updated, gran.":  {given: []step{put("na", "9", 20, "prod"), wait, revoke("alice", "na"), wait, put("na", "9", 21, "prod"), grant("alice", "na")}, want: []string{"ADDED na uid=9 rv=21 prod"}},
		"updated, revoked, hidden update":   {given: []step{put("pa", "1", 20, "prod"), wait, revoke("alice", "pa"), put("pa", "1", 21, "prod")}, want: []string{"DELETED pa uid=1 rv=20 prod"}},
		"updated, revoked, granted":         {given: []step{put("pa", "1", 20, "prod"), wait, revoke("alice", "pa"), wait, grant("alice", "pa")}, want: []string{"DELETED pa uid=1 rv=20 prod", "ADDED pa uid=1 rv=20 prod"}},
		"deleted, revoked":                  {given: []step{remove("pa", "1", 20), wait, revoke("alice", "pa")}, want: []string{"DELETED pa uid=1 rv=20 prod"}},
		"others revoked":                    {given: []step{put("pa", "1", 20, "prod"), wait, revoke("alice", "na"), revoke("root", "*")}, want: []string{"MODIFIED pa uid=1 rv=20 prod"}},
		"one of two revoked":                {given: []step{grant("team", "pa"), put("pa", "1", 20, "prod"), wait, revoke("alice", "pa")}, want: []string{"MODIFIED pa uid=1 rv=20 prod"}},
		"two updated, the first revoked":    {given: []step{put("pa", "1", 20, "prod"), wait, put("na", "9", 21, "prod"), revoke("alice", "pa")}, want: []string{"ADDED na uid=9 rv=21 prod", "DELETED pa uid=1 rv=21 prod"}},
		"two updated, the second revoked":   {given: []step{put("pa", "1", 20, "prod"), wait, put("na", "9", 21, "prod"), revoke("alice", "na")}, want: []string{"MODIFIED pa uid=1 rv=20 prod"}},
		"revoked and granted while nobody":  {given: []step{put("pa", "1", 20, "prod"), wait, revoke("alice", "pa"), grant("alice", "pa"), put("pa", "1", 21, "prod")}, want: []string{"MODIFIED pa uid=1 rv=20 prod", "DELETED pa uid=1 rv=20 prod", "ADDED pa uid=1 rv=20 prod", "MODIFIED pa uid=1 rv=21 prod"}},
		"recreated, the second one revoked": {given: []step{put("pa", "1", 20, "prod"), wait, remove("pa", "1", 21), put("pa", "9", 22, "prod"), revoke("alice", "pa")}, want: []string{"DELETED pa uid=1 rv=21 prod"}},
	}
	for name, tt := range tests {
		bubbleTest(t, name, func(t *testing.T) {
			v := newStaged()
			client := bubbleWatch(t, v, "alice,team", WatchOptions{SendInitialEvents: new(false), Selection: selections()["labels"], AllowBookmarks: true})
			for _, step := range tt.given {
				step(v)
			}
			client.wantEvents(t, tt.want...)
		})
	}
}

// TestWatchWithholdsInitialEvents is TestWatchWithholds for what a watch begins with.
func TestWatchWithholdsInitialEvents(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given []step
		want  []string
	}{
		"nothing":               {want: []string{"ADDED da uid=2 rv=6 dev", "ADDED pa uid=1 rv=5 prod", "BOOKMARK rv=10 initial-events-end"}},
		"first revoked":         {given: []step{revoke("alice", "da")}, want: []string{"ADDED pa uid=1 rv=5 prod", "BOOKMARK rv=10 initial-events-end"}},
		"second revoked":        {given: []step{revoke("alice", "pa")}, want: []string{"ADDED da uid=2 rv=6 dev", "BOOKMARK rv=10 initial-events-end"}},
		"both revoked":          {given: []step{revoke("alice", "pa", "da")}, want: []string{"BOOKMARK rv=10 initial-events-end"}},
		"revoked, deleted":      {given: []step{revoke("alice", "pa"), remove("pa", "1", 20)}, want: []string{"ADDED da uid=2 rv=6 dev", "BOOKMARK rv=10 initial-events-end"}},
		"updated, revoked":      {given: []step{put("da", "2", 20, "dev"), revoke("alice", "da")}, want: []string{"ADDED pa uid=1 rv=5 prod", "BOOKMARK rv=10 initial-events-end"}},
		"deleted, not revoked":  {given: []step{remove("pa", "1", 20)}, want: []string{"ADDED da uid=2 rv=6 dev", "ADDED pa uid=1 rv=5 prod", "BOOKMARK rv=10 initial-events-end", "DELETED pa uid=1 rv=20 prod"}},
		"granted meanwhile":     {given: []step{grant("alice", "ph")}, want: []string{"ADDED da uid=2 rv=6 dev", "ADDED pa uid=1 rv=5 prod", "BOOKMARK rv=10 initial-events-end", "ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=10"}},
		"revoked, then granted": {given: []step{revoke("alice", "da"), wait, grant("alice", "da")}, want: []string{"ADDED pa uid=1 rv=5 prod", "BOOKMARK rv=10 initial-events-end", "ADDED da uid=2 rv=6 dev", "BOOKMARK rv=10"}},
	}
	for name, tt := range tests {
		bubbleTest(t, name, func(t *testing.T) {
			v := newStaged()
			client := bubbleWatch(t, v, "alice", WatchOptions{SendInitialEvents: new(true), AllowBookmarks: true})
			for _, step := range tt.given {
				step(v)
			}
			client.wantEvents(t, tt.want...)
		})
	}
}

// TestWatchRelist holds that a relist ends no watch and tells the difference: what
// is gone first, at the revision before, then the rest in the order of revisions.
// One bookmark follows where the last that was told is older than the relist.
func TestWatchRelist(t *testing.T) {
	t.Parallel()
	pa, da := bubbleStaged("pa", "1", 5, "prod"), bubbleStaged("da", "2", 6, "dev")
	ph, dh := bubbleStaged("ph", "3", 7, "prod"), bubbleStaged("dh", "4", 8, "dev")
	tests := map[string]struct {
		given []step
		want  []string
	}{
		"nothing":         {given: []step{relist(20, pa, da, ph, dh)}},
		"by revision":     {given: []step{relist(20, bubbleStaged("pa", "1", 14, "prod"), bubbleStaged("da", "2", 16, "dev"), bubbleStaged("na", "9", 15, "dev"))}, want: []string{"MODIFIED pa uid=1 rv=14 prod", "ADDED na uid=9 rv=15 dev", "MODIFIED da uid=2 rv=16 dev", "BOOKMARK rv=20"}},
		"created":         {given: []step{relist(20, pa, da, ph, dh, bubbleStaged("na", "9", 15, "dev"))}, want: []string{"ADDED na uid=9 rv=15 dev", "BOOKMARK rv=20"}},
		"updated":         {given: []step{relist(20, bubbleStaged("pa", "1", 15, "dev"), da, ph, dh)}, want: []string{"MODIFIED pa uid=1 rv=15 dev", "BOOKMARK rv=20"}},
		"just updated":    {given: []step{relist(20, bubbleStaged("pa", "1", 20, "dev"), da, ph, dh)}, want: []string{"MODIFIED pa uid=1 rv=20 dev"}},
		"deleted":         {given: []step{relist(20, pa, ph, dh)}, want: []string{"DELETED da uid=2 rv=10 dev", "BOOKMARK rv=20"}},
		"recreated":       {given: []step{relist(20, bubbleStaged("pa", "9", 15, "prod"), da, ph, dh)}, want: []string{"DELETED pa uid=1 rv=10 prod", "ADDED pa uid=9 rv=15 prod", "BOOKMARK rv=20"}},
		"hidden, all":     {given: []step{relist(20, pa, da, bubbleStaged("dh", "4", 15, "prod"), bubbleStaged("nh", "9", 16, "dev"))}},
		"all deleted":     {given: []step{relist(20)}, want: []string{"DELETED da uid=2 rv=10 dev", "DELETED pa uid=1 rv=10 prod", "BOOKMARK rv=20"}},
		"all of it":       {given: []step{relist(20, bubbleStaged("pa", "1", 15, "prod"), bubbleStaged("na", "9", 14, "dev"), ph)}, want: []string{"DELETED da uid=2 rv=10 dev", "ADDED na uid=9 rv=14 dev", "MODIFIED pa uid=1 rv=15 prod", "BOOKMARK rv=20"}},
		"same revision":   {given: []step{relist(10, pa, ph, dh)}, want: []string{"DELETED da uid=2 rv=10 dev"}},
		"and what comes":  {given: []step{relist(20, pa, da, ph, bubbleStaged("na", "9", 15, "dev")), put("pa", "1", 21, "prod")}, want: []string{"ADDED na uid=9 rv=15 dev", "BOOKMARK rv=20", "MODIFIED pa uid=1 rv=21 prod"}},
		"and a grant":     {given: []step{relist(20, pa, da, ph, dh, bubbleStaged("na", "9", 15, "dev")), grant("alice", "ph")}, want: []string{"ADDED na uid=9 rv=15 dev", "BOOKMARK rv=20", "ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=20"}},
		"two in a row":    {given: []step{relist(20, da, ph, dh), relist(30, pa, da, ph, dh)}, want: []string{"DELETED pa uid=1 rv=10 prod", "BOOKMARK rv=20", "ADDED pa uid=1 rv=5 prod", "BOOKMARK rv=30"}},
		"only a bookmark": {given: []step{relist(20, pa, da, ph, bubbleStaged("na", "9", 15, "dev")), bookmark(25)}, want: []string{"ADDED na uid=9 rv=15 dev", "BOOKMARK rv=25"}},
	}
	for name, tt := range tests {
		for _, bookmarks := range []bool{true, false} {
			bubbleTest(t, fmt.Sprintf("%s/bookmarks=%t", name, bookmarks), func(t *testing.T) {
				v := newStaged()
				client := bubbleWatch(t, v, "alice", WatchOptions{SendInitialEvents: new(false), AllowBookmarks: bookmarks})
				for _, step := range tt.given {
					step(v)
				}
				want := tt.want
				if !bookmarks {
					want = bubbleNoBookmarks(want)
				}
				got := client.read()
				if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
					t.Errorf("events (-want +got):\n%s", diff)
				}
				if v.Watches() != 1 {
					t.Error("the watch has ended")
				}
			})
		}
	}
}
