// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package volumes labels each PersistentVolume with the tenant of its claim.
//
// Invariants:
//   - A label is written only while the claim that the volume is bound to, the very
//     one, is in a namespace of that tenant: names of claims, namespaces and Tenants
//     are not trusted, they may have been given anew.
//   - A label is never removed: the data on a volume stays its tenant's when the
//     claim, the namespace or the Tenant is gone. The next claim replaces it.
package volumes

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

// Name is the name of the controller.
const Name = "volumes"

// conflictDelay is how long a volume is left alone that somebody else just changed. The
// event of the change comes sooner.
const conflictDelay = time.Second

var claimKind = corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim")

type reconciler struct {
	objects.Applier
}

// Reconcile labels one volume.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	volume := &corev1.PersistentVolume{}
	if err := r.Get(ctx, request.NamespacedName, volume, client.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !isClaimed(volume) {
		return reconcile.Result{}, nil
	}
	// What the cache says is enough to leave it as it is.
	claim := *volume.Spec.ClaimRef
	if ref, err := r.tenantOf(ctx, r, claim.Namespace); err != nil || ref == nil || hasLabel(volume, *ref) {
		return reconcile.Result{}, err
	}
	// Read in this order: a claim that is there, and was when the volume was seen,
	// was in the namespace in between.
	ref, err := r.tenantOf(ctx, r.Live, claim.Namespace)
	if err != nil || ref == nil || hasLabel(volume, *ref) {
		return reconcile.Result{}, err
	}
	if alive, err := r.isAlive(ctx, claim); err != nil || !alive {
		return reconcile.Result{}, err
	}
	log.FromContext(ctx).Info("Label volume", "tenant", ref.Name, "claim", client.ObjectKey{Namespace: claim.Namespace, Name: claim.Name})
	err = r.label(ctx, volume, *ref)
	if apierrors.IsConflict(err) {
		// Volumes change several times while they are bound.
		return reconcile.Result{RequeueAfter: conflictDelay}, nil
	}
	return reconcile.Result{}, err
}

// isClaimed reports whether a volume has a claim at present.
func isClaimed(volume *corev1.PersistentVolume) bool {
	phase := volume.Status.Phase
	return volume.Spec.ClaimRef != nil && phase != corev1.VolumeReleased && phase != corev1.VolumeFailed
}

func hasLabel(volume *corev1.PersistentVolume, ref tenant.Ref) bool {
	return volume.Labels[capsulev1beta2.TenantLabel] == ref.Name
}

// tenantOf returns the living Tenant that a namespace belongs to, or nil.
func (r *reconciler) tenantOf(ctx context.Context, namespaces client.Reader, name string) (*tenant.Ref, error) {
	namespace := objects.Metadata(objects.NamespaceKind)
	if err := namespaces.Get(ctx, client.ObjectKey{Name: name}, namespace); err != nil {
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get namespace %s: %w", name, err)
		}
		return nil, nil
	}
	t, err := objects.TenantOf(ctx, r, namespace)
	if t == nil || err != nil {
		return nil, err
	}
	return new(tenant.RefOf(t)), nil
}

// isAlive reports whether this very claim exists. One without a UID was written into
// the volume by an administrator, for a claim to come: its namespace is meant.
func (r *reconciler) isAlive(ctx context.Context, ref corev1.ObjectReference) (bool, error) {
	if ref.UID == "" {
		return true, nil
	}
	claim := objects.Metadata(claimKind)
	if err := r.Live.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, claim); err != nil {
		if client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("get claim %s/%s: %w", ref.Namespace, ref.Name, err)
		}
		return false, nil
	}
	return claim.UID == ref.UID, nil
}

// label writes the label, unless the volume has changed since it was seen.
func (r *reconciler) label(ctx context.Context, volume *corev1.PersistentVolume, ref tenant.Ref) error {
	err := r.Apply(ctx, corev1ac.PersistentVolume(volume.Name).
		WithUID(volume.UID).
		WithResourceVersion(volume.ResourceVersion).
		WithLabels(map[string]string{capsulev1beta2.TenantLabel: ref.Name}),
		client.FieldOwner(objects.FieldManager), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("label volume %s: %w", volume.Name, err)
	}
	return nil
}

// Add registers the controller.
func Add(mgr ctrl.Manager) error {
	r := &reconciler{objects.Applier{Client: mgr.GetClient(), Live: mgr.GetAPIReader()}}
	return r.watch(mgr)
}
