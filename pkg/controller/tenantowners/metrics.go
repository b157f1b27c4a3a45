// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenantowners

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var conditionDesc = prometheus.NewDesc("capsule_tenantowner_condition",
	"Whether a condition of a TenantOwner is true.", []string{"name", "condition"}, nil)

// collector holds the conditions of TenantOwners for the metric: what is forgotten
// has no series.
type collector struct {
	// lock protects conditions.
	lock sync.Mutex
	// conditions are by the name of the TenantOwner and by type.
	conditions map[string]map[string]float64
}

func newCollector() *collector { return &collector{conditions: map[string]map[string]float64{}} }

func (c *collector) set(name string, conditions []metav1.Condition) {
	values := make(map[string]float64, len(conditions))
	for _, condition := range conditions {
		values[condition.Type] = 0
		if condition.Status == metav1.ConditionTrue {
			values[condition.Type] = 1
		}
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	c.conditions[name] = values
}

func (c *collector) forget(name string) {
	c.lock.Lock()
	defer c.lock.Unlock()
	delete(c.conditions, name)
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(descs chan<- *prometheus.Desc) { descs <- conditionDesc }

// Collect implements prometheus.Collector.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	c.lock.Lock()
	defer c.lock.Unlock()
	for name, conditions := range c.conditions {
		for condition, value := range conditions {
			metrics <- prometheus.MustNewConstMetric(conditionDesc, prometheus.GaugeValue, value, name, condition)
		}
	}
}
