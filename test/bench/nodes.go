// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tenancy.capsule.io/pkg/registry"
)

const (
	poolLabel = "platform.example.com/pool"
	// imagesOfNode is of how many images a node tells; a kubelet tells of 50 at
	// most. Half of the size of a node are these.
	imagesOfNode = 35
)

func nodeName(i int) string { return fmt.Sprintf("node-%04d.eu-central-1.compute.internal", i) }

// nodesOf returns the names of a tenant's nodes: every tenant has its share.
func nodesOf(o options, tenant int) []string {
	var names []string
	for i := tenant; i < o.Nodes; i += o.Tenants {
		names = append(names, nodeName(i))
	}
	return names
}

// node returns a node of a tenant's pool as a kubelet registers it.
func node(o options, i int) *corev1.Node {
	name := nodeName(i)
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				poolLabel:                          tenantName(i % o.Tenants),
				corev1.LabelHostname:               name,
				corev1.LabelArchStable:             "amd64",
				corev1.LabelOSStable:               "linux",
				corev1.LabelInstanceTypeStable:     "m6i.2xlarge",
				corev1.LabelTopologyRegion:         "eu-central-1",
				corev1.LabelTopologyZone:           "eu-central-1" + string("abc"[i%3]),
				"node.kubernetes.io/lifecycle":     "on-demand",
				"topology.ebs.csi.aws.com/zone":    "eu-central-1" + string("abc"[i%3]),
				"node-role.kubernetes.io/worker":   "",
				"platform.example.com/managed-by":  "cluster-autoscaler",
				"platform.example.com/os-release":  "2026.11",
				"platform.example.com/maintenance": "sunday",
			},
			Annotations: map[string]string{
				"csi.volume.kubernetes.io/nodeid":                        fmt.Sprintf(`{"ebs.csi.aws.com":"i-%017x"}`, i),
				"node.alpha.kubernetes.io/ttl":                           "0",
				"volumes.kubernetes.io/controller-managed-attach-detach": "true",
			},
		},
		Spec: corev1.NodeSpec{
			PodCIDR: podCIDR(i), PodCIDRs: []string{podCIDR(i)},
			ProviderID: fmt.Sprintf("aws:///eu-central-1%c/i-%017x", "abc"[i%3], i),
		},
		Status: nodeStatus(name, i),
	}
}

func podCIDR(i int) string { return fmt.Sprintf("10.%d.%d.0/24", 64+i/256, i%256) }

func nodeStatus(name string, i int) corev1.NodeStatus {
	resources := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
			corev1.ResourcePods: resource.MustParse("110"), corev1.ResourceEphemeralStorage: resource.MustParse("83873772Ki"),
			"hugepages-1Gi": resource.MustParse("0"), "hugepages-2Mi": resource.MustParse("0"),
		}
	}
	status := corev1.NodeStatus{
		Capacity: resources("8", "32408644Ki"), Allocatable: resources("7910m", "31391812Ki"),
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.0.%d.%d", i/250, 1+i%250)},
			{Type: corev1.NodeHostName, Address: name},
			{Type: corev1.NodeInternalDNS, Address: name},
		},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: 10250}},
		NodeInfo: corev1.NodeSystemInfo{
			MachineID: fmt.Sprintf("%032x", i), SystemUUID: fmt.Sprintf("ec2%05x-0000-4000-8000-%012x", i, i),
			BootID: fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i), KernelVersion: "6.12.40-63.114.amzn2023.x86_64",
			OSImage: "Amazon Linux 2023.8.20250721", ContainerRuntimeVersion: "containerd://2.0.5",
			KubeletVersion: "v1.36.3", OperatingSystem: "linux", Architecture: "amd64",
		},
	}
	for _, c := range []struct {
		kind            corev1.NodeConditionType
		status          corev1.ConditionStatus
		reason, message string
	}{
		{corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"},
		{corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"},
		{corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID", "kubelet has sufficient PID available"},
		{corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"},
	} {
		status.Conditions = append(status.Conditions, corev1.NodeCondition{
			Type: c.kind, Status: c.status, Reason: c.reason, Message: c.message,
			LastHeartbeatTime: metav1.NewTime(time.Now()), LastTransitionTime: metav1.NewTime(time.Now().Add(-time.Hour)),
		})
	}
	for image := range imagesOfNode {
		repository := fmt.Sprintf("registry.example.com/platform/component-%02d", (i+image)%60)
		status.Images = append(status.Images, corev1.ContainerImage{
			Names:     []string{fmt.Sprintf("%s@sha256:%064x", repository, image*1_000_000+i), fmt.Sprintf("%s:v1.%d.%d", repository, image, i%10)},
			SizeBytes: int64(20_000_000 + image*1_000_003),
		})
	}
	return status
}

// roleOfTenant lets the owner of a tenant get the tenant's nodes, as Capsule
// Tenancy compiles it: by name, one role and one binding for all.
func roleOfTenant(o options, tenant int) (*rbacv1.ClusterRole, *rbacv1.ClusterRoleBinding) {
	meta := metav1.ObjectMeta{
		Name:   "capsule:tenant:" + tenantName(tenant) + ":0",
		Labels: map[string]string{registry.TenantLabel: tenantName(tenant)},
	}
	return &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
			Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"nodes"}, ResourceNames: nodesOf(o, tenant),
		}}}, &rbacv1.ClusterRoleBinding{
			ObjectMeta: meta,
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: ownerOf(tenant)}},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name},
		}
}

// seedNodes makes the nodes.
func (e *environment) seedNodes(ctx context.Context, group *errgroup.Group) {
	for i := range e.options.Nodes {
		group.Go(func() error {
			_, err := e.admin.CoreV1().Nodes().Create(ctx, node(e.options, i), metav1.CreateOptions{})
			return ignoreExists("create node", err)
		})
	}
}

// bindNodes lets the owners of the tenants get their nodes.
func (e *environment) bindNodes(ctx context.Context, group *errgroup.Group) {
	for tenant := range e.options.Tenants {
		// A rule without names would be one about all nodes.
		if len(nodesOf(e.options, tenant)) == 0 {
			continue
		}
		group.Go(func() error {
			role, binding := roleOfTenant(e.options, tenant)
			_, err := e.admin.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{})
			if err := ignoreExists("create cluster role", err); err != nil {
				return err
			}
			_, err = e.admin.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{})
			return ignoreExists("create cluster role binding", err)
		})
	}
}
