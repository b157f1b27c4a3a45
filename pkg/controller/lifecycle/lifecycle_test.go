// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/report"
	"tenancy.capsule.io/pkg/tenant"
)

const finalizer = "controller.projectcapsule.dev/finalize"

func oil(deleting bool, finalizers ...string) *capsulev1beta2.Tenant {
	t := &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "oil", UID: "oil-1", Finalizers: finalizers}}
	if deleting {
		t.DeletionTimestamp = new(metav1.Now())
	}
	return t
}

func namespaceOf(name string, uid types.UID, finalizers ...string) *corev1.Namespace {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, UID: types.UID("uid-of-" + name), Labels: map[string]string{capsulev1beta2.TenantLabel: "oil"}, Finalizers: finalizers,
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "capsule.clastix.io/v1beta2", Kind: "Tenant", Name: "oil", UID: uid}},
	}}
	if len(finalizers) > 0 {
		namespace.DeletionTimestamp = new(metav1.Now())
	}
	return namespace
}

func newClient(given ...client.Object) client.WithWatch {
	scheme := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(scheme))
	utilruntime.Must(capsulev1beta2.AddToScheme(scheme))
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(given...).
		WithIndex(objects.Metadata(objects.NamespaceKind), objects.TenantOfNamespace, func(namespace client.Object) []string {
			ref, _ := tenant.Of(namespace)
			return []string{ref.Name}
		}).Build()
}

func TestReconcile(t *testing.T) {
	other := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other", Labels: map[string]string{capsulev1beta2.TenantLabel: "oil"}}}
	for name, test := range map[string]struct {
		given []client.Object
		// late is what the cache has not seen yet.
		late []client.Object
		// want are the finalizers of the Tenant, nil if it is gone.
		want []string
		// wantLeft are the namespaces that are not deleted.
		wantLeft []string
	}{
		"no namespaces":                         {given: []client.Object{oil(false)}, want: []string{}},
		"the first namespace":                   {given: []client.Object{oil(false), namespaceOf("oil-a", "oil-1")}, want: []string{finalizer}, wantLeft: []string{"oil-a"}},
		"another's finalizer stays":             {given: []client.Object{oil(false, "x/y"), namespaceOf("oil-a", "oil-1")}, want: []string{"x/y", finalizer}, wantLeft: []string{"oil-a"}},
		"a namespace of an earlier life":        {given: []client.Object{oil(false), namespaceOf("oil-a", "oil-0")}, want: []string{}, wantLeft: []string{"oil-a"}},
		"the last namespace went":               {given: []client.Object{oil(false, finalizer), other}, want: []string{}, wantLeft: []string{"other"}},
		"a namespace that is not seen yet":      {given: []client.Object{oil(false, finalizer)}, late: []client.Object{namespaceOf("oil-a", "oil-1")}, want: []string{finalizer}, wantLeft: []string{"oil-a"}},
		"deleted, with namespaces":              {given: []client.Object{oil(true, finalizer), namespaceOf("oil-a", "oil-1"), namespaceOf("oil-b", "oil-0"), other}, want: []string{finalizer}, wantLeft: []string{"oil-b", "other"}},
		"deleted, one takes its time":           {given: []client.Object{oil(true, finalizer), namespaceOf("oil-a", "oil-1", "x/y")}, want: []string{finalizer}, wantLeft: []string{"oil-a"}},
		"deleted, no namespaces":                {given: []client.Object{oil(true, finalizer)}},
		"deleted, another's finalizer":          {given: []client.Object{oil(true, finalizer, "x/y")}, want: []string{"x/y"}},
		"deleted, not seen yet":                 {given: []client.Object{oil(true, finalizer)}, late: []client.Object{namespaceOf("oil-a", "oil-1")}, want: []string{finalizer}, wantLeft: []string{"oil-a"}},
		"deleted without ours, it is not added": {given: []client.Object{oil(true, "x/y"), namespaceOf("oil-a", "oil-1")}, want: []string{"x/y"}},
	} {
		t.Run(name, func(t *testing.T) {
			cached := newClient(test.given...)
			live := newClient(slices.Concat(test.given, test.late)...)
			written := interceptor.NewClient(cached, interceptor.Funcs{
				Patch: func(ctx context.Context, _ client.WithWatch, object client.Object, patch client.Patch, options ...client.PatchOption) error {
					return live.Patch(ctx, object, patch, options...)
				},
				Delete: func(ctx context.Context, _ client.WithWatch, object client.Object, options ...client.DeleteOption) error {
					return live.Delete(ctx, object, options...)
				},
			})
			r := &reconciler{Client: written, live: live, reports: report.New()}
			if _, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "oil"}}); err != nil {
				t.Fatal(err)
			}
			is := &capsulev1beta2.Tenant{}
			err := live.Get(t.Context(), types.NamespacedName{Name: "oil"}, is)
			if apierrors.IsNotFound(err) != (test.want == nil) {
				t.Fatalf("want it to be gone: %v, got %v", test.want == nil, err)
			}
			if diff := cmp.Diff(test.want, is.Finalizers, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("finalizers (-want +got):\n%s", diff)
			}
			var left corev1.NamespaceList
			if err := live.List(t.Context(), &left); err != nil {
				t.Fatal(err)
			}
			var names []string
			for i := range left.Items {
				names = append(names, left.Items[i].Name)
			}
			slices.Sort(names)
			if diff := cmp.Diff(test.wantLeft, names); diff != "" {
				t.Errorf("namespaces (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFailures(t *testing.T) {
	conflict := apierrors.NewConflict(corev1.Resource("namespaces"), "oil-a", errors.New("changed"))
	for name, test := range map[string]struct {
		err        error
		wantReport bool
	}{
		"somebody else wrote": {err: conflict},
		"refused":             {err: errors.New("boom"), wantReport: true},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []client.DeleteOption
			c := interceptor.NewClient(newClient(oil(true, finalizer), namespaceOf("oil-a", "oil-1")), interceptor.Funcs{
				Delete: func(_ context.Context, _ client.WithWatch, _ client.Object, options ...client.DeleteOption) error {
					asked = options
					return test.err
				},
			})
			r := &reconciler{Client: c, live: c, reports: report.New()}
			result, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "oil"}})
			if (err != nil) != test.wantReport || (result.RequeueAfter > 0) == test.wantReport {
				t.Errorf("got %v, %v", result, err)
			}
			if got := len(r.reports.Of(tenant.Ref{Name: "oil", UID: "oil-1"})); (got > 0) != test.wantReport {
				t.Errorf("got %d reports", got)
			}
			preconditions := new(client.DeleteOptions).ApplyOptions(asked).Preconditions
			if preconditions == nil || preconditions.UID == nil || preconditions.ResourceVersion == nil {
				t.Errorf("want the namespace as it was seen, got %+v", preconditions)
			}
		})
	}
}

