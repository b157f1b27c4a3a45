// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWithOwnManagedFields(t *testing.T) {
	object := configMap(nil, nil)
	object.ManagedFields = []metav1.ManagedFieldsEntry{
		{Manager: "kubectl", Operation: "Update"}, {Manager: FieldManager, Operation: "Apply"}, {Manager: FieldManager, Operation: "Update"},
	}
	if _, err := withOwnManagedFields(object); err != nil {
		t.Fatal(err)
	}
	want := []metav1.ManagedFieldsEntry{{Manager: FieldManager, Operation: "Apply"}, {Manager: FieldManager, Operation: "Update"}}
	if diff := cmp.Diff(want, object.ManagedFields); diff != "" {
		t.Errorf("managed fields (-want +got):\n%s", diff)
	}
}

// TestTransformationsShare holds that what objects have in common they hold once, and say
// the same as before.
func TestTransformationsShare(t *testing.T) {
	made := func(suffix string) *corev1.ConfigMap {
		// As decoding does, for the compiler shares constants itself.
		text := strings.Clone
		object := configMap(map[string]string{text("tenant"): text("solar")}, nil)
		object.Annotations = map[string]string{text("note"): text("x")}
		object.Namespace, object.Name = "solar-"+suffix, text("quota")
		object.OwnerReferences = []metav1.OwnerReference{{APIVersion: text("v1"), Kind: text("Tenant"), Name: text("solar"), UID: "1"}}
		object.ManagedFields = []metav1.ManagedFieldsEntry{{
			Manager: FieldManager, Operation: "Apply", FieldsType: text("FieldsV1"), FieldsV1: metav1.NewFieldsV1(`{"f:data":{}}`),
		}}
		return object
	}
	a, b := made("a"), made("b")
	for _, object := range []*corev1.ConfigMap{a, b} {
		want := object.DeepCopy()
		if _, err := withOwnManagedFields(object); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, object); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		// It is shared with what comes later, too.
		runtime.GC()
		runtime.GC()
	}
	if a.ManagedFields[0].FieldsV1 != b.ManagedFields[0].FieldsV1 {
		t.Error("each has fields of its own")
	}
	if unsafe.StringData(a.Labels["tenant"]) != unsafe.StringData(b.Labels["tenant"]) { //nolint:gosec // compares addresses, reads nothing
		t.Error("each has a label's value of its own")
	}
	without, err := WithoutManagedFields(configMap(nil, nil))
	if diff := cmp.Diff(configMap(nil, nil), without); err != nil || diff != "" {
		t.Errorf("without metadata: %v (-want +got):\n%s", err, diff)
	}
}

// TestLongTextsAreNotKept holds that what a client may choose in any length is not kept when
// its object is gone.
func TestLongTextsAreNotKept(t *testing.T) {
	long := strings.Repeat("x", maxShared+1)
	object := configMap(nil, nil)
	object.Annotations = map[string]string{"note": long}
	object.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: FieldManager, FieldsV1: metav1.NewFieldsV1(`{"f:` + long + `":{}}`)}}
	want := object.DeepCopy()
	if _, err := withOwnManagedFields(object); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, object); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, ok := texts.Get(long); ok {
		t.Error("a text is kept")
	}
	if _, ok := fieldSets.Get(object.ManagedFields[0].FieldsV1.GetRawString()); ok {
		t.Error("a set of fields is kept")
	}
}
