// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestYoungViewAcceptsItsOwnRevisions holds that a view resumes in its first two
// minutes what it handed out, and nothing else: a replica that did may have known
// less of the access than this one at its start.
func TestYoungViewAcceptsItsOwnRevisions(t *testing.T) {
	t.Parallel()
	const accepted, expired = "", "ERROR 410 Expired"
	list := func(o ListOptions) func(*testing.T, *testView) {
		return func(t *testing.T, v *testView) {
			t.Helper()
			_, err := v.List(t.Context(), []string{"alice"}, o)
			require.NoError(t, err)
		}
	}
	// watched reads what a watch has to say after something happened.
	watched := func(o WatchOptions, given ...step) func(*testing.T, *testView) {
		return func(t *testing.T, v *testView) {
			t.Helper()
			client := bubbleWatch(t, v, "alice", o)
			client.read()
			for _, step := range given {
				step(v)
			}
			client.read()
			client.Stop()
		}
	}
	do := func(given ...step) func(*testing.T, *testView) {
		return func(_ *testing.T, v *testView) {
			for _, step := range given {
				step(v)
			}
		}
	}
	later := func(d time.Duration) step { return func(*testView) { bubbleAdvance(d) } }
	now := WatchOptions{SendInitialEvents: new(false)}
	tests := map[string]struct {
		given           func(*testing.T, *testView)
		resourceVersion string
		want            string
	}{
		"the first":                     {given: do(), resourceVersion: "10", want: expired},
		"listed":                        {given: list(ListOptions{}), resourceVersion: "10"},
		"listed at any":                 {given: list(ListOptions{ResourceVersion: "0"}), resourceVersion: "10"},
		"listed, a page":                {given: list(ListOptions{Limit: 1}), resourceVersion: "10"},
		"listed exactly":                {given: list(ListOptions{ResourceVersion: "10", ResourceVersionMatch: metav1.ResourceVersionMatchExact}), resourceVersion: "10"},
		"initial events":                {given: watched(WatchOptions{SendInitialEvents: new(true), AllowBookmarks: true}), resourceVersion: "10"},
		"initial events, no bookmark":   {given: watched(WatchOptions{SendInitialEvents: new(true)}), resourceVersion: "10", want: expired},
		"a bookmark":                    {given: watched(WatchOptions{SendInitialEvents: new(false), AllowBookmarks: true}, bookmark(12), later(bookmarkPeriod)), resourceVersion: "12"},
		"a bookmark to come":            {given: watched(WatchOptions{SendInitialEvents: new(false), AllowBookmarks: true}, bookmark(12)), resourceVersion: "12", want: expired},
		"an event":                      {given: watched(now, put("a", "1", 20, "")), resourceVersion: "20"},
		"an event of a deletion":        {given: watched(now, remove("a", "1", 20)), resourceVersion: "20"},
		"a revocation":                  {given: watched(now, revoke("alice", "a")), resourceVersion: "10"},
		"a grant":                       {given: watched(now, grant("alice", "h")), resourceVersion: "10", want: expired},
		"a grant and its bookmark":      {given: watched(WatchOptions{SendInitialEvents: new(false), AllowBookmarks: true}, grant("alice", "h")), resourceVersion: "10"},
		"an event of what is hidden":    {given: watched(now, put("h", "3", 20, "")), resourceVersion: "20", want: expired},
		"what nobody watched":           {given: do(put("a", "1", 20, "")), resourceVersion: "20", want: expired},
		"what followed a list":          {given: do(func(v *testView) { v.snapshot.Load().handOut() }, put("a", "1", 20, "")), resourceVersion: "20", want: expired},
		"what preceded a list":          {given: do(put("a", "1", 20, ""), func(v *testView) { v.snapshot.Load().handOut() }), resourceVersion: "10", want: expired},
		"reached at two minutes":        {given: do(later(ReplicaLag), put("a", "1", 20, "")), resourceVersion: "20", want: expired},
		"reached after two minutes":     {given: do(later(ReplicaLag+1), put("a", "1", 20, "")), resourceVersion: "20"},
		"bookmark after two minutes":    {given: do(later(ReplicaLag+1), bookmark(20)), resourceVersion: "20"},
		"the first, after two minutes":  {given: do(later(ReplicaLag+1), bookmark(20)), resourceVersion: "10", want: expired},
		"before it, after two minutes":  {given: do(later(ReplicaLag+1), bookmark(20), bookmark(30)), resourceVersion: "25"},
		"listed, an hour later":         {given: do(func(v *testView) { v.snapshot.Load().handOut() }, later(time.Hour)), resourceVersion: "10"},
		"the first, an hour later":      {given: do(later(time.Hour)), resourceVersion: "10", want: expired},
		"handed out before the restart": {given: do(func(v *testView) { v.snapshot.Load().handOut() }, relist(5), relist(10)), resourceVersion: "10", want: expired},
	}
	for name, tt := range tests {
		bubbleTest(t, name, func(t *testing.T) {
			v := bubbleView(grants{"alice": {"a"}}, newObject("a", "1", 5), newObject("h", "3", 7))
			tt.given(t, v)
			got := bubbleWatch(t, v, "nobody", WatchOptions{ResourceVersion: tt.resourceVersion}).read()
			want := []string{tt.want, "END"}
			if tt.want == accepted {
				want = nil
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// moment is something that happens some time before a client resumes.
type moment struct {
	before time.Duration
	do     step
}

// resumeStory is what happens to newStaged, which has been up for ten minutes,
// before alice resumes. Its revision is 10 until a moment makes it another.
type resumeStory struct {
	given []moment
	// resourceVersion is where alice resumes; after is what happens then.
	resourceVersion string
	after           []moment // before is how long after
	want            []string
}

// TestResume is what a client gets that comes back.
func TestResume(t *testing.T) {
	t.Parallel()
	const s = time.Second
	at := func(before time.Duration, do step) moment { return moment{before, do} }
	tests := map[string]resumeStory{
		// What happened since the revision.
		"nothing":           {given: []moment{at(10*s, bookmark(20))}, resourceVersion: "20"},
		"objects":           {given: []moment{at(10*s, bookmark(20)), at(5*s, put("pa", "1", 21, "prod")), at(4*s, put("da", "2", 22, "prod")), at(3*s, put("na", "9", 23, "prod")), at(2*s, remove("pa", "1", 24))}, resourceVersion: "20", want: []string{"MODIFIED pa uid=1 rv=21 prod", "ADDED da uid=2 rv=22 prod", "ADDED na uid=9 rv=23 prod", "DELETED pa uid=1 rv=24 prod"}},
		"some of them":      {given: []moment{at(10*s, bookmark(20)), at(5*s, put("pa", "1", 21, "prod")), at(4*s, put("da", "2", 22, "prod")), at(3*s, put("na", "9", 23, "prod")), at(2*s, remove("pa", "1", 24))}, resourceVersion: "22", want: []string{"ADDED na uid=9 rv=23 prod", "DELETED pa uid=1 rv=24 prod"}},
		"hidden objects":    {given: []moment{at(10*s, bookmark(20)), at(5*s, put("ph", "3", 21, "prod")), at(4*s, remove("ph", "3", 22))}, resourceVersion: "20"},
		"selected no more":  {given: []moment{at(10*s, bookmark(20)), at(5*s, put("pa", "1", 21, "dev"))}, resourceVersion: "20", want: []string{"DELETED pa uid=1 rv=21 prod"}},
		"a grant":           {given: []moment{at(10*s, bookmark(20)), at(5*s, grant("alice", "ph"))}, resourceVersion: "20", want: []string{"ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=20"}},
		"a revocation":      {given: []moment{at(10*s, bookmark(20)), at(5*s, revoke("alice", "pa"))}, resourceVersion: "20", want: []string{"DELETED pa uid=1 rv=20 prod"}},
		"not selected":      {given: []moment{at(10*s, bookmark(20)), at(5*s, revoke("alice", "da")), at(4*s, grant("alice", "dh"))}, resourceVersion: "20"},
		"both":              {given: []moment{at(10*s, bookmark(20)), at(5*s, revoke("alice", "pa")), at(4*s, put("pa", "1", 21, "prod")), at(3*s, grant("alice", "ph"))}, resourceVersion: "20", want: []string{"DELETED pa uid=1 rv=20 prod", "ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=21"}},
		"an update, hidden": {given: []moment{at(10*s, bookmark(20)), at(5*s, put("pa", "1", 21, "prod")), at(4*s, revoke("alice", "pa"))}, resourceVersion: "20", want: []string{"DELETED pa uid=1 rv=21 prod"}},

		// What another replica may not have known when it served the revision.
		"granted before":                  {given: []moment{at(100*s, grant("alice", "ph")), at(10*s, bookmark(20))}, resourceVersion: "20", want: []string{"ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=20"}},
		"granted before, not selected":    {given: []moment{at(100*s, grant("alice", "dh")), at(10*s, bookmark(20))}, resourceVersion: "20"},
		"granted before, absent":          {given: []moment{at(100*s, grant("alice", "nh")), at(10*s, bookmark(20))}, resourceVersion: "20"},
		"revoked before":                  {given: []moment{at(100*s, revoke("alice", "pa")), at(10*s, bookmark(20))}, resourceVersion: "20", want: []string{"DELETED pa uid=1 rv=20 prod"}},
		"revoked before, not selected":    {given: []moment{at(100*s, revoke("alice", "da")), at(10*s, bookmark(20))}, resourceVersion: "20"},
		"revoked before, then deleted":    {given: []moment{at(100*s, revoke("alice", "pa")), at(50*s, remove("pa", "1", 15)), at(10*s, bookmark(20))}, resourceVersion: "20", want: []string{"DELETED pa uid=1 rv=20 prod"}},
		"revoked before, then updated":    {given: []moment{at(100*s, revoke("alice", "pa")), at(50*s, put("pa", "1", 15, "secret")), at(10*s, bookmark(20))}, resourceVersion: "20", want: []string{"DELETED pa uid=1 rv=20 prod"}},
		"deleted, then revoked":           {given: []moment{at(110*s, remove("pa", "1", 12)), at(100*s, revoke("alice", "pa")), at(10*s, bookmark(20))}, resourceVersion: "20"},
		"granted and revoked before":      {given: []moment{at(100*s, grant("alice", "ph")), at(90*s, revoke("alice", "ph")), at(10*s, bookmark(20))}, resourceVersion: "20", want: []string{"DELETED ph uid=3 rv=20 prod"}},
		"revoked and granted before":      {given: []moment{at(100*s, revoke("alice", "pa")), at(90*s, grant("alice", "pa")), at(10*s, bookmark(20))}, resourceVersion: "20", want: []string{"ADDED pa uid=1 rv=5 prod", "BOOKMARK rv=20"}},
		"granted long before":             {given: []moment{at(300*s, grant("alice", "ph")), at(10*s, bookmark(20))}, resourceVersion: "20"},
		"granted just within the lag":     {given: []moment{at(ReplicaLag+10*s, grant("alice", "ph")), at(10*s, bookmark(20))}, resourceVersion: "20", want: []string{"ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=20"}},
		"granted just before the lag":     {given: []moment{at(ReplicaLag+10*s+1, grant("alice", "ph")), at(10*s, bookmark(20))}, resourceVersion: "20"},
		"revoked long before":             {given: []moment{at(300*s, revoke("alice", "pa")), at(10*s, bookmark(20))}, resourceVersion: "20"},
		"granted before to others":        {given: []moment{at(100*s, grant("bob", "ph")), at(90*s, revoke("root", "*")), at(10*s, bookmark(20))}, resourceVersion: "20"},
		"several before, by name":         {given: []moment{at(100*s, put("na", "9", 12, "prod")), at(90*s, revoke("alice", "pa", "na")), at(80*s, grant("alice", "ph")), at(10*s, bookmark(20))}, resourceVersion: "20", want: []string{"DELETED na uid=9 rv=20 prod", "DELETED pa uid=1 rv=20 prod", "ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=20"}},
		"granted what is deleted":         {given: []moment{at(110*s, remove("ph", "3", 12)), at(100*s, grant("alice", "ph")), at(10*s, bookmark(20))}, resourceVersion: "20", want: []string{"DELETED ph rv=20"}},
		"granted what is deleted, unsel.": {given: []moment{at(110*s, remove("dh", "4", 12)), at(100*s, grant("alice", "dh")), at(10*s, bookmark(20))}, resourceVersion: "20"},
		"granted what matches no more":    {given: []moment{at(110*s, put("ph", "3", 12, "dev")), at(100*s, grant("alice", "ph")), at(10*s, bookmark(20))}, resourceVersion: "20", want: []string{"DELETED ph uid=3 rv=20 dev"}},
		"granted what is long gone":       {given: []moment{at(300*s, remove("ph", "3", 12)), at(100*s, grant("alice", "ph")), at(10*s, bookmark(20))}, resourceVersion: "20"},

		// Before the revision, and since.
		"granted before, revoked since":           {given: []moment{at(100*s, grant("alice", "ph")), at(50*s, bookmark(20)), at(10*s, revoke("alice", "ph"))}, resourceVersion: "20", want: []string{"DELETED ph uid=3 rv=20 prod"}},
		"granted before, deleted and revoked":     {given: []moment{at(100*s, grant("alice", "ph")), at(50*s, bookmark(20)), at(10*s, remove("ph", "3", 21)), at(5*s, revoke("alice", "ph"))}, resourceVersion: "20", want: []string{"DELETED ph uid=3 rv=21 prod"}},
		"granted before, updated and revoked":     {given: []moment{at(100*s, grant("alice", "ph")), at(50*s, bookmark(20)), at(10*s, put("ph", "3", 21, "prod")), at(5*s, revoke("alice", "ph"))}, resourceVersion: "20", want: []string{"DELETED ph uid=3 rv=21 prod"}},
		"granted since, revoked since":            {given: []moment{at(50*s, bookmark(20)), at(10*s, grant("alice", "ph")), at(5*s, revoke("alice", "ph"))}, resourceVersion: "20", want: []string{"DELETED ph uid=3 rv=20 prod"}},
		"created since, revoked since":            {given: []moment{at(50*s, bookmark(20)), at(10*s, put("na", "9", 21, "prod")), at(5*s, revoke("alice", "na"))}, resourceVersion: "20", want: []string{"DELETED na uid=9 rv=21 prod"}},
		"revoked before, granted since":           {given: []moment{at(100*s, revoke("alice", "pa")), at(50*s, bookmark(20)), at(10*s, grant("alice", "pa"))}, resourceVersion: "20", want: []string{"DELETED pa uid=1 rv=20 prod", "ADDED pa uid=1 rv=5 prod", "BOOKMARK rv=20"}},
		"granted before, deleted since":           {given: []moment{at(100*s, grant("alice", "ph")), at(50*s, bookmark(20)), at(10*s, remove("ph", "3", 21))}, resourceVersion: "20", want: []string{"ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=20", "DELETED ph uid=3 rv=21 prod"}},
		"granted since what was deleted since":    {given: []moment{at(50*s, bookmark(20)), at(10*s, remove("ph", "3", 21)), at(5*s, grant("alice", "ph"))}, resourceVersion: "20", want: []string{"DELETED ph rv=21"}},
		"revoked before, and again":               {given: []moment{at(100*s, revoke("alice", "pa")), at(50*s, bookmark(20)), at(10*s, grant("alice", "pa")), at(5*s, revoke("alice", "pa"))}, resourceVersion: "20", want: []string{"DELETED pa uid=1 rv=20 prod"}},
		"revoked before, deleted, granted":        {given: []moment{at(100*s, revoke("alice", "pa")), at(50*s, bookmark(20)), at(10*s, remove("pa", "1", 21)), at(5*s, grant("alice", "pa"))}, resourceVersion: "20", want: []string{"DELETED pa uid=1 rv=20 prod"}},
		"revoked before, recreated, granted":      {given: []moment{at(100*s, revoke("alice", "pa")), at(50*s, bookmark(20)), at(10*s, remove("pa", "1", 21)), at(8*s, put("pa", "9", 22, "prod")), at(5*s, grant("alice", "pa"))}, resourceVersion: "20", want: []string{"DELETED pa uid=1 rv=20 prod", "ADDED pa uid=9 rv=22 prod"}},
		"granted at the revision, before a write": {given: []moment{at(200*s, bookmark(20)), at(190*s, grant("alice", "ph")), at(10*s, bookmark(21))}, resourceVersion: "20", want: []string{"ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=20"}},
		"an hour in a quiet cluster":              {given: []moment{at(2*time.Hour, bookmark(20)), at(time.Hour, revoke("alice", "pa")), at(30*time.Minute, grant("alice", "ph"))}, resourceVersion: "20", want: []string{"DELETED pa uid=1 rv=20 prod", "ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=20"}},

		// While it is unsure of what this replica does not know yet.
		"unsure: granted what is deleted":         {given: []moment{at(50*s, bookmark(20))}, resourceVersion: "20", after: []moment{at(10*s, remove("ph", "3", 21)), at(20*s, grant("alice", "ph"))}, want: []string{"DELETED ph rv=21"}},
		"unsure: granted what was deleted":        {given: []moment{at(50*s, bookmark(20)), at(10*s, remove("ph", "3", 21))}, resourceVersion: "20", after: []moment{at(20*s, grant("alice", "ph"))}, want: []string{"DELETED ph rv=21"}},
		"unsure: granted what matches no more":    {given: []moment{at(50*s, bookmark(20))}, resourceVersion: "20", after: []moment{at(10*s, put("ph", "3", 21, "dev")), at(20*s, grant("alice", "ph"))}, want: []string{"DELETED ph uid=3 rv=21 dev"}},
		"unsure: granted what never matched":      {given: []moment{at(50*s, bookmark(20))}, resourceVersion: "20", after: []moment{at(10*s, remove("dh", "4", 21)), at(20*s, grant("alice", "dh"))}},
		"unsure: granted every name":              {given: []moment{at(50*s, bookmark(20))}, resourceVersion: "20", after: []moment{at(10*s, remove("ph", "3", 21)), at(20*s, grant("alice", "*"))}, want: []string{"DELETED ph rv=21"}},
		"sure: granted what is deleted":           {given: []moment{at(50*s, bookmark(20))}, resourceVersion: "20", after: []moment{at(10*s, remove("ph", "3", 21)), at(ReplicaLag+s, grant("alice", "ph"))}},
		"unsure: no second deletion":              {given: []moment{at(50*s, bookmark(20))}, resourceVersion: "20", after: []moment{at(10*s, remove("pa", "1", 21)), at(20*s, revoke("alice", "pa")), at(30*s, grant("alice", "pa"))}, want: []string{"DELETED pa uid=1 rv=21 prod"}},
		"unsure: no second deletion, revoked":     {given: []moment{at(50*s, bookmark(20))}, resourceVersion: "20", after: []moment{at(10*s, revoke("alice", "pa")), at(20*s, remove("pa", "1", 21)), at(30*s, grant("alice", "pa"))}, want: []string{"DELETED pa uid=1 rv=20 prod"}},
		"unsure: deleted, recreated, deleted":     {given: []moment{at(50*s, bookmark(20))}, resourceVersion: "20", after: []moment{at(10*s, remove("pa", "1", 21)), at(20*s, put("pa", "9", 22, "prod")), at(30*s, remove("pa", "9", 23))}, want: []string{"DELETED pa uid=1 rv=21 prod", "ADDED pa uid=9 rv=22 prod", "DELETED pa uid=9 rv=23 prod"}},
		"unsure, then sure: recreated":            {given: []moment{at(50*s, bookmark(20))}, resourceVersion: "20", after: []moment{at(10*s, remove("pa", "1", 21)), at(200*s, put("pa", "9", 22, "prod")), at(210*s, put("pa", "9", 23, "prod"))}, want: []string{"DELETED pa uid=1 rv=21 prod", "ADDED pa uid=9 rv=22 prod", "MODIFIED pa uid=9 rv=23 prod"}},
		"revoked before: known, and granted late": {given: []moment{at(100*s, revoke("alice", "pa")), at(50*s, bookmark(20))}, resourceVersion: "20", after: []moment{at(200*s, grant("alice", "pa"))}, want: []string{"DELETED pa uid=1 rv=20 prod", "ADDED pa uid=1 rv=5 prod", "BOOKMARK rv=20"}},

		// Every name.
		"every name since":                     {given: []moment{at(50*s, bookmark(20)), at(10*s, grant("alice", "*"))}, resourceVersion: "20", want: []string{"ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=20"}},
		"every name before":                    {given: []moment{at(100*s, grant("alice", "*")), at(50*s, bookmark(20))}, resourceVersion: "20", want: []string{"ADDED pa uid=1 rv=5 prod", "ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=20"}},
		"every name before, something deleted": {given: []moment{at(110*s, remove("ph", "3", 12)), at(100*s, grant("alice", "*")), at(50*s, bookmark(20))}, resourceVersion: "20", want: []string{"ADDED pa uid=1 rv=5 prod", "DELETED ph rv=20"}},
		"every name lost since":                {given: []moment{at(300*s, grant("alice", "*")), at(50*s, bookmark(20)), at(10*s, revoke("alice", "*"))}, resourceVersion: "20", want: []string{"DELETED ph uid=3 rv=20 prod"}},
		// Every name that the client may hold is taken back. Of what it never could get
		// here, and was created since, not even that it is gone is told.
		"every name lost before":              {given: []moment{at(300*s, grant("alice", "*")), at(100*s, revoke("alice", "*")), at(50*s, bookmark(20))}, resourceVersion: "20", want: []string{"ADDED pa uid=1 rv=5 prod", "DELETED ph uid=3 rv=20 prod"}},
		"every name lost before, and created": {given: []moment{at(300*s, grant("alice", "*")), at(100*s, revoke("alice", "*")), at(60*s, put("nh", "9", 15, "prod")), at(50*s, bookmark(20))}, resourceVersion: "20", want: []string{"ADDED pa uid=1 rv=5 prod", "DELETED ph uid=3 rv=20 prod"}},
		"every name lost before, and deleted": {given: []moment{at(300*s, grant("alice", "*")), at(100*s, revoke("alice", "*")), at(60*s, remove("ph", "3", 15)), at(50*s, bookmark(20))}, resourceVersion: "20", want: []string{"ADDED pa uid=1 rv=5 prod", "DELETED ph uid=3 rv=20 prod"}},
		"every name lost before, granted new": {given: []moment{at(300*s, grant("alice", "*")), at(100*s, revoke("alice", "*")), at(60*s, put("nh", "9", 15, "prod")), at(50*s, bookmark(20)), at(10*s, grant("alice", "*"))}, resourceVersion: "20", want: []string{"ADDED pa uid=1 rv=5 prod", "DELETED ph uid=3 rv=20 prod", "ADDED nh uid=9 rv=15 prod", "ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=20"}},
		"every name lost long before":         {given: []moment{at(400*s, grant("alice", "*")), at(300*s, revoke("alice", "*")), at(60*s, put("nh", "9", 15, "prod")), at(50*s, bookmark(20))}, resourceVersion: "20"},

		// A relist is one entry: who is at its revision knows all of it, and who is at
		// one before it may hold what came and went meanwhile.
		"before a relist":              {given: []moment{at(50*s, bookmark(20)), at(10*s, relist(30, bubbleStaged("pa", "1", 25, "prod"), bubbleStaged("ph", "3", 7, "prod"), bubbleStaged("na", "9", 24, "prod")))}, resourceVersion: "20", want: []string{"ERROR 410 Expired", "END"}},
		"at a relist":                  {given: []moment{at(50*s, bookmark(20)), at(10*s, relist(30, bubbleStaged("pa", "1", 25, "prod"), bubbleStaged("ph", "3", 7, "prod"), bubbleStaged("na", "9", 24, "prod")))}, resourceVersion: "30"},
		"in what a relist skipped":     {given: []moment{at(50*s, bookmark(20)), at(10*s, relist(30, bubbleStaged("pa", "1", 25, "prod")))}, resourceVersion: "25", want: []string{"ERROR 410 Expired", "END"}},
		"after a relist":               {given: []moment{at(50*s, bookmark(20)), at(10*s, relist(30, bubbleStaged("pa", "1", 25, "prod"))), at(5*s, bookmark(31))}, resourceVersion: "31"},
		"at a relist without changes":  {given: []moment{at(50*s, bookmark(20)), at(10*s, relist(30, bubbleStaged("pa", "1", 5, "prod"), bubbleStaged("da", "2", 6, "dev"), bubbleStaged("ph", "3", 7, "prod"), bubbleStaged("dh", "4", 8, "dev")))}, resourceVersion: "30"},
		"before one, revoked since":    {given: []moment{at(50*s, bookmark(20)), at(10*s, relist(30, bubbleStaged("pa", "1", 25, "prod"))), at(5*s, revoke("alice", "pa"))}, resourceVersion: "20", want: []string{"ERROR 410 Expired", "END"}},
		"at one, deleted by it":        {given: []moment{at(50*s, bookmark(20)), at(10*s, relist(30))}, resourceVersion: "30"},
		"at one, granted before it":    {given: []moment{at(100*s, grant("alice", "ph")), at(10*s, relist(30, bubbleStaged("ph", "3", 7, "prod")))}, resourceVersion: "30", want: []string{"ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=30"}},
		"at one, and what came later":  {given: []moment{at(50*s, bookmark(20)), at(10*s, relist(30, bubbleStaged("pa", "1", 5, "prod"), bubbleStaged("na", "9", 24, "prod"))), at(5*s, put("na", "9", 31, "prod"))}, resourceVersion: "30", want: []string{"MODIFIED na uid=9 rv=31 prod"}},
		"at one, of an event it shows": {given: []moment{at(50*s, bookmark(20)), at(10*s, relist(30, bubbleStaged("da", "2", 6, "dev"), bubbleStaged("pa", "1", 30, "prod")))}, resourceVersion: "30"},
	}
	for name, tt := range tests {
		bubbleTest(t, name, func(t *testing.T) {
			v := newStaged()
			bubbleAdvance(10 * time.Minute)
			if len(tt.given) > 0 && tt.given[0].before > 10*time.Minute {
				bubbleAdvance(tt.given[0].before)
			}
			start := time.Now()
			last := time.Duration(0)
			for i, m := range tt.given {
				if i > 0 {
					bubbleAdvance(last - m.before)
				}
				last = m.before
				m.do(v)
			}
			bubbleAdvance(last)
			require.LessOrEqual(t, time.Since(start), 3*time.Hour)

			client := bubbleWatch(t, v, "alice", WatchOptions{ResourceVersion: tt.resourceVersion, Selection: selections()["labels"], AllowBookmarks: true})
			got := client.read()
			last = 0
			for _, m := range tt.after {
				bubbleAdvance(m.before - last)
				last = m.before
				// The bookmarks of the minute are no news.
				got = append(got, bubbleNoBookmarks(client.read())...)
				m.do(v)
				got = append(got, client.read()...)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" && len(tt.want)+len(got) > 0 {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// TestResumeOfOneReplica holds, for a client that was up to date, that all it
// missed is told, whatever it was shown just before it went.
func TestResumeOfOneReplica(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		// before happens while the client watches, after while it is away.
		before, after []step
		want          []string
	}{
		"granted, then revoked": {before: []step{grant("alice", "ph")}, after: []step{revoke("alice", "ph")}, want: []string{"pa uid=1 rv=5"}},
		"granted, then every":   {before: []step{grant("alice", "ph")}, after: []step{grant("alice", "*")}, want: []string{"pa uid=1 rv=5", "ph uid=3 rv=7"}},
		"every, then none":      {before: []step{grant("alice", "*")}, after: []step{revoke("alice", "*")}, want: []string{"pa uid=1 rv=5"}},
		"created, then revoked": {before: []step{put("na", "9", 20, "prod")}, after: []step{revoke("alice", "na")}, want: []string{"pa uid=1 rv=5"}},
		"regranted, revoked":    {before: []step{revoke("alice", "pa"), grant("alice", "pa")}, after: []step{revoke("alice", "pa")}},
		"revoked, granted":      {before: []step{revoke("alice", "pa")}, after: []step{grant("alice", "pa")}, want: []string{"pa uid=1 rv=5"}},
		"granted, then deleted": {before: []step{grant("alice", "ph")}, after: []step{remove("ph", "3", 20)}, want: []string{"pa uid=1 rv=5"}},
		"granted, relabeled":    {before: []step{grant("alice", "ph")}, after: []step{put("ph", "3", 20, "dev")}, want: []string{"pa uid=1 rv=5"}},
		"granted, relabeled, revoked": {before: []step{grant("alice", "ph")},
			after: []step{put("ph", "3", 20, "dev"), revoke("alice", "ph")}, want: []string{"pa uid=1 rv=5"}},
		"granted, deleted, revoked": {before: []step{grant("alice", "ph")},
			after: []step{remove("ph", "3", 20), revoke("alice", "ph")}, want: []string{"pa uid=1 rv=5"}},
		"granted, relisted away": {before: []step{grant("alice", "ph")}, after: []step{relist(20, bubbleStaged("pa", "1", 5, "prod"))}, want: []string{"pa uid=1 rv=5"}},
		"granted, recreated, revoked": {before: []step{grant("alice", "ph")},
			after: []step{remove("ph", "3", 20), put("ph", "9", 21, "prod"), revoke("alice", "ph")}, want: []string{"pa uid=1 rv=5"}},
	}
	for name, tt := range tests {
		for _, away := range []time.Duration{0, time.Second, time.Minute, 5 * time.Minute} {
			bubbleTest(t, fmt.Sprintf("%s/%s", name, away), func(t *testing.T) {
				v := newStaged()
				bubbleAdvance(10 * time.Minute)
				v.Bookmark("15")
				held := map[string]*object{}
				resourceVersion := ""
				follow := func(c *bubbleClient) bool {
					t.Helper()
					for event, ok := c.next(); ok; event, ok = c.next() {
						if bubbleText(event) == "ERROR 410 Expired" {
							return false
						}
						resourceVersion = hold(t, held, event)
					}
					return true
				}
				o := WatchOptions{SendInitialEvents: new(true), AllowBookmarks: true, Selection: selections()["labels"]}
				client := bubbleWatch(t, v, "alice", o)
				follow(client)
				for _, step := range tt.before {
					step(v)
					follow(client)
				}
				bubbleAdvance(bookmarkPeriod)
				follow(client)
				client.Stop()

				for _, step := range tt.after {
					bubbleAdvance(away)
					step(v)
				}
				if !follow(bubbleWatch(t, v, "alice", WatchOptions{ResourceVersion: resourceVersion, AllowBookmarks: true, Selection: o.Selection})) {
					clear(held)
					follow(bubbleWatch(t, v, "alice", o))
				}
				var got []string
				for _, o := range held {
					got = append(got, describe(o))
				}
				slices.Sort(got)
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("what the client holds (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestResumeGoesOn holds that a resumed watch follows what happens then.
func TestResumeGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newStaged()
		bubbleAdvance(10 * time.Minute)
		v.Bookmark("20")
		bubbleAdvance(10 * time.Second)
		v.Upsert(bubbleStaged("pa", "1", 21, "prod"))
		client := bubbleWatch(t, v, "alice", WatchOptions{ResourceVersion: "20", AllowBookmarks: true})
		// While the first event waits for its reader.
		v.Upsert(bubbleStaged("na", "9", 22, "prod"))
		bubbleGrant(v, "alice", "ph")
		client.wantEvents(t, "MODIFIED pa uid=1 rv=21 prod", "ADDED na uid=9 rv=22 prod", "ADDED ph uid=3 rv=7 prod", "BOOKMARK rv=22")
		bubbleRevoke(v, "alice", "ph")
		client.wantEvents(t, "DELETED ph uid=3 rv=22 prod")
		bubbleAdvance(bookmarkPeriod)
		client.wantEvents(t, "BOOKMARK rv=22")
		assert.Equal(t, 1, v.Watches())
	})
}
