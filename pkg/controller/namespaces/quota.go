// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/quotas"
)

// resourceQuotas returns the kind of ResourceQuotas. Of one that the namespaces of a
// Tenant share another controller keeps the limits: package quotas.
func resourceQuotas() *kind {
	k := typed[*corev1.ResourceQuota]{
		gvk: corev1.SchemeGroupVersion.WithKind("ResourceQuota"), label: capsulev1beta2.ResourceQuotaLabel,
		object: &corev1.ResourceQuota{}, list: func() client.ObjectList { return &corev1.ResourceQuotaList{} },
		wanted: whoever(ResourceQuotas),
		says: func(is, want *corev1.ResourceQuota) bool {
			a, b := is.Spec, want.Spec
			if quotas.IsShared(want) {
				if !sameResources(a.Hard, b.Hard) {
					return false
				}
				a.Hard, b.Hard = nil, nil
			}
			return equality.Semantic.DeepEqual(a, b)
		},
		// To what a quota applies cannot be changed.
		canSay: func(is, want *corev1.ResourceQuota) bool {
			return equality.Semantic.DeepEqual(is.Spec.Scopes, want.Spec.Scopes)
		},
	}
	quotaKind := exactly(k, setQuota)
	quotaKind.create = func(ctx context.Context, a objects.Applier, want client.Object) error {
		quota, err := withShare(ctx, a, want.(*corev1.ResourceQuota)) //nolint:forcetypeassert // of this kind
		if err != nil {
			return err
		}
		// What is somebody else's says the same if it limits to as much.
		says := func(is, want *corev1.ResourceQuota) bool { return equality.Semantic.DeepEqual(is.Spec, want.Spec) }
		return objects.MakeExactly(ctx, a, quota, objects.Exactly[*corev1.ResourceQuota]{Says: says, CanSay: k.canSay, Set: setQuota})
	}
	return quotaKind
}

// withShare returns a wanted ResourceQuota as it is made: of one that is shared a
// namespace may use at first what the others leave.
func withShare(ctx context.Context, reader client.Reader, want *corev1.ResourceQuota) (*corev1.ResourceQuota, error) {
	if !quotas.IsShared(want) {
		return want, nil
	}
	owner := want.OwnerReferences[0]
	present, err := quotas.Of(ctx, reader, &metav1.ObjectMeta{Name: owner.Name, UID: owner.UID})
	if err != nil {
		return nil, err
	}
	quota := want.DeepCopy()
	total := quotas.Total(want.Spec.Hard, present[want.Labels[capsulev1beta2.ResourceQuotaLabel]])
	quota.Spec.Hard = quotas.Share(want.Spec.Hard, total, nil)
	return quota, nil
}

// ResourceQuotas returns what each namespace of a Tenant should have, without the
// namespace, one for each item of its list, as the API server completes it. The
// limits are those of the Tenant.
func ResourceQuotas(t *capsulev1beta2.Tenant) []*corev1.ResourceQuota {
	if t.Spec.ResourceQuotas == nil {
		return nil
	}
	items := t.Spec.ResourceQuotas.Items
	list := make([]*corev1.ResourceQuota, len(items))
	for i := range items {
		list[i] = &corev1.ResourceQuota{
			ObjectMeta: managedItem(t, capsulev1beta2.ResourceQuotaLabel, i),
			Spec:       *items[i].DeepCopy(),
		}
		roundUp(list[i].Spec.Hard)
		if quotas.AreShared(t) {
			list[i].Annotations = quotas.Limits(list[i].Spec.Hard)
		}
	}
	return list
}

// setQuota makes a ResourceQuota say what is wanted. Limits that are shared stay as
// they are. A resource that comes to be limited is at first limited to what is used.
func setQuota(quota, want *corev1.ResourceQuota) {
	hard := quota.Spec.Hard
	quota.Spec = *want.Spec.DeepCopy()
	if !quotas.IsShared(want) {
		return
	}
	for name, limit := range quota.Spec.Hard {
		switch present, ok := hard[name]; {
		case ok:
			limit = present
		default:
			if used, ok := quota.Status.Used[name]; ok {
				limit = used
			} else {
				limit = resource.Quantity{Format: limit.Format}
			}
		}
		quota.Spec.Hard[name] = limit
	}
}

func sameResources(a, b corev1.ResourceList) bool {
	return maps.EqualFunc(a, b, func(resource.Quantity, resource.Quantity) bool { return true })
}
