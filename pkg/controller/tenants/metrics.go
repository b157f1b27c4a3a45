// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"errors"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/usage"
)

// namespacesResource is the resource of the namespace quota.
const namespacesResource = "namespaces"

var (
	conditionDesc = prometheus.NewDesc("capsule_tenant_condition",
		"Whether a condition of a tenant is true.", []string{"tenant", "condition"}, nil)
	countDesc = prometheus.NewDesc("capsule_tenant_namespace_count",
		"Number of namespaces of a tenant.", []string{"tenant"}, nil)
	relationshipDesc = prometheus.NewDesc("capsule_tenant_namespace_relationship",
		"1 for each namespace of a tenant.", []string{"tenant", "target_namespace"}, nil)
)

// collector holds the state of Tenants for the metrics: what is forgotten has no
// series.
type collector struct {
	// lock protects tenants.
	lock    sync.Mutex
	tenants map[string]sample
}

// sample is a Tenant's state. The namespaces are not modified.
type sample struct {
	conditions map[string]float64
	namespaces []string
}

// register adds a collector to a registry, or returns the one that is there.
func register(registry prometheus.Registerer) (*collector, error) {
	c := &collector{tenants: map[string]sample{}}
	err := registry.Register(c)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if existing, ok := already.ExistingCollector.(*collector); ok {
			return existing, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return c, nil
}

func (c *collector) set(t *capsulev1beta2.Tenant, status *capsulev1beta2.TenantStatus) {
	s := sample{conditions: map[string]float64{}, namespaces: status.Namespaces}
	for _, condition := range status.Conditions {
		s.conditions[condition.Type] = 0
		if condition.Status == metav1.ConditionTrue {
			s.conditions[condition.Type] = 1
		}
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	c.tenants[t.Name] = s
}

// usageOf returns how many namespaces a Tenant has, and may have.
func usageOf(t *capsulev1beta2.Tenant, status *capsulev1beta2.TenantStatus) []usage.Resource {
	used := usage.Resource{Name: namespacesResource, Used: float64(len(status.Namespaces))}
	if t.Spec.NamespaceOptions != nil && t.Spec.NamespaceOptions.Quota != nil {
		used.Limit = new(float64(*t.Spec.NamespaceOptions.Quota))
	}
	return []usage.Resource{used}
}

func (c *collector) forget(name string) {
	c.lock.Lock()
	defer c.lock.Unlock()
	delete(c.tenants, name)
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{conditionDesc, countDesc, relationshipDesc} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	for name, s := range c.tenants {
		for condition, value := range s.conditions {
			gauge(conditionDesc, value, name, condition)
		}
		gauge(countDesc, float64(len(s.namespaces)), name)
		for _, namespace := range s.namespaces {
			gauge(relationshipDesc, 1, name, namespace)
		}
	}
}
