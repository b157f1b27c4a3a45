// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package quotas

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/quotas/ledger"
)

const (
	// workers is how many Tenants are reconciled at once.
	workers = 2
	// batch is how long changes of what is used wait for more of them.
	batch = 500 * time.Millisecond
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

func (r *reconciler) watch(mgr ctrl.Manager) error {
	b := ctrl.NewControllerManagedBy(mgr).
		Named(Name).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Watches(&capsulev1beta2.Tenant{}, tenantHandler()).
		Watches(&corev1.ResourceQuota{}, quotaHandler())
	if r.ledgers != nil {
		b = b.Watches(objects.Metadata(ledger.Kind), ledgerHandler())
	}
	return b.Complete(r)
}

// ledgerHandler asks for the Tenants of ledgers, which the webhook has written or
// somebody has deleted.
func ledgerHandler() handler.EventHandler {
	return handler.Funcs{
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) { ask(q, e.ObjectNew) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { ask(q, e.Object) },
	}
}

// ask asks for the Tenant of an object that was made for one, after a while.
func ask(q queue, object client.Object) {
	if name := object.GetLabels()[capsulev1beta2.ManagedTenantLabel]; name != "" {
		q.AddAfter(request(name), batch)
	}
}

// tenantHandler asks for Tenants with other quotas.
func tenantHandler() handler.EventHandler {
	ask := func(q queue, t client.Object) { q.Add(request(t.GetName())) }
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { ask(q, e.Object) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { ask(q, e.Object) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			was, ok1 := e.ObjectOld.(*capsulev1beta2.Tenant)
			is, ok2 := e.ObjectNew.(*capsulev1beta2.Tenant)
			if !ok1 || !ok2 || was.UID != is.UID || was.Generation != is.Generation &&
				!equality.Semantic.DeepEqual(was.Spec.ResourceQuotas, is.Spec.ResourceQuotas) {
				ask(q, e.ObjectNew)
			}
		},
	}
}

// quotaHandler asks for the Tenants of ResourceQuotas that come, go, are used
// differently, are not what they were made, or were counted as they were asked to be.
func quotaHandler() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { ask(q, e.Object) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { ask(q, e.Object) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			was, ok1 := e.ObjectOld.(*corev1.ResourceQuota)
			is, ok2 := e.ObjectNew.(*corev1.ResourceQuota)
			if !ok1 || !ok2 || was.UID != is.UID ||
				!equality.Semantic.DeepEqual(was.Status.Used, is.Status.Used) ||
				!equality.Semantic.DeepEqual(was.Spec, is.Spec) ||
				!equality.Semantic.DeepEqual(was.Annotations, is.Annotations) ||
				is.Annotations[ledger.SettlingAnnotation] != "" && !equality.Semantic.DeepEqual(was.Status.Hard, is.Status.Hard) {
				ask(q, e.ObjectOld)
				ask(q, e.ObjectNew)
			}
		},
	}
}

func request(name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}
}
