// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func TestLeaseAge(t *testing.T) {
	scheme, err := NewScheme()
	require.NoError(t, err)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	clock := clocktesting.NewFakePassiveClock(now)
	renewed := metav1.NewMicroTime(now.Add(-2 * time.Second))
	key := client.ObjectKey{Namespace: "tenancy-system", Name: Name}
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	reads, failure := 0, error(nil)
	reader := fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
			reads++
			if failure != nil {
				return failure
			}
			return c.Get(ctx, key, object, opts...)
		},
	}).Build()
	age := &leaseAge{reader: reader, key: key, clock: clock}
	require.NoError(t, prometheus.NewPedanticRegistry().Register(age))
	value := func() float64 { return testutil.ToFloat64(age) }
	later := func(d time.Duration) { clock.SetTime(clock.Now().Add(d)) }

	assert.InDelta(t, -1, value(), 0, "there is no Lease")
	later(leaseReadInterval)
	require.NoError(t, reader.Create(t.Context(), lease))
	assert.InDelta(t, -1, value(), 0, "nobody has renewed it")
	later(leaseReadInterval)
	lease.Spec.RenewTime = &renewed
	require.NoError(t, reader.Update(t.Context(), lease))
	assert.InDelta(t, 12, value(), 0.001)

	reads = 0
	later(leaseReadInterval - time.Second)
	assert.InDelta(t, 16, value(), 0.001, "it grows while nobody renews")
	assert.Zero(t, reads, "and is not read for that")
	later(time.Second)
	value()
	assert.Equal(t, 1, reads)

	failure = errors.New("cut off")
	later(leaseReadInterval)
	assert.InDelta(t, -1, value(), 0)
	failure = nil
	value()
	assert.Equal(t, 2, reads, "failures are not repeated sooner either")

	later(leaseReadInterval)
	ahead := metav1.NewMicroTime(clock.Now().Add(time.Minute))
	lease.Spec.RenewTime = &ahead
	require.NoError(t, reader.Update(t.Context(), lease))
	assert.InDelta(t, 0, value(), 0, "another clock is ahead")

	assert.NoError(t, testutil.CollectAndCompare(age, strings.NewReader(`
# HELP tenancy_controller_lease_age_seconds Time since a leader last renewed its Lease, as any replica sees it. Access stays as it was compiled while there is none; -1 if the Lease cannot be read.
# TYPE tenancy_controller_lease_age_seconds gauge
tenancy_controller_lease_age_seconds 0
`)))
}