// TestFailureBesideConflict has one namespace changed by somebody else while another
// one cannot be deleted, in either order.
func TestFailureBesideConflict(t *testing.T) {
	conflict := apierrors.NewConflict(corev1.Resource("namespaces"), "x", errors.New("changed"))
	refused := apierrors.NewForbidden(corev1.Resource("namespaces"), "x", errors.New("boom"))
	for name, test := range map[string]struct {
		fails map[string]error
		// blocked is the namespace that cannot be deleted.
		blocked string
	}{
		"conflict first": {map[string]error{"oil-a": conflict, "oil-b": refused}, "oil-b"},
		"conflict last":  {map[string]error{"oil-a": refused, "oil-b": conflict}, "oil-a"},
	} {
		t.Run(name, func(t *testing.T) {
			c := interceptor.NewClient(newClient(oil(true, finalizer), namespaceOf("oil-a", "oil-1"), namespaceOf("oil-b", "oil-1")), interceptor.Funcs{
				Delete: func(_ context.Context, _ client.WithWatch, object client.Object, _ ...client.DeleteOption) error {
					return test.fails[object.GetName()]
				},
			})
			r := &reconciler{Client: c, live: c, reports: report.New()}
			if _, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "oil"}}); !apierrors.IsForbidden(err) {
				t.Errorf("want the refusal, got %v", err)
			}
			var messages []string
			for _, report := range r.reports.Of(tenant.Ref{Name: "oil", UID: "oil-1"}) {
				messages = append(messages, report.Message)
			}
			if diff := cmp.Diff([]string{"delete namespace " + test.blocked + ": " + refused.Error()}, messages); diff != "" {
				t.Errorf("reports (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEvents(t *testing.T) {
	if changedLife(event.UpdateEvent{ObjectOld: oil(false), ObjectNew: oil(false)}) ||
		!changedLife(event.UpdateEvent{ObjectOld: oil(false, finalizer), ObjectNew: oil(true, finalizer)}) ||
		!changedLife(event.UpdateEvent{ObjectOld: oil(false, finalizer), ObjectNew: oil(false)}) {
		t.Error("want deletion and finalizers to count, and nothing else")
	}
	a, left := namespaceOf("oil-a", "oil-1"), namespaceOf("oil-a", "oil-1")
	left.Labels = nil
	if changedTenant(event.UpdateEvent{ObjectOld: a, ObjectNew: a}) || !changedTenant(event.UpdateEvent{ObjectOld: a, ObjectNew: left}) {
		t.Error("want membership to count, and nothing else")
	}
	if got := itsTenant(t.Context(), a); len(got) != 1 || got[0].Name != "oil" || len(itsTenant(t.Context(), left)) > 0 {
		t.Errorf("want the Tenant, got %v", got)
	}
}
