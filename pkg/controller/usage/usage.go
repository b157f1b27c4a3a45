// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package usage exports how much of limited resources tenants use.
//
// Invariant: there is a series for what was set last, and for nothing else.
package usage

import (
	"errors"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	usageDesc = prometheus.NewDesc("capsule_tenant_resource_usage",
		"How much of a limited resource a tenant uses.", []string{"tenant", "resource", "resourcequotaindex"}, nil)
	limitDesc = prometheus.NewDesc("capsule_tenant_resource_limit",
		"How much of a resource a tenant may use.", []string{"tenant", "resource", "resourcequotaindex"}, nil)
)

// Resource is what a tenant uses of one resource.
type Resource struct {
	// Name is the name of the resource, Index that of the quota in the Tenant, or
	// empty.
	Name, Index string
	Used        float64
	// Limit is nil where there is none.
	Limit *float64
}

// Collector holds what tenants use. All methods may be called concurrently.
type Collector struct {
	// lock protects resources.
	lock sync.Mutex
	// resources are by tenant and source. They are not modified.
	resources map[key][]Resource
}

type key struct{ tenant, source string }

// Register adds a collector to a registry, or returns the one that is there.
func Register(registry prometheus.Registerer) (*Collector, error) {
	c := &Collector{resources: map[key][]Resource{}}
	err := registry.Register(c)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if existing, ok := already.ExistingCollector.(*Collector); ok {
			return existing, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return c, nil
}

// Set replaces what a source says of a tenant. Nothing takes it back.
func (c *Collector) Set(tenant, source string, resources []Resource) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if len(resources) == 0 {
		delete(c.resources, key{tenant, source})
		return
	}
	c.resources[key{tenant, source}] = resources
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	descs <- usageDesc
	descs <- limitDesc
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(metrics chan<- prometheus.Metric) {
	c.lock.Lock()
	defer c.lock.Unlock()
	for of, resources := range c.resources {
		for _, r := range resources {
			metrics <- prometheus.MustNewConstMetric(usageDesc, prometheus.GaugeValue, r.Used, of.tenant, r.Name, r.Index)
			if r.Limit != nil {
				metrics <- prometheus.MustNewConstMetric(limitDesc, prometheus.GaugeValue, *r.Limit, of.tenant, r.Name, r.Index)
			}
		}
	}
}
