// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

func newTenant(name string) *capsulev1beta2.Tenant {
	return &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// changeTenant changes some aspects of a Tenant together.
func (e edit) changeTenant(ctx context.Context, name string) error {
	t := newTenant(name)
	return e.change(ctx, t, func() {
		if t.UID == "" {
			t.Labels, t.Spec = e.labels(), e.tenantSpec()
			return
		}
		for range pick(e.random, 1, 1, 3) {
			e.random.change(&t.Spec, pick(e.random, 0, 1, e.IntN(aspects), e.IntN(aspects)))
		}
	})
}

// replaceTenant makes another Tenant of that name.
func (e edit) replaceTenant(ctx context.Context, name string) error {
	t := newTenant(name)
	t.Labels, t.Spec = e.labels(), e.tenantSpec()
	return e.replace(ctx, t)
}

// changeObject makes, changes, deletes or replaces a node or a class.
func (e edit) changeObject(ctx context.Context, k *kind, name string) error {
	object := k.new()
	object.SetName(name)
	switch n := e.IntN(10); {
	case n < 2:
		return e.delete(ctx, object)
	case n < 5:
		object.SetLabels(e.labels())
		return e.replace(ctx, object)
	default:
		return e.change(ctx, object, func() { object.SetLabels(e.labels()) })
	}
}

// changeVolume makes, deletes or replaces a volume, or has another claim take it. The
// label of an existing one is the controller's to write.
func (e edit) changeVolume(ctx context.Context, name string) error {
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: e.labels()},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/none"}},
		},
	}
	if e.oneIn(2) {
		volume.Labels[capsulev1beta2.TenantLabel] = pick(e.random, tenantNames...)
	}
	switch n := e.IntN(10); {
	case n < 2:
		return e.delete(ctx, volume)
	case n < 5:
		volume.Spec.ClaimRef = e.claim()
		return e.replace(ctx, volume)
	default:
		return e.change(ctx, volume, func() { volume.Spec.ClaimRef = e.claim() })
	}
}

// claim returns a reference as an administrator writes it for a claim to come, or none.
func (e edit) claim() *corev1.ObjectReference {
	if e.oneIn(3) {
		return nil
	}
	return &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: pick(e.random, namespaceNames...), Name: "data"}
}

// changeNamespace makes a namespace in a Tenant, as the webhook would have it, or
// deletes it. Its name is free again when the control plane has cleared it.
func (e edit) changeNamespace(ctx context.Context, name, tenant string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: e.labels()}}
	if e.oneIn(6) {
		return e.delete(ctx, namespace)
	}
	if e.oneIn(8) {
		return e.releaseNamespace(ctx, name)
	}
	t := newTenant(tenant)
	if err := e.client.Get(ctx, client.ObjectKeyFromObject(t), t); err != nil {
		return client.IgnoreNotFound(err)
	}
	take := func() {
		if namespace.Labels == nil {
			namespace.Labels = map[string]string{}
		}
		namespace.Labels[capsulev1beta2.TenantLabel] = t.Name
		namespace.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: capsulev1beta2.SchemeGroupVersion.String(), Kind: "Tenant", Name: t.Name, UID: t.UID,
		}}
	}
	if e.oneIn(3) {
		// An administrator may hand a namespace over, too.
		return e.change(ctx, namespace, take)
	}
	take()
	return e.create(ctx, namespace)
}

// releaseNamespace makes a namespace nobody's.
func (e edit) releaseNamespace(ctx context.Context, name string) error {
	if is, err := e.has(ctx, name); !is {
		return err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	return e.change(ctx, namespace, func() {
		delete(namespace.Labels, capsulev1beta2.TenantLabel)
		namespace.OwnerReferences = nil
	})
}

func (e edit) changeSetting(ctx context.Context, namespace, name string) error {
	setting := &capsulev1beta2.ProxySetting{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if e.oneIn(4) {
		return e.delete(ctx, setting)
	}
	if is, err := e.has(ctx, namespace); !is {
		return err
	}
	return e.change(ctx, setting, func() { setting.Spec = e.proxySetting() })
}

func (e edit) changeGlobal(ctx context.Context, name string) error {
	s := &capsulev1beta2.GlobalProxySettings{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if e.oneIn(4) {
		return e.delete(ctx, s)
	}
	err := e.change(ctx, s, func() { s.Spec = e.globalProxySettings() })
	if apierrors.IsInvalid(err) {
		return nil
	}
	return err
}
