// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestNodeSize holds a node to the size of real ones.
func TestNodeSize(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(node(options{Tenants: 50}, 999))
	require.NoError(t, err)
	assert.Greater(t, len(data), 8<<10)
	assert.Less(t, len(data), 15<<10)
}

// TestNodesOf has every node in the pool that its label names, and in no other.
func TestNodesOf(t *testing.T) {
	t.Parallel()
	for _, o := range []options{{Nodes: 1000, Tenants: 50}, {Nodes: 7, Tenants: 3}, {Nodes: 2, Tenants: 5}, {Nodes: 3, Tenants: 1}, {Tenants: 2}} {
		got := map[string]string{}
		for tenant := range o.Tenants {
			for _, name := range nodesOf(o, tenant) {
				assert.NotContains(t, got, name)
				got[name] = tenantName(tenant)
			}
		}
		want := map[string]string{}
		for i := range o.Nodes {
			n := node(o, i)
			want[n.Name] = n.Labels[poolLabel]
		}
		assert.Equal(t, want, got, "%d nodes, %d tenants", o.Nodes, o.Tenants)
	}
}

func TestNamespacesOf(t *testing.T) {
	t.Parallel()
	small := options{Namespaces: 30, Visible: 10, Tenants: 4}
	large := small
	large.Namespaces *= 10
	assert.Equal(t, namespacesOf(small)[:10], namespacesOf(large)[:10], "alice's have the same names in both")
	assert.Len(t, namespacesOf(large), 300)
	for i, s := range namespacesOf(large) {
		assert.Equal(t, i < small.Visible, s.tenant == 0, s.name)
		assert.Less(t, s.tenant, small.Tenants)
	}
}
