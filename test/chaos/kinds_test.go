// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// kind is a kind of objects that are recorded.
type kind struct {
	// group, version and resource are as rules and URLs have them.
	group, version, resource string
	list                     func() client.ObjectList
	// new returns an object that can be created once it has a name; nil for kinds that
	// the churn makes otherwise, or not at all.
	new func() client.Object
}

var (
	tenants  = &kind{group: "capsule.clastix.io", version: "v1beta2", resource: "tenants", list: func() client.ObjectList { return &capsulev1beta2.TenantList{} }}
	settings = &kind{group: "capsule.clastix.io", version: "v1beta2", resource: "proxysettings", list: func() client.ObjectList { return &capsulev1beta2.ProxySettingList{} }}
	globals  = &kind{group: "capsule.clastix.io", version: "v1beta2", resource: "globalproxysettings", list: func() client.ObjectList { return &capsulev1beta2.GlobalProxySettingsList{} }}
	// tenantOwners, configurations and accounts say who owns Tenants, besides these.
	tenantOwners   = &kind{group: "capsule.clastix.io", version: "v1beta2", resource: "tenantowners", list: func() client.ObjectList { return &capsulev1beta2.TenantOwnerList{} }}
	configurations = &kind{group: "capsule.clastix.io", version: "v1beta2", resource: "capsuleconfigurations", list: func() client.ObjectList { return &capsulev1beta2.CapsuleConfigurationList{} }}
	accounts       = &kind{version: "v1", resource: "serviceaccounts", list: func() client.ObjectList { return &corev1.ServiceAccountList{} }}

	namespaces = &kind{version: "v1", resource: "namespaces", list: func() client.ObjectList { return &corev1.NamespaceList{} }}
	nodes      = &kind{
		version: "v1", resource: "nodes", list: func() client.ObjectList { return &corev1.NodeList{} },
		new: func() client.Object { return &corev1.Node{} },
	}
	volumes        = &kind{version: "v1", resource: "persistentvolumes", list: func() client.ObjectList { return &corev1.PersistentVolumeList{} }}
	storageClasses = &kind{
		group: "storage.k8s.io", version: "v1", resource: "storageclasses", list: func() client.ObjectList { return &storagev1.StorageClassList{} },
		new: func() client.Object { return &storagev1.StorageClass{Provisioner: "example.com/none"} },
	}
	ingressClasses = &kind{
		group: "networking.k8s.io", version: "v1", resource: "ingressclasses", list: func() client.ObjectList { return &networkingv1.IngressClassList{} },
		new: func() client.Object {
			return &networkingv1.IngressClass{Spec: networkingv1.IngressClassSpec{Controller: "example.com/none"}}
		},
	}
	priorityClasses = &kind{
		group: "scheduling.k8s.io", version: "v1", resource: "priorityclasses", list: func() client.ObjectList { return &schedulingv1.PriorityClassList{} },
		new: func() client.Object { return &schedulingv1.PriorityClass{Value: 1} },
	}
	runtimeClasses = &kind{
		group: "node.k8s.io", version: "v1", resource: "runtimeclasses", list: func() client.ObjectList { return &nodev1.RuntimeClassList{} },
		new: func() client.Object { return &nodev1.RuntimeClass{Handler: "none"} },
	}

	clusterRoles        = &kind{group: rbacv1.GroupName, version: "v1", resource: "clusterroles", list: func() client.ObjectList { return &rbacv1.ClusterRoleList{} }}
	clusterRoleBindings = &kind{group: rbacv1.GroupName, version: "v1", resource: "clusterrolebindings", list: func() client.ObjectList { return &rbacv1.ClusterRoleBindingList{} }}
	roles               = &kind{group: rbacv1.GroupName, version: "v1", resource: "roles", list: func() client.ObjectList { return &rbacv1.RoleList{} }}
	roleBindings        = &kind{group: rbacv1.GroupName, version: "v1", resource: "rolebindings", list: func() client.ObjectList { return &rbacv1.RoleBindingList{} }}

	networkPolicies = &kind{group: "networking.k8s.io", version: "v1", resource: "networkpolicies", list: func() client.ObjectList { return &networkingv1.NetworkPolicyList{} }}
	limitRanges     = &kind{version: "v1", resource: "limitranges", list: func() client.ObjectList { return &corev1.LimitRangeList{} }}
	resourceQuotas  = &kind{version: "v1", resource: "resourcequotas", list: func() client.ObjectList { return &corev1.ResourceQuotaList{} }}
)

var (
	// selected are those of which access is given by name.
	selected = []*kind{nodes, volumes, storageClasses, ingressClasses, priorityClasses, runtimeClasses, namespaces, tenants}
	// rbac is what access is compiled to.
	rbac = []*kind{clusterRoles, clusterRoleBindings, roles, roleBindings}
	// imposed is what limits the namespaces of Tenants.
	imposed = []*kind{networkPolicies, limitRanges, resourceQuotas}
	// inNamespaces is all that each namespace of a Tenant has some of.
	inNamespaces = append([]*kind{roleBindings}, imposed...)
	// recorded are all kinds.
	recorded = slices.Concat([]*kind{settings, globals, tenantOwners, configurations, accounts}, rbac, imposed, selected)
)

func (k *kind) String() string { return k.resource }
