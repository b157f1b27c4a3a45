// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/metrics/testutil"
)

// counters returns the counters of a view, by name and labels.
func counters(t *testing.T, resource string) map[string]float64 {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	require.NoError(t, err)
	counters := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			key, mine := []string{strings.TrimPrefix(family.GetName(), subsystem+"_")}, false
			for _, label := range metric.GetLabel() {
				if label.GetName() == "resource" {
					mine = label.GetValue() == resource
				} else {
					key = append(key, label.GetName()+"="+label.GetValue())
				}
			}
			if mine {
				counters[strings.Join(key, " ")] = metric.GetCounter().GetValue()
			}
		}
	}
	return counters
}

func TestForWatches(t *testing.T) {
	t.Parallel()
	w := ForWatches("tests")
	// What may happen is there from the start, at 0.
	events := map[string]float64{
		"watch_events_total cause=access type=ADDED":     0,
		"watch_events_total cause=access type=DELETED":   0,
		"watch_events_total cause=access type=MODIFIED":  0,
		"watch_events_total cause=initial type=ADDED":    0,
		"watch_events_total cause=initial type=DELETED":  0,
		"watch_events_total cause=initial type=MODIFIED": 0,
		"watch_events_total cause=object type=ADDED":     0,
		"watch_events_total cause=object type=DELETED":   0,
		"watch_events_total cause=object type=MODIFIED":  0,
		"watch_events_total cause=time type=BOOKMARK":    0,
	}
	if diff := cmp.Diff(events, counters(t, "tests")); diff != "" {
		t.Errorf("at the start (-want +got):\n%s", diff)
	}

	for _, eventType := range []watch.EventType{watch.Added, watch.Modified, watch.Deleted} {
		for _, cause := range []EventCause{CausedByObject, CausedByAccess, CausedByInitial} {
			w.Event(eventType, cause)
		}
	}
	w.Event(watch.Bookmark, CausedByTime)
	w.Event(watch.Bookmark, CausedByTime)
	for _, result := range []ResumeResult{ResumedAccepted, ResumedExpired, ResumedTooLarge} {
		w.Resumed(result)
	}
	for _, cause := range []EndCause{EndedByClient, EndedByDeadline, EndedBySlowness, EndedByStaleness, EndedByReset} {
		w.Ended(cause)
	}
	for key := range events {
		events[key]++
	}
	events["watch_events_total cause=time type=BOOKMARK"]++
	for _, key := range []string{
		"watch_resumes_total result=accepted", "watch_resumes_total result=expired", "watch_resumes_total result=too_large",
		"watches_ended_total cause=client", "watches_ended_total cause=deadline", "watches_ended_total cause=slowness",
		"watches_ended_total cause=staleness", "watches_ended_total cause=reset",
	} {
		events[key] = 1
	}
	if diff := cmp.Diff(events, counters(t, "tests")); diff != "" {
		t.Errorf("each once, bookmarks twice (-want +got):\n%s", diff)
	}

	// The same view, of a second server in the process.
	ForWatches("tests").Event(watch.Added, CausedByAccess)
	assert.InDelta(t, 2, counters(t, "tests")["watch_events_total cause=access type=ADDED"], 0)
	assert.Empty(t, counters(t, "others"))
}

func TestWatchesGauge(t *testing.T) {
	t.Parallel()
	open := 3
	collector := &Collector{}
	collector.state.Store(&State{Watches: map[string]func() int{"tenantnamespaces": func() int { return open }, "tenantnodes": func() int { return 0 }}})
	registry := metrics.NewKubeRegistry()
	require.NoError(t, registry.CustomRegister(collector))
	for _, want := range []string{"3", "4"} {
		assert.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP tenancy_apiserver_watches [ALPHA] Number of open watches of a view.
# TYPE tenancy_apiserver_watches gauge
tenancy_apiserver_watches{resource="tenantnamespaces"} `+want+`
tenancy_apiserver_watches{resource="tenantnodes"} 0
`), "tenancy_apiserver_watches"))
		open++
	}
}
