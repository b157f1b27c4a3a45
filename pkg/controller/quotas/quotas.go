// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package quotas keeps what the namespaces of a Tenant use together within the
// ResourceQuotas that they share.
//
// Each namespace has a ResourceQuota of its own, whose limit is what the namespace
// uses and all that is left. The controller of namespaces makes it; this one keeps
// its limit up to date, and says in annotations what the tenant may use and does. The
// limits follow what is used after a moment. That no more is used meanwhile, by all
// of them at once, is up to the webhook of package resourcequotas, which asks the
// ledgers that this controller makes: see package ledger.
//
// Invariants:
//   - The limits are computed from what is used, which they have no influence on: a
//     write of this controller gives it nothing to do.
//   - A ResourceQuota that is as it should be is not written, and a tenant's are
//     written at most once for a batch of changes: each change of one is a change of
//     all. One in whose namespace objects have just been let in by the webhook is
//     left alone for a while, unless its grants change.
//   - The ledger is read after the ResourceQuotas, and each write is of the state that
//     was read: two leaders, or one with an old cache, do no harm.
package quotas

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/quotas/ledger"
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
	// ledgers is nil if no webhook asks them.
	ledgers *ledger.Store
	// live reads from the API server.
	live  client.Reader
	clock clock.PassiveClock
}

// Reconcile shares the quotas of one Tenant.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	t := &capsulev1beta2.Tenant{}
	if err := r.Get(ctx, request.NamespacedName, t, client.UnsafeDisableDeepCopy); err != nil {
		if client.IgnoreNotFound(err) != nil {
			return reconcile.Result{}, fmt.Errorf("get tenant: %w", err)
		}
		r.usage.Set(request.Name, Name, nil)
		return reconcile.Result{}, r.prune(ctx, request.Name, nil)
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
	var wake time.Time
	for i := range items {
		quotas := present[strconv.Itoa(i)]
		total := Total(items[i].Hard, quotas)
		used = append(used, usageOf(t, i, total, len(quotas))...)
		if AreShared(t) {
			at, err := r.share(ctx, t, i, total, quotas)
			failures = append(failures, err)
			if !at.IsZero() && (wake.IsZero() || at.Before(wake)) {
				wake = at
			}
		} else {
			failures = append(failures, r.unshare(ctx, quotas))
		}
	}
	r.usage.Set(t.Name, Name, used)
	failures = append(failures, r.prune(ctx, t.Name, t))
	err = errors.Join(failures...)
	if apierrors.IsConflict(err) {
		// What is used changed since: the cache will know.
		return reconcile.Result{RequeueAfter: batch}, nil
	}
	r.reports.Set(tenant.RefOf(t), Name, "", err)
	if err != nil || wake.IsZero() {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: max(wake.Sub(r.clock.Now()), batch)}, nil
}

