// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
)

// verifyInterval is after how long access is compared with what it should be, even
// if nothing changed. It bounds the age of a Tenant's access in a controller that
// works.
const verifyInterval = 5 * time.Minute

var ageDesc = prometheus.NewDesc(
	"tenancy_controller_access_age_seconds",
	"Time since the roles and bindings of a Tenant were last found, or made, to be what it gives.",
	[]string{"tenant"}, nil)

// ages collect how old compiled access is.
type ages struct {
	clock clock.PassiveClock

	lock sync.Mutex
	// times are by Tenant; lock protects it.
	times map[string]time.Time
}

var _ prometheus.Collector = &ages{}

func newAges(c clock.PassiveClock) *ages { return &ages{clock: c, times: map[string]time.Time{}} }

func (a *ages) compiled(tenant string) {
	a.lock.Lock()
	defer a.lock.Unlock()
	a.times[tenant] = a.clock.Now()
}

func (a *ages) forget(tenant string) {
	a.lock.Lock()
	defer a.lock.Unlock()
	delete(a.times, tenant)
}

// Describe implements prometheus.Collector.
func (a *ages) Describe(descs chan<- *prometheus.Desc) { descs <- ageDesc }

// Collect implements prometheus.Collector.
func (a *ages) Collect(metrics chan<- prometheus.Metric) {
	a.lock.Lock()
	times := maps.Clone(a.times)
	a.lock.Unlock()
	now := a.clock.Now()
	for tenant, at := range times {
		metrics <- prometheus.MustNewConstMetric(ageDesc, prometheus.GaugeValue, now.Sub(at).Seconds(), tenant)
	}
}
