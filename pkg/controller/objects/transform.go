// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/lru"
)

// WithoutManagedFields is a transformation of caches.
func WithoutManagedFields(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil {
		accessor.SetManagedFields(nil)
		share(accessor)
	}
	return object, nil
}

// withOwnManagedFields keeps of an object's managedFields those of the controller:
// they tell labels of its own, which it may remove, from those of others.
func withOwnManagedFields(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil {
		accessor.SetManagedFields(slices.DeleteFunc(accessor.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
			return !isOwn(entry)
		}))
		share(accessor)
	}
	return object, nil
}

// claimOnly leaves of a volume what says who uses it.
func claimOnly(object any) (any, error) {
	volume, ok := object.(*corev1.PersistentVolume)
	if !ok {
		return WithoutManagedFields(object)
	}
	volume.ManagedFields = nil
	volume.Annotations = nil
	volume.Spec = corev1.PersistentVolumeSpec{ClaimRef: volume.Spec.ClaimRef}
	volume.Status = corev1.PersistentVolumeStatus{Phase: volume.Status.Phase}
	return volume, nil
}

// share has an object hold with others what they have in common. Most objects of a Tenant
// have the same labels, owner and managedFields, and decoding makes a copy for each.
func share(object metav1.Object) {
	object.SetNamespace(shared(object.GetNamespace()))
	object.SetName(shared(object.GetName()))
	object.SetLabels(sharedMap(object.GetLabels()))
	object.SetAnnotations(sharedMap(object.GetAnnotations()))
	owners := object.GetOwnerReferences()
	for i := range owners {
		owner := &owners[i]
		owner.APIVersion, owner.Kind, owner.Name, owner.UID = shared(owner.APIVersion), shared(owner.Kind), shared(owner.Name), shared(owner.UID)
	}
	object.SetOwnerReferences(owners)
	entries := object.GetManagedFields()
	for i := range entries {
		entry := &entries[i]
		entry.Manager, entry.APIVersion, entry.FieldsType = shared(entry.Manager), shared(entry.APIVersion), shared(entry.FieldsType)
		entry.Operation, entry.FieldsV1 = shared(entry.Operation), sharedFields(entry.FieldsV1)
	}
}

// maxShared is how long a text, or a set of fields, may be to be shared: clients choose some
// of them, and what was chosen last is kept. maxTexts and maxFieldSets are of how many: there
// are some texts for each namespace, and some sets of fields for each Tenant.
const (
	maxShared    = 1 << 10
	maxTexts     = 1 << 14
	maxFieldSets = 1 << 12
)

// texts and fieldSets are by what they say.
var texts, fieldSets = lru.New(maxTexts), lru.New(maxFieldSets)

func shared[S ~string](s S) S {
	if len(s) > maxShared {
		return s
	}
	return S(sharedIn(texts, string(s), string(s)))
}

// sharedIn returns what is in a cache by a key, or the value, which is there then.
func sharedIn[V any](cache *lru.Cache, key string, value V) V {
	if same, ok := cache.Get(key); ok {
		return same.(V) //nolint:forcetypeassert // nothing else is added
	}
	cache.Add(key, value)
	return value
}

func sharedMap(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	same := make(map[string]string, len(m))
	for key, value := range m {
		same[shared(key)] = shared(value)
	}
	return same
}

func sharedFields(fields *metav1.FieldsV1) *metav1.FieldsV1 {
	if fields == nil {
		return nil
	}
	key := fields.GetRawString()
	if len(key) > maxShared {
		return fields
	}
	return sharedIn(fieldSets, key, fields)
}
