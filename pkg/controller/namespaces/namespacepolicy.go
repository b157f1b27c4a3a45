// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	policyv1alpha1 "tenancy.capsule.io/apis/policy/v1alpha1"
	"tenancy.capsule.io/pkg/tenant"
)

func namespacePolicies() *kind {
	return exactly(typed[*policyv1alpha1.NamespacePolicy]{
		gvk: policyv1alpha1.SchemeGroupVersion.WithKind("NamespacePolicy"), label: policyv1alpha1.NamespacePolicyLabel,
		object: &policyv1alpha1.NamespacePolicy{}, list: func() client.ObjectList { return &policyv1alpha1.NamespacePolicyList{} },
		wanted: whoever(NamespacePolicies),
		says: func(is, want *policyv1alpha1.NamespacePolicy) bool {
			return equality.Semantic.DeepEqual(is.Spec, want.Spec)
		},
	}, func(policy, want *policyv1alpha1.NamespacePolicy) { policy.Spec = *want.Spec.DeepCopy() })
}

// NamespacePolicies returns what each namespace of a Tenant should have, without the
// namespace: one, if there is something to say. Each is one object more to be written
// at the start, and to be kept in the memory of all API servers.
func NamespacePolicies(t *capsulev1beta2.Tenant) []*policyv1alpha1.NamespacePolicy {
	// What is left out the status of the Tenant says.
	pods, _ := tenant.PodMetadata(&t.Spec)
	services, _ := tenant.ServiceMetadata(&t.Spec)
	spec := policyv1alpha1.NamespacePolicySpec{
		PodMetadata: policyv1alpha1.ObjectMetadata(pods), ServiceMetadata: policyv1alpha1.ObjectMetadata(services),
	}
	if equality.Semantic.DeepEqual(spec, policyv1alpha1.NamespacePolicySpec{}) {
		return nil
	}
	return []*policyv1alpha1.NamespacePolicy{{
		ObjectMeta: managed(t, policyv1alpha1.NamespacePolicyName, policyv1alpha1.NamespacePolicyLabel, "0"),
		Spec:       spec,
	}}
}
