// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// TestTenantObject has each Tenant select something that there is, and give as many
// different things to its owners and guests as is waited for.
func TestTenantObject(t *testing.T) {
	t.Parallel()
	o := options{Tenants: 7, Nodes: 100}
	named := map[string]bool{}
	tiers := map[string]bool{}
	for _, class := range classes() {
		named[class.GetName()] = true
		tiers[class.GetLabels()[tierLabel]] = true
	}
	for i := range 40 {
		given := tenantObject(o, i)
		assert.NotEmpty(t, nodesOf(o, i%o.Tenants))
		assert.Equal(t, node(o, i%o.Tenants).Labels[poolLabel], given.Spec.NodeSelector[poolLabel])
		assert.True(t, tiers[given.Spec.PriorityClasses.MatchLabels[tierLabel]])
		for _, list := range []*capsulev1beta2.DefaultAllowedList{
			given.Spec.StorageClasses, given.Spec.IngressOptions.AllowedClasses, given.Spec.RuntimeClasses,
		} {
			for _, name := range list.Allowed {
				assert.True(t, named[name], "there is no class %s", name)
			}
		}

		sets := map[int]bool{}
		for _, owner := range given.Spec.Owners {
			sets[len(owner.ProxySettings)] = true
		}
		if hasGuest(i) {
			for _, guest := range proxySetting(i, "ns").Spec.Subjects {
				sets[len(guest.ProxySettings)] = true
			}
		}
		assert.Len(t, sets, setsOf(i), given.Name)
	}
}

// TestAsked has the Tenant whose owner asks be one with a namespace.
func TestAsked(t *testing.T) {
	t.Parallel()
	for _, count := range []int{1, 5, 19, 20, 1000} {
		o := options{CompiledTenants: count}
		found := false
		for _, s := range o.guestNamespaces() {
			found = found || s.tenant == o.asked() && s.name == o.home().name
		}
		assert.True(t, found, "%d Tenants", count)
	}
}

func TestAuthorizationsIn(t *testing.T) {
	t.Parallel()
	const metrics = `# TYPE authorization_attempts_total counter
authorization_attempts_total{result="allowed"} 7
# TYPE authorization_duration_seconds histogram
authorization_duration_seconds_bucket{result="allowed",le="0.001"} 30
authorization_duration_seconds_sum{result="allowed"} 0.0015
authorization_duration_seconds_count{result="allowed"} 30
authorization_duration_seconds_sum{result="no-opinion"} 5e-04
authorization_duration_seconds_count{result="no-opinion"} 10
`
	after, err := authorizationsIn(metrics)
	require.NoError(t, err)
	assert.InDelta(t, 40, after.count, 1e-9)
	assert.InDelta(t, 0.002, after.seconds, 1e-9)
	_, err = authorizationsIn("")
	require.ErrorContains(t, err, "authorization_duration_seconds")

	before := authorizations{count: 20, seconds: 0.001}
	mean, err := after.meanSince(before, 19)
	require.NoError(t, err)
	assert.InDelta(t, 50, mean, 1e-9)
	_, err = after.meanSince(before, 21)
	require.NoError(t, err, "the last one may not be counted yet")
	_, err = after.meanSince(before, 22)
	require.Error(t, err)
}

func TestEveryNth(t *testing.T) {
	t.Parallel()
	given := []int{0, 1, 2, 3, 4, 5, 6}
	var all []int
	for first := range 3 {
		all = append(all, everyNth(given, first, 3)...)
	}
	assert.ElementsMatch(t, given, all, "each is somebody's, and of one only")
	assert.Equal(t, []int{1, 4}, everyNth(given, 1, 3))
}
