// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/discovery"
	baseversion "k8s.io/component-base/version"
	"k8s.io/klog/v2"
)

// warnOfNewerCluster tells the operator if the cluster may have fields that the
// linked types do not know: a typed view drops them.
func warnOfNewerCluster(ctx context.Context, cluster discovery.ServerVersionInterface) {
	logger := klog.FromContext(ctx)
	newer, err := isNewer(cluster)
	switch {
	case err != nil:
		logger.Error(err, "Could not compare the cluster's version with that of the linked types")
	case newer:
		logger.Info("Warning: the cluster is newer than the linked types, fields that they do not know are missing in the views", "typesOf", baseversion.DefaultKubeBinaryVersion)
	}
}

func isNewer(cluster discovery.ServerVersionInterface) (bool, error) {
	info, err := cluster.ServerVersion()
	if err != nil {
		return false, fmt.Errorf("get version of the cluster: %w", err)
	}
	present, err := version.ParseGeneric(info.GitVersion)
	if err != nil {
		return false, fmt.Errorf("parse version of the cluster: %w", err)
	}
	linked, err := version.ParseMajorMinor(baseversion.DefaultKubeBinaryVersion)
	if err != nil {
		return false, fmt.Errorf("parse version of the linked types: %w", err)
	}
	return present.Major() > linked.Major() || present.Major() == linked.Major() && present.Minor() > linked.Minor(), nil
}
