// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCPUSecondsIn(t *testing.T) {
	t.Parallel()
	const stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 7 8 20 0 9 0 12345 1 2 3\n"
	seconds, err := cpuSecondsIn(stat)
	require.NoError(t, err)
	assert.InDelta(t, 3, seconds, 1e-9)
	for _, broken := range []string{"", "42 (a) S 1", "42 (a) S 1 42 42 0 -1 4194560 100 0 0 0 x 50 7"} {
		_, err := cpuSecondsIn(broken)
		require.Error(t, err, broken)
	}

	own, err := os.ReadFile("/proc/self/stat")
	require.NoError(t, err)
	_, err = cpuSecondsIn(string(own))
	require.NoError(t, err)
}

func TestServersCPU(t *testing.T) {
	t.Parallel()
	before, after := serversCPU{TenancyAPIServer: 1, KubeAPIServer: 10}, serversCPU{TenancyAPIServer: 1.5, KubeAPIServer: 12}
	assert.Equal(t, serversCPU{TenancyAPIServer: 0.625, KubeAPIServer: 2.5}, after.since(before).per(800, 1000))
}
