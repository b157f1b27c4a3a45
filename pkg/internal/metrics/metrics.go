// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package metrics holds the metrics of tenancy-apiserver. Their labels are names
// of resources from a fixed table, never of objects, users or requests.
package metrics

import (
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

const subsystem = "tenancy_apiserver"

var (
	// ListDuration observes the time that a view takes to collect a list, in
	// seconds, without authentication and encoding.
	ListDuration = metrics.NewHistogramVec(&metrics.HistogramOpts{
		Subsystem:      subsystem,
		Name:           "list_duration_seconds",
		Help:           "Time to collect the objects of a list that its reader may get, by view.",
		Buckets:        metrics.ExponentialBuckets(0.00001, 4, 10),
		StabilityLevel: metrics.ALPHA,
	}, []string{"resource"})

	// AccessUpdateDuration observes the time that the access index takes to apply
	// one RBAC event, in seconds.
	AccessUpdateDuration = metrics.NewHistogram(&metrics.HistogramOpts{
		Subsystem:      subsystem,
		Name:           "access_update_duration_seconds",
		Help:           "Time to apply one RBAC event to the access index.",
		Buckets:        metrics.ExponentialBuckets(0.00001, 4, 10),
		StabilityLevel: metrics.ALPHA,
	})

	feedLag = metrics.NewDesc(
		subsystem+"_feed_lag_seconds",
		"Time since the API server last proved that a resource is current; -1 until it has been read.",
		[]string{"resource"}, nil, metrics.ALPHA, "")

	viewObjects = metrics.NewDesc(
		subsystem+"_view_objects",
		"Number of objects in a view.",
		[]string{"resource"}, nil, metrics.ALPHA, "")

	present = &Collector{}
	once    sync.Once
)

// Register adds the metrics to the registry that the server exposes, and has the
// state collected from now on. The registry is the process's: a second server in
// it takes the place of the first one's state.
func Register(state State) {
	present.state.Store(&state)
	once.Do(func() {
		legacyregistry.MustRegister(ListDuration, AccessUpdateDuration)
		legacyregistry.CustomMustRegister(present)
	})
}

// State is what a Collector reads when metrics are scraped.
type State struct {
	// Lags returns, by resource, the time since the feed's last sign of life;
	// false before the first.
	Lags map[string]func() (time.Duration, bool)
	// Objects and Watches return, by view, the number of objects in it and that of
	// its open watches.
	Objects, Watches map[string]func() int
}

// Collector collects what has a present value.
type Collector struct {
	metrics.BaseStableCollector
	state atomic.Pointer[State]
}

// DescribeWithStability sends the descriptions of the collected metrics.
func (c *Collector) DescribeWithStability(ch chan<- *metrics.Desc) {
	ch <- feedLag
	ch <- viewObjects
	ch <- watchers
}

// CollectWithStability sends the present values.
func (c *Collector) CollectWithStability(ch chan<- metrics.Metric) {
	state := c.state.Load()
	for resource, lag := range state.Lags {
		value := -1.0
		if lag, ok := lag(); ok {
			value = lag.Seconds()
		}
		ch <- metrics.NewLazyConstMetric(feedLag, metrics.GaugeValue, value, resource)
	}
	for resource, objects := range state.Objects {
		ch <- metrics.NewLazyConstMetric(viewObjects, metrics.GaugeValue, float64(objects()), resource)
	}
	for resource, watches := range state.Watches {
		ch <- metrics.NewLazyConstMetric(watchers, metrics.GaugeValue, float64(watches()), resource)
	}
}
