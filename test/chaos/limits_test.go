// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// completed is an item of a Tenant's list as it is written there, and as the API server
// completes it in an object.
type completed[S any] struct{ written, is S }

type amounts map[corev1.ResourceName]string

func (a amounts) list() corev1.ResourceList {
	list := corev1.ResourceList{}
	for name, amount := range a {
		list[name] = resource.MustParse(amount)
	}
	return list
}

// What Tenants impose: there are few, so that they change places in their lists and
// Tenants have them in common.
var (
	policyItems = []completed[networkingv1.NetworkPolicySpec]{
		{
			networkingv1.NetworkPolicySpec{PodSelector: selector("app", "db")},
			networkingv1.NetworkPolicySpec{PodSelector: selector("app", "db"), PolicyTypes: []networkingv1.PolicyType{"Ingress"}},
		},
		{
			networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{{Port: new(intstr.FromInt32(80))}}}}},
			networkingv1.NetworkPolicySpec{
				Ingress:     []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{{Port: new(intstr.FromInt32(80)), Protocol: new(corev1.ProtocolTCP)}}}},
				PolicyTypes: []networkingv1.PolicyType{"Ingress"},
			},
		},
		{
			networkingv1.NetworkPolicySpec{Egress: outside},
			networkingv1.NetworkPolicySpec{Egress: outside, PolicyTypes: []networkingv1.PolicyType{"Ingress", "Egress"}},
		},
	}
	outside = []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0"}}}}}

	limitItems = []completed[corev1.LimitRangeSpec]{
		same(corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypePersistentVolumeClaim, Max: amounts{"storage": "1Gi"}.list()}}}),
		{
			corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer, Max: amounts{"cpu": "2"}.list(), Min: amounts{"memory": "1Mi"}.list()}}},
			corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
				Type: corev1.LimitTypeContainer, Max: amounts{"cpu": "2"}.list(), Min: amounts{"memory": "1Mi"}.list(),
				Default: amounts{"cpu": "2"}.list(), DefaultRequest: amounts{"cpu": "2", "memory": "1Mi"}.list(),
			}}},
		},
	}

	// Every namespace has a ConfigMap. There are fewer namespaces than the least of these
	// limits: none is ever in anybody's way.
	quotaItems = []completed[corev1.ResourceQuotaSpec]{
		same(corev1.ResourceQuotaSpec{Hard: amounts{"count/configmaps": "40", "services": "5"}.list()}),
		same(corev1.ResourceQuotaSpec{Hard: amounts{"count/configmaps": "60"}.list()}),
		same(corev1.ResourceQuotaSpec{Hard: amounts{"pods": "5"}.list(), Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}}),
	}
)

func selector(key, value string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

func same[S any](item S) completed[S] { return completed[S]{item, item} }

// items draws a list of them.
func items[S any](r random, from []completed[S]) []S {
	var list []S
	for _, item := range some(r, 1+r.IntN(2), from) {
		list = append(list, item.written)
	}
	return list
}

// complete returns a list as the API server completes its items.
func complete[S any](list []S, known []completed[S]) []any {
	specs := make([]any, len(list))
	for i, item := range list {
		for _, k := range known {
			if equality.Semantic.DeepEqual(item, k.written) {
				specs[i] = k.is
			}
		}
	}
	return specs
}

func (r random) networkPolicies() *capsulev1beta2.NetworkPolicies {
	if r.oneIn(4) {
		return nil
	}
	return &capsulev1beta2.NetworkPolicies{Items: items(r, policyItems)}
}

func (r random) limitRanges() *capsulev1beta2.LimitRanges {
	if r.oneIn(4) {
		return nil
	}
	return &capsulev1beta2.LimitRanges{Items: items(r, limitItems)}
}

func (r random) resourceQuotas() *capsulev1beta2.ResourceQuotas {
	if r.oneIn(4) {
		return nil
	}
	return &capsulev1beta2.ResourceQuotas{
		Scope: pick(r, capsulev1beta2.ResourceQuotaScopeTenant, capsulev1beta2.ResourceQuotaScopeNamespace),
		Items: items(r, quotaItems),
	}
}