// prune deletes the ledgers of a Tenant that are of no quota any more. The Tenant is
// nil if it is gone.
func (r *reconciler) prune(ctx context.Context, name string, t *capsulev1beta2.Tenant) error {
	if r.ledgers == nil {
		return nil
	}
	items := 0
	if t != nil && AreShared(t) {
		items = len(t.Spec.ResourceQuotas.Items)
	}
	return r.ledgers.Prune(ctx, name, items)
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

// share takes the next step with the grants of a quota, and writes the limits that are
// not what they should be. It returns when there is more to do if nothing happens, or
// zero.
func (r *reconciler) share(
	ctx context.Context, t *capsulev1beta2.Tenant, item int, total corev1.ResourceList, quotas []*corev1.ResourceQuota,
) (time.Time, error) {
	hard := t.Spec.ResourceQuotas.Items[item].Hard
	apply := func(quota *corev1.ResourceQuota) bool {
		quota.Spec.Hard = Share(hard, total, quota.Status.Used)
		setNotes(quota, annotations(usedPrefix, total), nil)
		return true
	}
	var wake time.Time
	if r.ledgers != nil {
		p, err := r.grant(ctx, t, item, total, quotas)
		if err != nil {
			return wake, err
		}
		apply, wake = p.apply, p.wake
	}
	return wake, errors.Join(objects.InParallel(quotas, func(quota *corev1.ResourceQuota) error {
		changed := quota.DeepCopy()
		if !apply(changed) {
			return nil
		}
		return r.write(ctx, quota, changed)
	})...)
}

// grant writes what changes in the ledger of a quota, and returns what its
// ResourceQuotas are to say then.
func (r *reconciler) grant(
	ctx context.Context, t *capsulev1beta2.Tenant, item int, total corev1.ResourceList, quotas []*corev1.ResourceQuota,
) (*plan, error) {
	hard, now := t.Spec.ResourceQuotas.Items[item].Hard, r.clock.Now()
	l, err := r.ledgers.Get(ctx, t, item)
	if err != nil {
		return nil, err
	}
	if l == nil {
		l = opened(hard, quotas, now)
		if err := r.ledgers.Create(ctx, t, item, l); err != nil {
			return nil, err
		}
	}
	p := newPlan(l, hard, total, quotas, now)
	if err := r.dropGone(ctx, t, item, p); err != nil {
		return nil, err
	}
	changed, err := l.Changed()
	if err != nil || !changed {
		return p, err
	}
	return p, r.ledgers.Update(ctx, l)
}

// dropGone drops from the ledger what was granted to namespaces that have no
// ResourceQuota any more. One that is made from now on says nothing of a grant.
func (r *reconciler) dropGone(ctx context.Context, t *capsulev1beta2.Tenant, item int, p *plan) error {
	for _, namespace := range p.gone {
		key := client.ObjectKey{Namespace: namespace, Name: ledger.Name(t, item)}
		switch err := r.live.Get(ctx, key, &corev1.ResourceQuota{}); {
		case apierrors.IsNotFound(err):
			delete(p.ledger.Accounts, namespace)
		case err != nil:
			return fmt.Errorf("get ResourceQuota %s: %w", key, err)
		}
	}
	return nil
}

// unshare takes the annotations off that are about a tenant.
func (r *reconciler) unshare(ctx context.Context, quotas []*corev1.ResourceQuota) error {
	return errors.Join(objects.InParallel(quotas, func(quota *corev1.ResourceQuota) error {
		if !hasNotes(quota) {
			return nil
		}
		changed := quota.DeepCopy()
		setNotes(changed, nil, nil)
		return r.write(ctx, quota, changed)
	})...)
}

// isNote reports whether an annotation is about the tenant, or about the grants of the
// namespace.
func isNote(name string) bool {
	return strings.HasPrefix(name, usedPrefix) || name == ledger.GrantedAnnotation || name == ledger.SettlingAnnotation
}

func hasNotes(quota *corev1.ResourceQuota) bool {
	for name := range quota.Annotations {
		if isNote(name) {
			return true
		}
	}
	return false
}

// setNotes replaces what a ResourceQuota says about the tenant, and about the grants
// of its namespace.
func setNotes(quota *corev1.ResourceQuota, said ...map[string]string) {
	maps.DeleteFunc(quota.Annotations, func(name, _ string) bool { return isNote(name) })
	if quota.Annotations == nil {
		quota.Annotations = map[string]string{}
	}
	for _, annotations := range said {
		maps.Copy(quota.Annotations, annotations)
	}
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

// Add registers the controller. The ledgers are nil if no webhook asks them: what is
// used may exceed the limit then, until the limits of the namespaces have followed.
func Add(mgr ctrl.Manager, reports *report.Store, ledgers *ledger.Store) error {
	collector, err := usage.Register(metrics.Registry)
	if err != nil {
		return err
	}
	return (&reconciler{
		Client: mgr.GetClient(), reports: reports, usage: collector, ledgers: ledgers, live: mgr.GetAPIReader(), clock: clock.RealClock{},
	}).watch(mgr)
}
