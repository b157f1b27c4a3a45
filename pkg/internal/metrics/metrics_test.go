// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/metrics/testutil"
)

func TestCollector(t *testing.T) {
	t.Parallel()
	lag := 1500 * time.Millisecond
	objects := 7
	collector := &Collector{}
	collector.state.Store(&State{
		Lags: map[string]func() (time.Duration, bool){
			"namespaces":   func() (time.Duration, bool) { return lag, true },
			"clusterroles": func() (time.Duration, bool) { return time.Hour, false },
		},
		Objects: map[string]func() int{"tenantnamespaces": func() int { return objects }},
	})
	registry := metrics.NewKubeRegistry()
	require.NoError(t, registry.CustomRegister(collector))
	compare := func(want string) {
		t.Helper()
		assert.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(want),
			"tenancy_apiserver_feed_lag_seconds", "tenancy_apiserver_view_objects"))
	}
	compare(`
# HELP tenancy_apiserver_feed_lag_seconds [ALPHA] Time since the API server last proved that a resource is current; -1 until it has been read.
# TYPE tenancy_apiserver_feed_lag_seconds gauge
tenancy_apiserver_feed_lag_seconds{resource="clusterroles"} -1
tenancy_apiserver_feed_lag_seconds{resource="namespaces"} 1.5
# HELP tenancy_apiserver_view_objects [ALPHA] Number of objects in a view.
# TYPE tenancy_apiserver_view_objects gauge
tenancy_apiserver_view_objects{resource="tenantnamespaces"} 7
`)

	// What is collected is what holds at the scrape.
	lag, objects = 0, 0
	compare(`
# HELP tenancy_apiserver_feed_lag_seconds [ALPHA] Time since the API server last proved that a resource is current; -1 until it has been read.
# TYPE tenancy_apiserver_feed_lag_seconds gauge
tenancy_apiserver_feed_lag_seconds{resource="clusterroles"} -1
tenancy_apiserver_feed_lag_seconds{resource="namespaces"} 0
# HELP tenancy_apiserver_view_objects [ALPHA] Number of objects in a view.
# TYPE tenancy_apiserver_view_objects gauge
tenancy_apiserver_view_objects{resource="tenantnamespaces"} 0
`)
}

func TestRegister(t *testing.T) {
	t.Parallel()
	Register(State{})
	assert.NotPanics(t, func() { Register(State{}) }, "a second time")
	ListDuration.WithLabelValues("tenantnamespaces").Observe(0.001)
	AccessUpdateDuration.Observe(0.001)
	w := ForWatches("tenantnamespaces")
	w.Resumed(ResumedAccepted)
	w.Ended(EndedByClient)

	families, err := legacyregistry.DefaultGatherer.Gather()
	require.NoError(t, err)
	labels := map[string][]string{}
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), subsystem) {
			continue
		}
		names := []string{}
		for _, label := range family.GetMetric()[0].GetLabel() {
			names = append(names, label.GetName())
		}
		labels[family.GetName()] = names
	}
	assert.Equal(t, map[string][]string{
		"tenancy_apiserver_list_duration_seconds":          {"resource"},
		"tenancy_apiserver_access_update_duration_seconds": {},
		"tenancy_apiserver_watch_events_total":             {"cause", "resource", "type"},
		"tenancy_apiserver_watch_resumes_total":            {"resource", "result"},
		"tenancy_apiserver_watches_ended_total":            {"cause", "resource"},
	}, labels, "labels that are bounded")
}
