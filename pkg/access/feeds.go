// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"tenancy.capsule.io/pkg/internal/feed"
)

// Feeds returns the four feeds that fill the index and keep it current. The
// index is complete when each has been read, see feed.Feed.Check.
func (x *Index) Feeds(client kubernetes.Interface, clock clock.WithTicker) []*feed.Feed {
	rbac := client.RbacV1()
	return []*feed.Feed{
		feed.New("clusterroles", feed.Source(client, rbac.ClusterRoles().List, rbac.ClusterRoles().Watch), x.clusterRoleSink(), clock),
		feed.New("roles", feed.Source(client, rbac.Roles("").List, rbac.Roles("").Watch), x.roleSink(), clock),
		feed.New("clusterrolebindings", feed.Source(client, rbac.ClusterRoleBindings().List, rbac.ClusterRoleBindings().Watch), x.clusterRoleBindingSink(), clock),
		feed.New("rolebindings", feed.Source(client, rbac.RoleBindings("").List, rbac.RoleBindings("").Watch), x.roleBindingSink(), clock),
	}
}
