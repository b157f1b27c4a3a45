// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// This file changes by hand what the controller keeps in the namespaces of Tenants.

// byHand is what was written by hand of what the controller writes, too: it says nothing
// about the controller. Whoever edits has it, or reads it when nobody does.
type byHand struct {
	// changes are revisions of objects.
	changes sets.Set[string]
	// deletions are of objects that were to be deleted: somebody else may be faster.
	deletions sets.Set[types.UID]
}

func newByHand() byHand { return byHand{sets.New[string](), sets.New[types.UID]()} }

// did reports whether a change from what was there before was, or may have been, made
// by hand.
func (b byHand) did(e event, was client.Object) bool {
	if e.object == nil {
		return was != nil && b.deletions.Has(was.GetUID())
	}
	return b.changes.Has(e.object.GetResourceVersion())
}

// meddle changes or deletes an object in one of the namespaces, or changes what one of
// them carries.
func (e edit) meddle(ctx context.Context) error {
	if e.oneIn(6) {
		return e.mislabel(ctx, pick(e.random, namespaceNames...))
	}
	k := pick(e.random, inNamespaces...)
	list := k.list()
	if err := e.client.List(ctx, list); err != nil {
		return err
	}
	var managed []client.Object
	if err := meta.EachListItem(list, func(item runtime.Object) error {
		object := item.(client.Object)
		if slices.Contains(namespaceNames, object.GetNamespace()) && metav1.GetControllerOfNoCopy(object) != nil {
			managed = append(managed, object)
		}
		return nil
	}); err != nil || len(managed) == 0 {
		return err
	}
	object := pick(e.random, managed...)
	if e.oneIn(4) {
		e.byHand.deletions.Insert(object.GetUID())
		return e.do("delete by hand", object, e.client.Delete(ctx, object, client.Preconditions{UID: new(object.GetUID())}))
	}
	switch e.IntN(4) {
	case 0:
		// By its own mark, a RoleBinding is known at all.
		marks := []string{managerMark, tenantMark, indexMarks[k]}
		if k == roleBindings {
			marks = marks[:2]
		}
		e.spoil(object.GetLabels(), marks)
	case 1:
		// Whom a RoleBinding is for is told by it.
		if k != roleBindings {
			object.SetOwnerReferences(nil)
		}
	default:
		e.misstate(object)
	}
	err := e.client.Update(ctx, object)
	if err == nil {
		e.byHand.changes.Insert(object.GetResourceVersion())
	}
	return e.do("update by hand", object, err)
}

// spoil changes or removes one of some keys, if one is there.
func (e edit) spoil(values map[string]string, keys []string) {
	present := slices.DeleteFunc(slices.Clone(keys), func(key string) bool {
		_, ok := values[key]
		return !ok
	})
	if len(present) == 0 {
		return
	}
	if key := pick(e.random, present...); e.oneIn(2) {
		delete(values, key)
	} else {
		values[key] = meddled
	}
}

// visitor is nobody to whom anything is given.
var visitor = rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "visitor"}

// misstate has an object say something else: that more is allowed, or less.
func (e edit) misstate(object client.Object) {
	switch object := object.(type) {
	case *rbacv1.RoleBinding:
		object.Subjects = pick(e.random, nil, []rbacv1.Subject{visitor})
	case *networkingv1.NetworkPolicy:
		object.Spec.Ingress = append(object.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{})
	case *corev1.LimitRange:
		object.Spec.Limits = []corev1.LimitRangeItem{{Type: corev1.LimitTypePod, Max: amounts{"memory": "1Gi"}.list()}}
	case *corev1.ResourceQuota:
		name := pick(e.random, append(slices.Sorted(maps.Keys(object.Spec.Hard)), "pods")...)
		object.Spec.Hard[name] = resource.MustParse("99")
		e.spoil(object.Annotations, slices.Sorted(maps.Keys(object.Annotations)))
	}
}

// mislabel changes what a namespace carries, for its Tenant or not.
func (e edit) mislabel(ctx context.Context, name string) error {
	namespace := &corev1.Namespace{}
	if err := e.client.Get(ctx, client.ObjectKey{Name: name}, namespace); err != nil {
		return client.IgnoreNotFound(err)
	}
	e.spoil(namespace.Labels, givenLabels)
	e.spoil(namespace.Annotations, givenAnnotations)
	return e.do("update by hand", namespace, e.client.Update(ctx, namespace))
}
