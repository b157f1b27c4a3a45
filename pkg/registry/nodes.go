// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	"tenancy.capsule.io/pkg/internal/feed"
)

var nodes = definition[v1alpha1.TenantNode, *v1alpha1.TenantNode, *corev1.Node]{
	plural: "tenantnodes", singular: "tenantnode", shortName: "tno", kind: "TenantNode",
	native: schema.GroupResource{Resource: "nodes"},
	source: func(d Dependencies) cache.ListerWatcher {
		client := d.Clients.Kubernetes.CoreV1().Nodes()
		return feed.Source(d.Clients.Kubernetes, client.List, client.Watch)
	},
	fromNative: func(n *corev1.Node) *v1alpha1.TenantNode { return (*v1alpha1.TenantNode)(n) },
	newList: func(m metav1.ListMeta, items []v1alpha1.TenantNode) runtime.Object {
		return &v1alpha1.TenantNodeList{ListMeta: m, Items: items}
	},
	fields: map[string]func(*v1alpha1.TenantNode) string{
		"spec.unschedulable": func(n *v1alpha1.TenantNode) string { return strconv.FormatBool(n.Spec.Unschedulable) },
	},
	columns: []metav1.TableColumnDefinition{
		nameColumn,
		{Name: "Status", Type: "string", Description: "The status of the node"},
		{Name: "Roles", Type: "string", Description: "The roles of the node"},
		ageColumn,
		{Name: "Version", Type: "string", Description: corev1.NodeSystemInfo{}.SwaggerDoc()["kubeletVersion"]},
		{Name: "Internal-IP", Type: "string", Priority: 1, Description: corev1.NodeStatus{}.SwaggerDoc()["addresses"]},
		{Name: "External-IP", Type: "string", Priority: 1, Description: corev1.NodeStatus{}.SwaggerDoc()["addresses"]},
		{Name: "OS-Image", Type: "string", Priority: 1, Description: corev1.NodeSystemInfo{}.SwaggerDoc()["osImage"]},
		{Name: "Kernel-Version", Type: "string", Priority: 1, Description: corev1.NodeSystemInfo{}.SwaggerDoc()["kernelVersion"]},
		{Name: "Container-Runtime", Type: "string", Priority: 1, Description: corev1.NodeSystemInfo{}.SwaggerDoc()["containerRuntimeVersion"]},
	},
	cells: func(n *v1alpha1.TenantNode) ([]any, error) {
		info := n.Status.NodeInfo
		kernel := orUnknown(info.KernelVersion)
		if info.Architecture != "" {
			kernel += " (" + info.Architecture + ")"
		}
		return []any{
			n.Name, nodeStatus(n), nodeRoles(n), age(n), info.KubeletVersion,
			nodeAddress(n, corev1.NodeInternalIP), nodeAddress(n, corev1.NodeExternalIP),
			orUnknown(info.OSImage), kernel, orUnknown(info.ContainerRuntimeVersion),
		}, nil
	},
}

// nodeStatus returns what the last condition of type Ready says, and whether pods
// may be scheduled.
func nodeStatus(n *v1alpha1.TenantNode) string {
	status := "Unknown"
	for i := range n.Status.Conditions {
		switch c := &n.Status.Conditions[i]; {
		case c.Type != corev1.NodeReady:
		case c.Status == corev1.ConditionTrue:
			status = "Ready"
		default:
			status = "NotReady"
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

// The labels that name the roles of a node: the role is in the key of the first,
// and the value of the second.
const (
	nodeRoleLabelPrefix = "node-role.kubernetes.io/"
	nodeRoleLabel       = "kubernetes.io/role"
)

func nodeRoles(n *v1alpha1.TenantNode) string {
	var roles []string
	for key, value := range n.Labels {
		if role, found := strings.CutPrefix(key, nodeRoleLabelPrefix); found {
			value = role
		} else if key != nodeRoleLabel {
			continue
		}
		if value != "" {
			roles = append(roles, value)
		}
	}
	slices.Sort(roles)
	return orNone(strings.Join(slices.Compact(roles), ","))
}

// nodeAddress returns the first address of a type.
func nodeAddress(n *v1alpha1.TenantNode, addressType corev1.NodeAddressType) string {
	for _, address := range n.Status.Addresses {
		if address.Type == addressType {
			return address.Address
		}
	}
	return none
}
