// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta1 "tenancy.capsule.io/apis/capsule/v1beta1"
	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

const (
	conditionReady = "Ready"

	reasonSucceeded    = "Succeeded"
	reasonRefused      = "Refused"
	reasonNoTenant     = "NoTenant"
	reasonUnsupported  = "Unsupported"
	reasonInvalidField = "InvalidField"
)

// maxRefused is how many refused operations a status lists: there may be more of
// them than an object may be large.
const maxRefused = 100

// settingReconciler writes the status of ProxySettings: what of them is granted.
// The Tenant's reconciler grants it.
type settingReconciler struct {
	client  client.Client
	tenants tenantFinder
	policy  policy
}

// Reconcile implements reconcile.Reconciler.
func (r *settingReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var setting capsulev1beta1.ProxySetting
	if err := r.client.Get(ctx, req.NamespacedName, &setting); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	namespace := objects.Metadata(objects.NamespaceKind)
	if err := r.client.Get(ctx, client.ObjectKey{Name: setting.Namespace}, namespace); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	t, err := objects.TenantOf(ctx, r.tenants.reader, namespace)
	if err != nil {
		return ctrl.Result{}, err
	}
	status := r.policy.settingStatus(&setting, t)
	if equality.Semantic.DeepEqual(status, setting.Status) {
		return ctrl.Result{}, nil
	}
	written := setting.DeepCopy()
	written.Status = status
	patch := client.MergeFrom(&setting)
	if err := r.client.Status().Patch(ctx, written, patch, client.FieldOwner(objects.FieldManager)); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("write status: %w", err)
	}
	return ctrl.Result{}, nil
}

// settingStatus returns what the status of a ProxySetting is to be, given the Tenant
// of its namespace, which may be nil.
func (p policy) settingStatus(setting *capsulev1beta1.ProxySetting, t *capsulev1beta2.Tenant) capsulev1beta2.ProxySettingStatus {
	status := *setting.Status.DeepCopy()
	status.ObservedGeneration = setting.Generation
	status.Refused = nil
	condition := metav1.Condition{Type: conditionReady, ObservedGeneration: setting.Generation}
	if t == nil {
		condition.Status, condition.Reason = metav1.ConditionFalse, reasonNoTenant
		condition.Message = fmt.Sprintf("the namespace %s belongs to no tenant: a ProxySetting gives what the owners of its namespace's tenant hold", setting.Namespace)
		meta.SetStatusCondition(&status.Conditions, condition)
		return status
	}
	refused := p.refused(t, setting.Spec.Subjects)
	status.Refused = refused[:min(len(refused), maxRefused)]
	invalid := slices.IndexFunc(setting.Spec.Subjects, func(s capsulev1beta2.ProxySubject) bool {
		_, err := tenant.Subject(s.UserSpec)
		return err != nil
	})
	beyond := slices.IndexFunc(setting.Spec.Subjects, func(s capsulev1beta2.ProxySubject) bool { return len(s.ClusterResources) > 0 })
	switch {
	case invalid >= 0:
		_, err := tenant.Subject(setting.Spec.Subjects[invalid].UserSpec)
		condition.Status, condition.Reason = metav1.ConditionFalse, reasonInvalidField
		condition.Message = fmt.Sprintf("spec.subjects[%d]: %v", invalid, err)
	case beyond >= 0:
		condition.Status, condition.Reason = metav1.ConditionFalse, reasonRefused
		condition.Message = fmt.Sprintf("spec.subjects[%d].clusterResources: these are given by GlobalProxySettings only", beyond)
	case len(refused) > 0:
		condition.Status, condition.Reason = metav1.ConditionFalse, reasonRefused
		condition.Message = fmt.Sprintf("no owner of the tenant %s holds %s of %s; %d operations are refused, see refused",
			t.Name, refused[0].Operation, refused[0].Kind, len(refused))
	default:
		condition.Status, condition.Reason = metav1.ConditionTrue, reasonSucceeded
		condition.Message = fmt.Sprintf("granted as part of the tenant %s", t.Name)
	}
	meta.SetStatusCondition(&status.Conditions, condition)
	return status
}
