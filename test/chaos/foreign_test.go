// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// This file makes objects of others in the namespaces of Tenants, and holds that nobody
// touches them.

// foreignAnnotation is on what others have made. What it says is left to them.
const foreignAnnotation = "example.com/foreign"

func isForeign(object client.Object) bool {
	_, ok := object.GetAnnotations()[foreignAnnotation]
	return ok
}

// addForeign makes an object of somebody else's, that may look like one of the
// controller's, or have the name of one.
func (e edit) addForeign(ctx context.Context) error {
	var list corev1.NamespaceList
	if err := e.client.List(ctx, &list, client.HasLabels{capsulev1beta2.TenantLabel}); err != nil || len(list.Items) == 0 {
		return err
	}
	namespace := pick(e.random, list.Items...)
	tenant, k := namespace.Labels[capsulev1beta2.TenantLabel], pick(e.random, inNamespaces...)
	metadata := metav1.ObjectMeta{Namespace: namespace.Name, Annotations: map[string]string{foreignAnnotation: ""}}
	switch e.IntN(4) {
	case 0:
		metadata.Name = "mine"
	case 1:
		metadata.Name = "mine-marked"
		metadata.Labels = map[string]string{managerMark: "controller", tenantMark: tenant, indexMarks[k]: "0"}
	case 2:
		metadata.Name = "capsule-mine"
		metadata.Labels = map[string]string{indexMarks[k]: "0"}
	case 3:
		// Most Tenants have one, and few two.
		metadata.Name = "capsule-" + tenant + "-1"
	}
	return e.create(ctx, map[*kind]client.Object{
		roleBindings:    &rbacv1.RoleBinding{ObjectMeta: metadata, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}, Subjects: []rbacv1.Subject{visitor}},
		networkPolicies: &networkingv1.NetworkPolicy{ObjectMeta: metadata, Spec: networkingv1.NetworkPolicySpec{PodSelector: selector("app", "mine")}},
		limitRanges:     &corev1.LimitRange{ObjectMeta: metadata, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypePod, Max: amounts{"cpu": "64"}.list()}}}},
		resourceQuotas:  &corev1.ResourceQuota{ObjectMeta: metadata, Spec: corev1.ResourceQuotaSpec{Hard: amounts{"count/configmaps": "1000"}.list()}},
	}[k])
}

// judgeForeign holds that objects of others stay as they are, and go with their
// namespace only. That and the state of quotas are the control plane's.
func (r *replay) judgeForeign(e event, was client.Object) {
	if was == nil || !isForeign(was) {
		return
	}
	if e.object == nil {
		if namespace := r.history.latest(id{namespaces, client.ObjectKey{Name: e.key.Namespace}}); namespace != nil && namespace.GetDeletionTimestamp() == nil {
			r.violate(e, "it was deleted, and is not the controller's")
		}
		return
	}
	if diff := cmp.Diff(bare(was), bare(e.object)); diff != "" {
		r.violate(e, "it was changed, and is not the controller's (-was +is):\n%s", diff)
	}
}

// bare returns an object without its state, and what says when that was written.
func bare(object client.Object) client.Object {
	object = object.DeepCopyObject().(client.Object)
	object.SetResourceVersion("")
	object.SetManagedFields(nil)
	if quota, ok := object.(*corev1.ResourceQuota); ok {
		quota.Status = corev1.ResourceQuotaStatus{}
	}
	return object
}
