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
func (e edit) addForeign(ctx context.Context, namespace, tenant string) error {
	if is, err := e.has(ctx, namespace); !is {
		return err
	}
	k := pick(e.random, inNamespaces...)
	metadata := metav1.ObjectMeta{Namespace: namespace, Annotations: map[string]string{foreignAnnotation: ""}}
	switch e.IntN(7) {
	case 0, 1:
		metadata.Name = "mine"
	case 2, 3:
		metadata.Name = "mine-marked"
		metadata.Labels = map[string]string{managerMark: "controller", tenantMark: tenant, indexMarks[k]: "0"}
	case 4, 5:
		metadata.Name = "capsule-mine"
		metadata.Labels = map[string]string{indexMarks[k]: "0"}
	default:
		// The name of what Tenants seldom have, and do not miss.
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
