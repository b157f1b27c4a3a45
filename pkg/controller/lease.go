// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// leaseReadInterval is how often the Lease is read at most, however often and by
	// however many metrics are asked for.
	leaseReadInterval = 5 * time.Second
	// leaseReadTimeout is how long a scrape waits for it.
	leaseReadTimeout = 2 * time.Second
	// ageUnknown is the value while it is not known when the Lease was renewed.
	ageUnknown = -1
)

var leaseAgeDesc = prometheus.NewDesc(
	"tenancy_controller_lease_age_seconds",
	"Time since a leader last renewed its Lease, as any replica sees it. Access stays as it was compiled while there is none; -1 if the Lease cannot be read.",
	nil, nil)

// leaseAge tells how long there has been no leader. Every replica collects it: one
// that does not lead is the one that is left to tell.
type leaseAge struct {
	reader client.Reader
	key    client.ObjectKey
	clock  clock.PassiveClock

	// lock protects what is below, and is held while the Lease is read.
	lock sync.Mutex
	// readAt is when the Lease was last asked for, successfully or not.
	readAt time.Time
	// renewedAt is zero if it is not known.
	renewedAt time.Time
}

var _ prometheus.Collector = &leaseAge{}

// Describe implements prometheus.Collector.
func (l *leaseAge) Describe(descs chan<- *prometheus.Desc) { descs <- leaseAgeDesc }

// Collect implements prometheus.Collector.
func (l *leaseAge) Collect(metrics chan<- prometheus.Metric) {
	age := float64(ageUnknown)
	if renewedAt := l.renewed(context.Background()); !renewedAt.IsZero() {
		// The leader's clock may be ahead of ours.
		age = max(0, l.clock.Since(renewedAt).Seconds())
	}
	metrics <- prometheus.MustNewConstMetric(leaseAgeDesc, prometheus.GaugeValue, age)
}

// renewed returns when the Lease was renewed, or zero if that is not known.
func (l *leaseAge) renewed(ctx context.Context) time.Time {
	l.lock.Lock()
	defer l.lock.Unlock()
	if now := l.clock.Now(); l.readAt.IsZero() || now.Sub(l.readAt) >= leaseReadInterval {
		l.readAt, l.renewedAt = now, l.read(ctx)
	}
	return l.renewedAt
}

func (l *leaseAge) read(ctx context.Context) time.Time {
	ctx, cancel := context.WithTimeout(ctx, leaseReadTimeout)
	defer cancel()
	var lease coordinationv1.Lease
	if err := l.reader.Get(ctx, l.key, &lease); err != nil {
		klog.FromContext(ctx).V(2).Info("Lease cannot be read", "lease", l.key, "err", err)
		return time.Time{}
	}
	if lease.Spec.RenewTime == nil {
		return time.Time{}
	}
	return lease.Spec.RenewTime.Time
}
