// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
)

const system = "tenancy-system"

func newStore(t *testing.T, given ...client.Object) (*Store, client.Client) {
	t.Helper()
	scheme := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(scheme))
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(given...).Build()
	return NewStore(c, c, system), c
}

func oil(uid types.UID) *capsulev1beta2.Tenant {
	return &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "oil", UID: uid}}
}

func ledgersOf(t *testing.T, c client.Client) []string {
	t.Helper()
	var list corev1.ConfigMapList
	if err := c.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names
}

func TestStore(t *testing.T) {
	s, c := newStore(t)
	ctx, tenant := t.Context(), oil("oil-1")
	if l, err := s.Get(ctx, tenant, 0); l != nil || err != nil {
		t.Fatalf("want none, got %+v, %v", l, err)
	}
	l := New()
	l.Set("a", "pods", grant(3))
	if err := s.Create(ctx, tenant, 0, l); err != nil {
		t.Fatal(err)
	}
	var stored corev1.ConfigMap
	if err := c.Get(ctx, client.ObjectKey{Namespace: system, Name: "capsule-oil-0"}, &stored); err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"projectcapsule.dev/managed-by": "controller", "projectcapsule.dev/tenant": "oil", "capsule.clastix.io/resource-quota": "0"}
	if diff := cmp.Diff(labels, stored.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if owner := metav1.GetControllerOf(&stored); owner == nil || owner.UID != "oil-1" {
		t.Errorf("owned by %+v", owner)
	}

	// Two have read it; one writes, twice.
	one, _ := s.Get(ctx, tenant, 0)
	other, _ := s.Get(ctx, tenant, 0)
	for i := range int64(2) {
		one.Set("a", "pods", grant(4+i))
		if err := s.Update(ctx, one); err != nil {
			t.Fatal(err)
		}
	}
	other.Set("a", "pods", grant(9))
	if err := s.Update(ctx, other); !apierrors.IsConflict(err) {
		t.Errorf("want a conflict, got %v", err)
	}
	last, err := s.Get(ctx, tenant, 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(grant(5), last.Of("a", "pods")); diff != "" {
		t.Errorf("granted (-want +got):\n%s", diff)
	}
	if err := s.Prune(ctx, "oil", 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(ctx, last); !apierrors.IsConflict(err) {
		t.Errorf("deleted: want a conflict, got %v", err)
	}
}

// TestStoreReplaces has another object where a ledger is to be.
func TestStoreReplaces(t *testing.T) {
	configMap := func(label, owner, data string) *corev1.ConfigMap {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "capsule-oil-0"}, Data: map[string]string{"a": data}}
		if label != "" {
			m.Labels = map[string]string{capsulev1beta2.ResourceQuotaLabel: label}
		}
		if owner != "" {
			m.OwnerReferences = []metav1.OwnerReference{{Kind: "Tenant", Name: "oil", UID: types.UID(owner), Controller: new(true)}}
		}
		return m
	}
	for name, test := range map[string]struct {
		given  *corev1.ConfigMap
		usable bool
	}{
		"of an earlier life of the Tenant": {configMap("0", "oil-0", "{}"), true},
		"without an owner":                 {configMap("0", "", "{}"), true},
		"that cannot be read":              {configMap("0", "oil-1", "{"), true},
		"of somebody else":                 {configMap("", "", "{}"), false},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newStore(t, test.given)
			ctx, tenant := t.Context(), oil("oil-1")
			if l, err := s.Get(ctx, tenant, 0); l != nil || err != nil {
				t.Fatalf("want none, got %+v, %v", l, err)
			}
			err := s.Create(ctx, tenant, 0, New())
			if !test.usable {
				if _, ok := err.(*objects.ForeignError); !ok { //nolint:errorlint // it is the error itself
					t.Errorf("want a ForeignError, got %v", err)
				}
				return
			}
			if !apierrors.IsConflict(err) {
				t.Errorf("want a conflict, got %v", err)
			}
			if err := s.Create(ctx, tenant, 0, New()); err != nil {
				t.Error(err)
			}
			if l, err := s.Get(ctx, tenant, 0); l == nil || err != nil {
				t.Errorf("want one, got %+v, %v", l, err)
			}
		})
	}
}

func TestPrune(t *testing.T) {
	s, c := newStore(t)
	gas := &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "gas", UID: "gas-1"}}
	for _, item := range []int{0, 1, 2} {
		for _, tenant := range []metav1.Object{oil("oil-1"), gas} {
			if err := s.Create(t.Context(), tenant, item, New()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, step := range []struct {
		items int
		want  []string
	}{
		{3, []string{"capsule-gas-0", "capsule-gas-1", "capsule-gas-2", "capsule-oil-0", "capsule-oil-1", "capsule-oil-2"}},
		{1, []string{"capsule-gas-0", "capsule-gas-1", "capsule-gas-2", "capsule-oil-0"}},
		{0, []string{"capsule-gas-0", "capsule-gas-1", "capsule-gas-2"}},
	} {
		if err := s.Prune(t.Context(), "oil", step.items); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, ledgersOf(t, c)); diff != "" {
			t.Errorf("of %d items (-want +got):\n%s", step.items, diff)
		}
	}
}

func TestAddToCache(t *testing.T) {
	var options cache.Options
	AddToCache(&options, system)
	for object, o := range options.ByObject {
		if object.GetObjectKind().GroupVersionKind() != Kind || o.Namespaces[system].LabelSelector.String() != capsulev1beta2.ResourceQuotaLabel {
			t.Errorf("%T is cached as %+v", object, o)
		}
	}
	if len(options.ByObject) != 1 {
		t.Errorf("got %+v", options.ByObject)
	}
}
