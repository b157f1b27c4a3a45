// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
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
	"tenancy.capsule.io/pkg/tenant"
)

var scheme = func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(scheme))
	utilruntime.Must(capsulev1beta2.AddToScheme(scheme))
	return scheme
}()

const name = "pv-1"

func tenantNamed(name string, uid types.UID) *capsulev1beta2.Tenant {
	return &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name, UID: uid}}
}

// namespaceOf returns a namespace of the Tenant with that name and UID.
func namespaceOf(namespace, tenantName string, uid types.UID) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: namespace, Labels: map[string]string{capsulev1beta2.TenantLabel: tenantName},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "capsule.clastix.io/v1beta2", Kind: "Tenant", Name: tenantName, UID: uid}},
	}}
}

// claim returns the claim "data" of the namespace prod.
func claim(uid types.UID) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "data", UID: uid}}
}

// volume returns a volume that is bound to the claim "data" of a namespace.
func volume(label, namespace string, uid types.UID) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: "pv-uid", Labels: map[string]string{"disk": "ssd"}},
		Status:     corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound},
	}
	if label != "" {
		v.Labels[capsulev1beta2.TenantLabel] = label
	}
	if namespace != "" {
		v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: namespace, Name: "data", UID: uid}
	}
	return v
}

func inPhase(phase corev1.PersistentVolumePhase, v *corev1.PersistentVolume) *corev1.PersistentVolume {
	v.Status.Phase = phase
	return v
}

func TestReconcile(t *testing.T) {
	oil, gas := tenantNamed("oil", "oil-1"), tenantNamed("gas", "gas-1")
	inOil, inGas := namespaceOf("prod", "oil", "oil-1"), namespaceOf("prod", "gas", "gas-1")
	for name, test := range map[string]struct {
		given []client.Object
		// live is what the API server has in the place of what is cached.
		live []client.Object
		want string
		// wantWrite is false where nothing may be written.
		wantWrite bool
	}{
		"bound":                  {given: []client.Object{oil, inOil, claim("c"), volume("", "prod", "c")}, want: "oil", wantWrite: true},
		"labelled already":       {given: []client.Object{oil, inOil, claim("c"), volume("oil", "prod", "c")}, want: "oil"},
		"no volume":              {},
		"not claimed":            {given: []client.Object{oil, inOil, volume("gas", "", "")}, want: "gas"},
		"bound again":            {given: []client.Object{oil, inOil, claim("c"), volume("gas", "prod", "c")}, want: "oil", wantWrite: true},
		"released":               {given: []client.Object{oil, inOil, claim("c"), inPhase(corev1.VolumeReleased, volume("gas", "prod", "c"))}, want: "gas"},
		"failed":                 {given: []client.Object{oil, inOil, claim("c"), inPhase(corev1.VolumeFailed, volume("", "prod", "c"))}},
		"the claim is gone":      {given: []client.Object{oil, inOil, volume("gas", "prod", "c")}, want: "gas"},
		"the claim is new":       {given: []client.Object{oil, inOil, claim("d"), volume("gas", "prod", "c")}, want: "gas"},
		"the namespace is gone":  {given: []client.Object{oil, claim("c"), volume("gas", "prod", "c")}, want: "gas"},
		"nobody's namespace":     {given: []client.Object{oil, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "prod"}}, claim("c"), volume("gas", "prod", "c")}, want: "gas"},
		"no Tenant":              {given: []client.Object{inOil, claim("c"), volume("", "prod", "c")}},
		"an earlier life":        {given: []client.Object{tenantNamed("oil", "oil-2"), inOil, claim("c"), volume("", "prod", "c")}},
		"bound by administrator": {given: []client.Object{oil, inOil, inPhase(corev1.VolumeAvailable, volume("", "prod", ""))}, want: "oil", wantWrite: true},
		"the namespace is new": {
			given: []client.Object{oil, gas, inOil, volume("gas", "prod", "c")},
			live:  []client.Object{inGas},
			want:  "gas",
		},
		"the namespace and its claim are new": {
			given: []client.Object{oil, gas, inOil, volume("", "prod", "c")},
			live:  []client.Object{inGas, claim("d")},
		},
		"the namespace has moved": {
			given:     []client.Object{oil, gas, inOil, volume("", "prod", "c")},
			live:      []client.Object{inGas, claim("c")},
			want:      "gas",
			wantWrite: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			writes := 0
			cached := newClient(&writes, test.given...)
			var live client.Reader = cached
			if test.live != nil {
				live = newClient(&writes, test.live...)
			}
			r := &reconciler{objects.Applier{Client: cached, Live: live}}
			if _, err := r.Reconcile(t.Context(), request()); err != nil {
				t.Fatal(err)
			}
			if (writes > 0) != test.wantWrite {
				t.Errorf("want a write: %v, got %d", test.wantWrite, writes)
			}
			if len(test.given) == 0 {
				return
			}
			var got corev1.PersistentVolume
			if err := cached.Get(t.Context(), request().NamespacedName, &got); err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"disk": "ssd"}
			if test.want != "" {
				want[capsulev1beta2.TenantLabel] = test.want
			}
			if diff := cmp.Diff(want, got.Labels); diff != "" {
				t.Errorf("labels (-want +got):\n%s", diff)
			}
			writes = 0
			if _, err := r.Reconcile(t.Context(), request()); err != nil || writes > 0 {
				t.Errorf("the second time: %v, %d writes", err, writes)
			}
		})
	}
}

