// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package quotas keeps what the namespaces of a Tenant use together within the
// ResourceQuotas that they share.
//
// Each namespace has a ResourceQuota of its own, whose limit is what the namespace
// uses and all that is left. The controller of namespaces makes it; this one keeps
// its limit up to date, and says in annotations what the tenant may use and does.
//
// Invariants:
//   - The limits are computed from what is used, which they have no influence on: a
//     write of this controller gives it nothing to do.
//   - A ResourceQuota that is as it should be is not written, and a tenant's are
//     written at most once for a batch of changes: each change of one is a change of
//     all.
package quotas

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/report"
	"tenancy.capsule.io/pkg/controller/usage"
	"tenancy.capsule.io/pkg/tenant"
)

// Name is the name of the controller, and of what it reports.
const Name = "quotas"

// FieldManager is the manager of the limits and of what is used. It is not that of
// the rest of these objects, so that neither takes away what the other one writes.
const FieldManager = objects.FieldManager + "-" + Name

type reconciler struct {
	client.Client
	reports *report.Store
	usage   *usage.Collector
}

// Reconcile shares the quotas of one Tenant.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	t := &capsulev1beta2.Tenant{}
	if err := r.Get(ctx, request.NamespacedName, t, client.UnsafeDisableDeepCopy); err != nil {
		if client.IgnoreNotFound(err) != nil {
			return reconcile.Result{}, fmt.Errorf("get tenant: %w", err)
		}
		r.usage.Set(request.Name, Name, nil)
		return reconcile.Result{}, nil
	}
	present, err := Of(ctx, r, t)
	if err != nil {
		return reconcile.Result{}, err
	}
	var items []corev1.ResourceQuotaSpec
	if t.Spec.ResourceQuotas != nil {
		items = t.Spec.ResourceQuotas.Items
	}
	var failures []error
	var used []usage.Resource
	for i := range items {
		quotas := present[strconv.Itoa(i)]
		total := Total(items[i].Hard, quotas)
		used = append(used, usageOf(t, i, total, len(quotas))...)
		if AreShared(t) {
			failures = append(failures, r.share(ctx, items[i].Hard, total, quotas))
		} else {
			failures = append(failures, r.unshare(ctx, quotas))
		}
	}
	r.usage.Set(t.Name, Name, used)
	err = errors.Join(failures...)
	if apierrors.IsConflict(err) {
		// What is used changed since: the cache will know.
		return reconcile.Result{RequeueAfter: batch}, nil
	}
	r.reports.Set(tenant.RefOf(t), Name, "", err)
	return reconcile.Result{}, err
}

// usageOf returns what is exported of a quota.
func usageOf(t *capsulev1beta2.Tenant, item int, total corev1.ResourceList, namespaces int) []usage.Resource {
	hard := t.Spec.ResourceQuotas.Items[item].Hard
	var resources []usage.Resource
	for _, name := range slices.Sorted(maps.Keys(hard)) {
		limit, used := hard[name], total[name]
		most := limit.AsApproximateFloat64()
		if !AreShared(t) {
			most *= float64(namespaces)
		}
		resources = append(resources, usage.Resource{
			Name: string(name), Index: strconv.Itoa(item), Used: used.AsApproximateFloat64(), Limit: &most,
		})
	}
	return resources
}

// share writes the limits that are not what they should be.
func (r *reconciler) share(ctx context.Context, hard, total corev1.ResourceList, quotas []*corev1.ResourceQuota) error {
	said := annotations(usedPrefix, total)
	return errors.Join(objects.InParallel(quotas, func(quota *corev1.ResourceQuota) error {
		changed := quota.DeepCopy()
		changed.Spec.Hard = Share(hard, total, quota.Status.Used)
		setUsed(changed, said)
		return r.write(ctx, quota, changed)
	})...)
}

// unshare takes the annotations off that are about a tenant.
func (r *reconciler) unshare(ctx context.Context, quotas []*corev1.ResourceQuota) error {
	return errors.Join(objects.InParallel(quotas, func(quota *corev1.ResourceQuota) error {
		changed := quota.DeepCopy()
		setUsed(changed, nil)
		return r.write(ctx, quota, changed)
	})...)
}

func setUsed(quota *corev1.ResourceQuota, said map[string]string) {
	maps.DeleteFunc(quota.Annotations, func(name, _ string) bool { return strings.HasPrefix(name, usedPrefix) })
	if quota.Annotations == nil {
		quota.Annotations = map[string]string{}
	}
	maps.Copy(quota.Annotations, said)
}

// write writes what differs, if anything, of this very state of the object.
func (r *reconciler) write(ctx context.Context, is, changed *corev1.ResourceQuota) error {
	if sameQuantities(is.Spec.Hard, changed.Spec.Hard) {
		changed.Spec.Hard = is.Spec.Hard
	}
	data, err := client.MergeFrom(is).Data(changed)
	if err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	if string(data) == "{}" {
		return nil
	}
	log.FromContext(ctx).V(2).Info("Write limits", "namespace", is.Namespace, "resourceQuota", is.Name)
	patch := client.MergeFromWithOptions(is, client.MergeFromWithOptimisticLock{})
	err = r.Patch(ctx, changed, patch, client.FieldOwner(FieldManager))
	if client.IgnoreNotFound(err) == nil || objects.IsNamespaceGone(err) {
		return nil
	}
	return fmt.Errorf("write ResourceQuota %s: %w", objects.Name(client.ObjectKeyFromObject(is)), err)
}

func sameQuantities(a, b corev1.ResourceList) bool {
	return maps.EqualFunc(a, b, func(x, y resource.Quantity) bool { return x.Cmp(y) == 0 })
}

// Add registers the controller.
func Add(mgr ctrl.Manager, reports *report.Store) error {
	collector, err := usage.Register(metrics.Registry)
	if err != nil {
		return err
	}
	return (&reconciler{Client: mgr.GetClient(), reports: reports, usage: collector}).watch(mgr)
}
