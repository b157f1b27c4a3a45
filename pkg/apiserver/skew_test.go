// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"testing"

	"github.com/stretchr/testify/assert"
	apiversion "k8s.io/apimachinery/pkg/version"
	baseversion "k8s.io/component-base/version"
)

type clusterVersion string

func (v clusterVersion) ServerVersion() (*apiversion.Info, error) {
	return &apiversion.Info{GitVersion: string(v)}, nil
}

func TestIsNewer(t *testing.T) {
	t.Parallel()
	for given, want := range map[clusterVersion]bool{
		"v1.36.3":      false,
		"v1.36.3+k3s1": false,
		"v1.99.0":      true,
		"v2.0.0-rc.1":  true,
		clusterVersion("v" + baseversion.DefaultKubeBinaryVersion + ".9"): false,
	} {
		got, err := isNewer(given)
		assert.NoError(t, err, given)
		assert.Equal(t, want, got, given)
	}
	_, err := isNewer(clusterVersion("unknown"))
	assert.ErrorContains(t, err, "parse version of the cluster")
}
