// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
)

type values = map[string]string

func TestMetadata(t *testing.T) {
	ctx := t.Context()
	t1 := oil(nil)
	given := namespaceOf(ns, "oil", "oil-1")
	given.Labels["theirs"], given.Annotations = "x", values{"theirs": "y"}
	c := newCluster(t, t1, given)
	// step changes the Tenant and returns what the namespace carries then, besides
	// the tenant label.
	step := func(change func(*capsulev1beta2.TenantSpec)) (labels, annotations values) {
		t.Helper()
		change(&t1.Spec)
		t1.Generation++
		if err := c.Update(ctx, t1); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			c.writes = nil
			if err := c.reconcile(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if len(c.writes) > 0 {
			t.Errorf("the second time: %q", c.writes)
		}
		is := &corev1.Namespace{}
		if err := c.Get(ctx, client.ObjectKey{Name: ns}, is); err != nil {
			t.Fatal(err)
		}
		delete(is.Labels, capsulev1beta2.TenantLabel)
		return is.Labels, is.Annotations
	}
	check := func(what string, wantLabels, wantAnnotations, labels, annotations values) {
		t.Helper()
		if diff := cmp.Diff([]values{wantLabels, wantAnnotations}, []values{labels, annotations}, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: labels, annotations (-want +got):\n%s", what, diff)
		}
	}
	options := &capsulev1beta2.NamespaceOptions{
		AdditionalMetadata: &capsulev1beta2.AdditionalMetadata{Labels: values{"a": "1", "theirs": "z"}},
		// What it gives it selects no more: that must not take it away again.
		AdditionalMetadataList: []capsulev1beta2.AdditionalMetadataSelector{{
			NamespaceSelector:  &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "b", Operator: metav1.LabelSelectorOpDoesNotExist}}},
			AdditionalMetadata: capsulev1beta2.AdditionalMetadata{Labels: values{"b": "{{ namespace }}"}},
		}},
	}
	labels, annotations := step(func(spec *capsulev1beta2.TenantSpec) {
		spec.NamespaceOptions, spec.NodeSelector = options, values{"pool": "oil"}
	})
	check("given", values{"a": "1", "b": ns, "theirs": "z"},
		values{"theirs": "y", "scheduler.alpha.kubernetes.io/node-selector": "pool=oil"}, labels, annotations)

	labels, annotations = step(func(spec *capsulev1beta2.TenantSpec) {
		spec.NamespaceOptions.AdditionalMetadata, spec.NamespaceOptions.AdditionalMetadataList, spec.NodeSelector = nil, nil, nil
		spec.Cordoned = true
	})
	check("taken back", values{"projectcapsule.dev/cordoned": "true"}, values{"theirs": "y"}, labels, annotations)

	labels, annotations = step(func(spec *capsulev1beta2.TenantSpec) {
		spec.Cordoned, spec.NamespaceOptions.ManagedMetadataOnly = false, new(true)
		spec.NamespaceOptions.AdditionalMetadata = &capsulev1beta2.AdditionalMetadata{Labels: values{"a": "2"}}
	})
	check("nothing else", values{"a": "2"}, nil, labels, annotations)

	is := &corev1.Namespace{}
	if err := c.Get(ctx, client.ObjectKey{Name: ns}, is); err != nil {
		t.Fatal(err)
	}
	edited := is.DeepCopy()
	edited.Labels["more"] = "1"
	if c.changedNamespace(event.UpdateEvent{ObjectOld: is, ObjectNew: is}) || !c.changedNamespace(event.UpdateEvent{ObjectOld: is, ObjectNew: edited}) {
		t.Error("want the update to count that adds a label, and no other")
	}

	if err := c.Delete(ctx, t1); err != nil {
		t.Fatal(err)
	}
	if err := c.reconcile(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(ctx, client.ObjectKey{Name: ns}, is); err != nil {
		t.Fatal(err)
	}
	delete(is.Labels, capsulev1beta2.TenantLabel)
	check("of no Tenant", nil, nil, is.Labels, is.Annotations)
}

// TestMetadataInTheControllersName has somebody else write to a namespace as the field
// manager of the controller. It stays, and nothing is written because of it.
func TestMetadataInTheControllersName(t *testing.T) {
	ctx := t.Context()
	t1 := oil(nil)
	t1.Spec.NamespaceOptions = &capsulev1beta2.NamespaceOptions{AdditionalMetadata: &capsulev1beta2.AdditionalMetadata{Labels: values{"a": "1"}}}
	c := newCluster(t, t1, namespaceOf(ns, "oil", "oil-1"))
	if err := c.reconcile(ctx); err != nil {
		t.Fatal(err)
	}
	is := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}
	forged := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"theirs":"1"}}}`))
	if err := c.Patch(ctx, is, forged, client.FieldOwner(objects.FieldManager)); err != nil {
		t.Fatal(err)
	}
	c.writes = nil
	if err := c.reconcile(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(ctx, client.ObjectKey{Name: ns}, is); err != nil {
		t.Fatal(err)
	}
	delete(is.Labels, capsulev1beta2.TenantLabel)
	if diff := cmp.Diff(values{"a": "1", "theirs": "1"}, is.Labels); diff != "" || len(c.writes) > 0 {
		t.Errorf("wrote %q; labels (-want +got):\n%s", c.writes, diff)
	}
}