func newClient(writes *int, given ...client.Object) client.WithWatch {
	copies := make([]client.Object, 0, len(given))
	for _, object := range given {
		copies = append(copies, object.DeepCopyObject().(client.Object)) //nolint:forcetypeassert // a copy is of the same type
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(copies...).
		WithIndex(&corev1.PersistentVolume{}, objects.ClaimNamespaceOfVolume, func(object client.Object) []string {
			if v, ok := object.(*corev1.PersistentVolume); ok && v.Spec.ClaimRef != nil {
				return []string{v.Spec.ClaimRef.Namespace}
			}
			return nil
		}).
		WithIndex(objects.Metadata(objects.NamespaceKind), objects.TenantOfNamespace, func(namespace client.Object) []string {
			ref, _ := tenant.Of(namespace)
			return []string{ref.Name}
		}).
		WithInterceptorFuncs(interceptor.Funcs{
			Apply: func(ctx context.Context, underlying client.WithWatch, wanted runtime.ApplyConfiguration, options ...client.ApplyOption) error {
				*writes++
				return underlying.Apply(ctx, wanted, options...)
			},
		}).Build()
}

func request() reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}
}

// TestChangedSince holds the reconciler not to label a volume that is bound anew.
func TestChangedSince(t *testing.T) {
	writes := 0
	c := newClient(&writes, tenantNamed("oil", "oil-1"), namespaceOf("prod", "oil", "oil-1"), claim("c"), volume("", "prod", "c"))
	var seen corev1.PersistentVolume
	if err := c.Get(t.Context(), request().NamespacedName, &seen); err != nil {
		t.Fatal(err)
	}
	rebound := seen.DeepCopy()
	rebound.Spec.ClaimRef.UID = "d"
	if err := c.Update(t.Context(), rebound); err != nil {
		t.Fatal(err)
	}
	r := &reconciler{objects.Applier{Client: c, Live: c}}
	if err := r.label(t.Context(), &seen, tenant.Ref{Name: "oil", UID: "oil-1"}); err == nil {
		t.Error("want a conflict")
	}
}

func TestChangedClaim(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*corev1.PersistentVolume)
		want   bool
	}{
		"nothing":      {func(*corev1.PersistentVolume) {}, false},
		"another one":  {func(v *corev1.PersistentVolume) { v.UID = "other" }, true},
		"other labels": {func(v *corev1.PersistentVolume) { v.Labels["disk"] = "hdd" }, false},
		"our label":    {func(v *corev1.PersistentVolume) { delete(v.Labels, capsulev1beta2.TenantLabel) }, true},
		"another claim": {func(v *corev1.PersistentVolume) {
			v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "prod", Name: "data", UID: "d"}
		}, true},
		"no claim":      {func(v *corev1.PersistentVolume) { v.Spec.ClaimRef = nil }, true},
		"released":      {func(v *corev1.PersistentVolume) { v.Status.Phase = corev1.VolumeReleased }, true},
		"available":     {func(v *corev1.PersistentVolume) { v.Status.Phase = corev1.VolumeAvailable }, false},
		"its retention": {func(v *corev1.PersistentVolume) { v.Spec.PersistentVolumeReclaimPolicy = "Retain" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			was := volume("oil", "prod", "c")
			is := was.DeepCopy()
			test.change(is)
			if got := changedClaim(event.UpdateEvent{ObjectOld: was, ObjectNew: is}); got != test.want {
				t.Errorf("want %v, got %v", test.want, got)
			}
		})
	}
}

func TestChangedTenant(t *testing.T) {
	nobodys := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "prod"}}
	oil := namespaceOf("prod", "oil", "oil-1")
	for name, test := range map[string]struct {
		was, is *corev1.Namespace
		want    bool
	}{
		"still nobody's":    {nobodys, nobodys, false},
		"still oil's":       {oil, oil, false},
		"oil's now":         {nobodys, oil, true},
		"gas's now":         {oil, namespaceOf("prod", "gas", "gas-1"), true},
		"another life's":    {oil, namespaceOf("prod", "oil", "oil-2"), true},
		"nobody's any more": {oil, nobodys, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := changedTenant(event.UpdateEvent{ObjectOld: test.was, ObjectNew: test.is}); got != test.want {
				t.Errorf("want %v, got %v", test.want, got)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	writes := 0
	other := volume("", "dev", "c")
	other.Name = "pv-2"
	elsewhere := volume("", "default", "c")
	elsewhere.Name = "pv-3"
	oil := tenantNamed("oil", "oil-1")
	c := newClient(&writes, oil, volume("", "prod", "c"), other, elsewhere,
		namespaceOf("prod", "oil", "oil-1"), namespaceOf("dev", "oil", "oil-1"), namespaceOf("old", "oil", "oil-0"))
	r := &reconciler{objects.Applier{Client: c, Live: c}}
	names := func(requests []reconcile.Request) []string {
		set := map[string]bool{}
		for _, request := range requests {
			set[request.Name] = true
		}
		return slices.Sorted(maps.Keys(set))
	}
	if diff := cmp.Diff([]string{"pv-1"}, names(r.volumesOfNamespace(t.Context(), namespaceOf("prod", "oil", "oil-1")))); diff != "" {
		t.Errorf("volumes of a namespace (-want +got):\n%s", diff)
	}
	if got := r.volumesOfNamespace(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}); len(got) > 0 {
		t.Errorf("want no volumes of nobody's namespace, got %v", got)
	}
	if diff := cmp.Diff([]string{"pv-1", "pv-2"}, names(r.volumesOfTenant(t.Context(), oil))); diff != "" {
		t.Errorf("volumes of a Tenant (-want +got):\n%s", diff)
	}
}
