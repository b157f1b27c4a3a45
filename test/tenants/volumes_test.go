// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// createVolume makes a volume of a class that nobody provisions.
func createVolume(t *testing.T, name string) {
	t.Helper()
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/mnt/" + name}},
			StorageClassName:              "by-hand",
		},
	}
	require.NoError(t, admin(t).Create(t.Context(), volume))
	t.Cleanup(func() {
		require.NoError(t, client.IgnoreNotFound(admin(t).Delete(context.WithoutCancel(t.Context()), volume)))
	})
}

// createClaim asks for a volume by a claim "data", and returns when it is bound.
func createClaim(t *testing.T, namespace, volume string) {
	t.Helper()
	class := "by-hand"
	require.NoError(t, admin(t).Create(t.Context(), &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			StorageClassName: &class,
			VolumeName:       volume,
		},
	}))
	awaitVolume(t, volume, func(v *corev1.PersistentVolume) string {
		return string(v.Status.Phase) + " " + v.Spec.ClaimRef.Namespace
	}, "Bound "+namespace)
}

func awaitVolume(t *testing.T, name string, what func(v *corev1.PersistentVolume) string, want string) {
	t.Helper()
	c := admin(t)
	awaitWithin(t, gone, "volume "+name, want, func(ctx context.Context) (string, error) {
		volume := &corev1.PersistentVolume{}
		if err := c.Get(ctx, client.ObjectKey{Name: name}, volume); err != nil {
			return "", err
		}
		if volume.Spec.ClaimRef == nil {
			volume.Spec.ClaimRef = &corev1.ObjectReference{}
		}
		return what(volume), nil
	})
}

func tenantOf(v *corev1.PersistentVolume) string { return v.Labels[capsulev1beta2.TenantLabel] }

func phaseAndTenant(v *corev1.PersistentVolume) string {
	return string(v.Status.Phase) + " " + tenantOf(v)
}

// TestVolumeKeepsItsTenant follows a volume through the hands of two tenants.
func TestVolumeKeepsItsTenant(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"disk-a", "disk-b"} {
		createTenant(t, name, capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner(name+"-ann", lists(capsulev1beta2.PersistentVolumesProxy)...)}})
		createNamespace(t, name+"-ann", name+"-1")
	}
	a, b := system.Kubectl(t, "disk-a-ann", users), system.Kubectl(t, "disk-b-ann", users)
	createFree(t, "disk-free")
	createVolume(t, "disk")
	c := admin(t)

	createClaim(t, "disk-a-1", "disk")
	awaitVolume(t, "disk", phaseAndTenant, "Bound disk-a")
	awaitNames(t, a, "tenantpersistentvolumes", "disk")
	awaitNames(t, b, "tenantpersistentvolumes")

	// An edit by hand is put right: the claim is what counts.
	for _, patch := range []string{`{"metadata":{"labels":{"capsule.clastix.io/tenant":null}}}`, `{"metadata":{"labels":{"capsule.clastix.io/tenant":"disk-b"}}}`} {
		require.NoError(t, c.Patch(t.Context(), &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "disk"}}, client.RawPatch("application/merge-patch+json", []byte(patch))))
		awaitVolume(t, "disk", tenantOf, "disk-a")
	}

	require.NoError(t, c.Delete(t.Context(), &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "disk-a-1", Name: "data"}}))
	awaitVolume(t, "disk", phaseAndTenant, "Released disk-a")
	require.NoError(t, c.Delete(t.Context(), newNamespace("disk-a-1")))
	awaitGone(t, newNamespace("disk-a-1"))
	awaitVolume(t, "disk", phaseAndTenant, "Released disk-a")
	awaitNames(t, a, "tenantpersistentvolumes", "disk")

	// Another tenant's claim on it, after an administrator has released it.
	release := func() {
		t.Helper()
		require.NoError(t, c.Patch(t.Context(), &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "disk"}}, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"claimRef":null}}`))))
	}
	release()
	awaitVolume(t, "disk", phaseAndTenant, "Available disk-a")
	createClaim(t, "disk-b-1", "disk")
	awaitVolume(t, "disk", phaseAndTenant, "Bound disk-b")
	awaitNames(t, b, "tenantpersistentvolumes", "disk")
	awaitNames(t, a, "tenantpersistentvolumes")

	// A claim of no tenant leaves it.
	require.NoError(t, c.Delete(t.Context(), &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "disk-b-1", Name: "data"}}))
	awaitVolume(t, "disk", phaseAndTenant, "Released disk-b")
	release()
	awaitVolume(t, "disk", phaseAndTenant, "Available disk-b")
	createClaim(t, "disk-free", "disk")
	awaitVolume(t, "disk", phaseAndTenant, "Bound disk-b")
	require.NoError(t, c.Delete(t.Context(), &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "disk-free", Name: "data"}}))
	awaitVolume(t, "disk", phaseAndTenant, "Released disk-b")
}

// TestVolumesOfBefore binds one while no controller runs.
func TestVolumesOfBefore(t *testing.T) {
	createTenant(t, "before", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("before-ann", lists(capsulev1beta2.PersistentVolumesProxy)...)}})
	createNamespace(t, "before-ann", "before-1")
	require.NoError(t, system.Controller.Stop())
	t.Cleanup(func() { require.NoError(t, system.Controller.Start(context.WithoutCancel(t.Context()))) })
	createVolume(t, "before")
	createVolume(t, "before-free")
	createClaim(t, "before-1", "before")
	awaitVolume(t, "before", phaseAndTenant, "Bound ")
	require.NoError(t, system.Controller.Start(t.Context()))
	awaitVolume(t, "before", phaseAndTenant, "Bound before")
	awaitNames(t, system.Kubectl(t, "before-ann", users), "tenantpersistentvolumes", "before")
	awaitVolume(t, "before-free", phaseAndTenant, "Available ")
}
