// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta1 "tenancy.capsule.io/apis/capsule/v1beta1"
	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/tenant"
)

// conflictDelay is after how long a write is tried again that somebody else was
// ahead of: the cache learns of it in the meantime.
const conflictDelay = 50 * time.Millisecond

var tenantKind = capsulev1beta2.SchemeGroupVersion.WithKind(tenant.Kind)

// tenantReconciler compiles what a Tenant, and the ProxySettings in its
// namespaces, give.
type tenantReconciler struct {
	compiler compiler
	reader   client.Reader
	owners   *owners.Resolver
	policy   policy
	// recorder is nil where another reconciler says on Tenants what is wrong.
	recorder events.EventRecorder
	report   Report
	ages     *ages
}

// Reconcile implements reconcile.Reconciler.
func (r *tenantReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var t capsulev1beta2.Tenant
	switch err := r.reader.Get(ctx, req.NamespacedName, &t); {
	case apierrors.IsNotFound(err):
		r.ages.forget(req.Name)
		return retryConflict(r.compiler.compile(ctx, owner{gvk: tenantKind, name: req.Name}, nil))
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("get tenant: %w", err)
	}
	settings, err := r.settings(ctx, &t)
	if err != nil {
		return ctrl.Result{}, err
	}
	owners, err := r.owners.Of(ctx, &t)
	if err != nil {
		return ctrl.Result{}, err
	}
	groups, problems := r.policy.tenantGroups(&t, owners, settings)
	err = r.compiler.compile(ctx, tenantOwner(&t), groups)
	if apierrors.IsConflict(err) {
		return retryConflict(err)
	}
	r.tell(&t, problems, err)
	if err != nil {
		return ctrl.Result{}, err
	}
	r.ages.compiled(t.Name)
	return ctrl.Result{RequeueAfter: verifyInterval}, nil
}

// settings returns the subjects of the ProxySettings in the namespaces of the
// Tenant.
func (r *tenantReconciler) settings(ctx context.Context, t *capsulev1beta2.Tenant) ([]capsulev1beta2.ProxySubject, error) {
	namespaces, err := objects.NamespacesOf(ctx, r.reader, t)
	if err != nil {
		return nil, err
	}
	var subjects []capsulev1beta2.ProxySubject
	for i := range namespaces {
		var list capsulev1beta1.ProxySettingList
		if err := r.reader.List(ctx, &list, client.InNamespace(namespaces[i].Name), client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("list proxysettings: %w", err)
		}
		for j := range list.Items {
			subjects = append(subjects, list.Items[j].Spec.Subjects...)
		}
	}
	return subjects, nil
}

// tell reports what an administrator should know. Events of the same words are
// counted, not repeated.
func (r *tenantReconciler) tell(t *capsulev1beta2.Tenant, problems field.ErrorList, err error) {
	r.report(tenant.RefOf(t), err)
	if r.recorder == nil {
		return
	}
	for _, problem := range problems {
		r.recorder.Eventf(t, nil, corev1.EventTypeWarning, reasonInvalidField, "Compile", "%s", shortened(problem.Error(), maxNote))
	}
	if err != nil {
		r.recorder.Eventf(t, nil, corev1.EventTypeWarning, "AccessFailed", "Compile", "%s", shortened(err.Error(), maxNote))
	}
}

func tenantOwner(t *capsulev1beta2.Tenant) owner {
	return owner{
		gvk: tenantKind, name: t.Name, uid: t.UID,
		labels: map[string]string{capsulev1beta2.TenantLabel: t.Name},
	}
}

// retryConflict has a write tried again that was refused because somebody else
// wrote first, which is no failure.
func retryConflict(err error) (ctrl.Result, error) {
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: conflictDelay}, nil
	}
	return ctrl.Result{}, err
}

// The API server refuses longer notes of events and messages of conditions.
const (
	maxNote    = 1024
	maxMessage = 32 * 1024
)

// shortened returns as much of a text as fits into so many bytes.
func shortened(text string, limit int) string {
	const more = " ..."
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-len(more)], "") + more
}
