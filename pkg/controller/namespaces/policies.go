// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"context"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
)

// exactly returns how objects of a kind are written that say in their spec what they
// have to say, and nothing that anybody adds. Server-side apply would leave the
// additions of others: a limit more, or another direction of traffic.
func exactly[T client.Object](k typed[T], set func(object, want T)) *kind {
	k.create = func(ctx context.Context, a objects.Applier, want T) error {
		return objects.MakeExactly(ctx, a, want, objects.Exactly[T]{Says: k.says, CanSay: k.canSay, Set: set})
	}
	k.change = func(ctx context.Context, a objects.Applier, is, want T) error {
		return objects.ChangeExactly(ctx, a, is, want, set)
	}
	return kindOf(k)
}

// managedItem returns the metadata of the object for an item of a list of the Tenant.
func managedItem(t *capsulev1beta2.Tenant, label string, i int) metav1.ObjectMeta {
	item := strconv.Itoa(i)
	return managed(t, objects.ItemName(t.Name, item), label, item)
}

func networkPolicies() *kind {
	return exactly(typed[*networkingv1.NetworkPolicy]{
		gvk: networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"), label: capsulev1beta2.NetworkPolicyLabel,
		object: &networkingv1.NetworkPolicy{}, list: func() client.ObjectList { return &networkingv1.NetworkPolicyList{} },
		wanted: whoever(NetworkPolicies),
		says: func(is, want *networkingv1.NetworkPolicy) bool {
			return equality.Semantic.DeepEqual(is.Spec, want.Spec)
		},
	}, func(policy, want *networkingv1.NetworkPolicy) { policy.Spec = *want.Spec.DeepCopy() })
}

// NetworkPolicies returns what each namespace of a Tenant should have, without the
// namespace, one for each item of its list, as the API server completes it.
func NetworkPolicies(t *capsulev1beta2.Tenant) []*networkingv1.NetworkPolicy {
	if t.Spec.NetworkPolicies == nil {
		return nil
	}
	items := t.Spec.NetworkPolicies.Items
	policies := make([]*networkingv1.NetworkPolicy, len(items))
	for i := range items {
		policies[i] = &networkingv1.NetworkPolicy{
			ObjectMeta: managedItem(t, capsulev1beta2.NetworkPolicyLabel, i),
			Spec:       *items[i].DeepCopy(),
		}
		completePolicy(&policies[i].Spec)
	}
	return policies
}

// completePolicy does what k8s.io/kubernetes/pkg/apis/networking/v1 does.
func completePolicy(spec *networkingv1.NetworkPolicySpec) {
	for i := range spec.Ingress {
		completePorts(spec.Ingress[i].Ports)
	}
	for i := range spec.Egress {
		completePorts(spec.Egress[i].Ports)
	}
	if len(spec.PolicyTypes) > 0 {
		return
	}
	spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	if len(spec.Egress) > 0 {
		spec.PolicyTypes = append(spec.PolicyTypes, networkingv1.PolicyTypeEgress)
	}
}

func completePorts(ports []networkingv1.NetworkPolicyPort) {
	for i := range ports {
		if ports[i].Protocol == nil {
			ports[i].Protocol = new(corev1.ProtocolTCP)
		}
	}
}

func limitRanges() *kind {
	return exactly(typed[*corev1.LimitRange]{
		gvk: corev1.SchemeGroupVersion.WithKind("LimitRange"), label: capsulev1beta2.LimitRangeLabel,
		object: &corev1.LimitRange{}, list: func() client.ObjectList { return &corev1.LimitRangeList{} },
		wanted: whoever(LimitRanges),
		says:   func(is, want *corev1.LimitRange) bool { return equality.Semantic.DeepEqual(is.Spec, want.Spec) },
	}, func(limits, want *corev1.LimitRange) { limits.Spec = *want.Spec.DeepCopy() })
}

// LimitRanges returns what each namespace of a Tenant should have, without the
// namespace, one for each item of its list, as the API server completes it.
func LimitRanges(t *capsulev1beta2.Tenant) []*corev1.LimitRange {
	if t.Spec.LimitRanges == nil {
		return nil
	}
	items := t.Spec.LimitRanges.Items
	ranges := make([]*corev1.LimitRange, len(items))
	for i := range items {
		ranges[i] = &corev1.LimitRange{
			ObjectMeta: managedItem(t, capsulev1beta2.LimitRangeLabel, i),
			Spec:       *items[i].DeepCopy(),
		}
		for j := range ranges[i].Spec.Limits {
			completeLimits(&ranges[i].Spec.Limits[j])
		}
	}
	return ranges
}

// completeLimits does what k8s.io/kubernetes/pkg/apis/core/v1 does: the limits of
// containers stand in for defaults that are not there.
func completeLimits(item *corev1.LimitRangeItem) {
	if item.Type == corev1.LimitTypeContainer {
		item.Default = withMissing(item.Default, item.Max)
		item.DefaultRequest = withMissing(withMissing(item.DefaultRequest, item.Default), item.Min)
	}
	for _, list := range []corev1.ResourceList{item.Max, item.Min, item.Default, item.DefaultRequest, item.MaxLimitRequestRatio} {
		roundUp(list)
	}
}

func withMissing(list, from corev1.ResourceList) corev1.ResourceList {
	if list == nil {
		list = corev1.ResourceList{}
	}
	for name, quantity := range from {
		if _, ok := list[name]; !ok {
			list[name] = quantity.DeepCopy()
		}
	}
	return list
}

// roundUp rounds as the API server does.
func roundUp(list corev1.ResourceList) {
	for name, quantity := range list {
		quantity.RoundUp(resource.Milli)
		list[name] = quantity
	}
}
