// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package resourcequotas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/quotas/ledger"
	"tenancy.capsule.io/pkg/tenant"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func pods(n int64) corev1.ResourceList {
	return corev1.ResourceList{"pods": *resource.NewQuantity(n, resource.DecimalSI)}
}

// oil returns a Tenant whose namespaces share ten pods.
func oil() *capsulev1beta2.Tenant {
	return &capsulev1beta2.Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: "oil", UID: "oil-1"},
		Spec: capsulev1beta2.TenantSpec{ResourceQuotas: &capsulev1beta2.ResourceQuotas{
			Scope: capsulev1beta2.ResourceQuotaScopeTenant, Items: []corev1.ResourceQuotaSpec{{Hard: pods(10)}},
		}},
	}
}

func namespaceOf(name string, uid types.UID) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{capsulev1beta2.TenantLabel: "oil"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "capsule.clastix.io/v1beta2", Kind: "Tenant", Name: "oil", UID: uid}},
	}}
}

func quota(namespace string, used int64) *corev1.ResourceQuota {
	return &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "capsule-oil-0", UID: types.UID(namespace), ResourceVersion: "7",
			Labels:      map[string]string{capsulev1beta2.ManagedTenantLabel: "oil", capsulev1beta2.ResourceQuotaLabel: "0"},
			Annotations: map[string]string{"quota.capsule.clastix.io/hard-pods": "10"},
		},
		Status: corev1.ResourceQuotaStatus{Used: pods(used)},
	}
}

// newClient returns a client of a cluster, with the indexes of the cache.
func newClient(given ...client.Object) client.WithWatch {
	scheme := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(scheme))
	utilruntime.Must(capsulev1beta2.AddToScheme(scheme))
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(given...).
		WithIndex(&corev1.ResourceQuota{}, objects.TenantOfQuota, func(quota client.Object) []string {
			return []string{quota.GetLabels()[capsulev1beta2.ManagedTenantLabel]}
		}).
		WithIndex(objects.Metadata(objects.NamespaceKind), objects.TenantOfNamespace, func(namespace client.Object) []string {
			ref, _ := tenant.Of(namespace)
			return []string{ref.Name}
		}).Build()
}

// newHandler returns a replica, and where its ledgers are.
func newHandler(c client.Client, clock clock.Clock) (*Handler, *ledger.Store) {
	store := ledger.NewStore(c, c, "tenancy-system")
	return NewHandler(c, c, store, clock), store
}

// requestTo is what the API server sends to have more used.
func requestTo(tb testing.TB, was *corev1.ResourceQuota, used int64) admission.Request {
	tb.Helper()
	encode := func(q *corev1.ResourceQuota) runtime.RawExtension {
		raw, err := json.Marshal(q)
		if err != nil {
			tb.Fatal(err)
		}
		return runtime.RawExtension{Raw: raw}
	}
	is := was.DeepCopy()
	is.Status.Used = pods(used)
	return admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		Operation: admissionv1.Update, Namespace: was.Namespace, Name: was.Name, SubResource: "status",
		Resource: metav1.GroupVersionResource{Version: "v1", Resource: "resourcequotas"}, Object: encode(is), OldObject: encode(was),
	}}
}

func TestHandle(t *testing.T) {
	cluster := []client.Object{oil(), namespaceOf("oil-a", "oil-1"), namespaceOf("oil-b", "oil-1"), quota("oil-a", 3), quota("oil-b", 4)}
	without := func(change func(*capsulev1beta2.Tenant)) []client.Object {
		t1 := oil()
		change(t1)
		return append([]client.Object{t1}, cluster[1:]...)
	}
	with := func(change func(*corev1.ResourceQuota)) *corev1.ResourceQuota {
		q := quota("oil-a", 3)
		change(q)
		return q
	}
	for name, test := range map[string]struct {
		cluster  []client.Object
		was      *corev1.ResourceQuota
		used     int64
		dryRun   bool
		noLedger bool
		// held is what oil-b was granted.
		held int64
		// granted is what oil-a is granted then; 0 is that nothing is written.
		granted int64
		// want are parts of the refusal.
		want []string
	}{
		"there is room":               {used: 6, granted: 6},
		"there is not":                {used: 7, want: []string{`tenant "oil" share the quota capsule-oil-0: 7 of 10 pods are used, and 4 more are asked for: delete`}},
		"it is held":                  {used: 6, held: 6, want: []string{"is held for", "try again in some seconds"}},
		"on a dry run":                {used: 6, dryRun: true},
		"too much on a dry run":       {used: 7, dryRun: true, want: []string{"are used"}},
		"less":                        {used: 2},
		"within what is granted":      {was: with(func(q *corev1.ResourceQuota) { q.Annotations[ledger.GrantedAnnotation] = "pods=9" }), used: 9},
		"nobody keeps account":        {used: 4, noLedger: true, want: []string{"nobody keeps account yet", "try again"}},
		"not shared":                  {cluster: without(func(t *capsulev1beta2.Tenant) { t.Spec.ResourceQuotas.Scope = "Namespace" }), used: 99},
		"no quotas":                   {cluster: without(func(t *capsulev1beta2.Tenant) { t.Spec.ResourceQuotas = nil }), used: 99},
		"no such item":                {was: with(func(q *corev1.ResourceQuota) { q.Labels[capsulev1beta2.ResourceQuotaLabel] = "1" }), used: 99},
		"no item":                     {was: with(func(q *corev1.ResourceQuota) { q.Labels = nil }), used: 99},
		"another name":                {was: with(func(q *corev1.ResourceQuota) { q.Name = "mine" }), used: 99},
		"an earlier life":             {cluster: []client.Object{oil(), namespaceOf("oil-a", "oil-0")}, used: 99},
		"nobody's namespace":          {cluster: []client.Object{oil(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "oil-a"}}}, used: 99},
		"a namespace that is gone":    {cluster: []client.Object{oil()}, used: 99},
		"a resource without a limit":  {cluster: without(func(t *capsulev1beta2.Tenant) { t.Spec.ResourceQuotas.Items[0].Hard = nil }), used: 99},
		"a limit that is lower":       {cluster: without(func(t *capsulev1beta2.Tenant) { t.Spec.ResourceQuotas.Items[0].Hard = pods(5) }), used: 4, want: []string{"7 of 5 pods"}},
		"a limit of nothing":          {cluster: without(func(t *capsulev1beta2.Tenant) { t.Spec.ResourceQuotas.Items[0].Hard = pods(0) }), used: 4, want: []string{"of 0 pods"}},
		"an annotation that is wrong": {was: with(func(q *corev1.ResourceQuota) { q.Annotations[ledger.GrantedAnnotation] = "=,,pods=x" }), used: 6, granted: 6},
		"no annotations":              {was: with(func(q *corev1.ResourceQuota) { q.Annotations = nil }), used: 6, granted: 6},
	} {
		t.Run(name, func(t *testing.T) {
			if test.cluster == nil {
				test.cluster = cluster
			}
			if test.was == nil {
				test.was = quota("oil-a", 3)
			}
			h, store := newHandler(newClient(test.cluster...), clocktesting.NewFakeClock(start))
			if !test.noLedger {
				l := ledger.New()
				l.Set("oil-b", "pods", ledger.Grant{Granted: *resource.NewQuantity(test.held, resource.DecimalSI)})
				if err := store.Create(t.Context(), oil(), 0, l); err != nil {
					t.Fatal(err)
				}
			}
			request := requestTo(t, test.was, test.used)
			request.DryRun = &test.dryRun
			response := h.Handle(t.Context(), request)
			if len(test.want) == 0 && !response.Allowed {
				t.Errorf("want it to pass, got %v", response.Result)
			}
			for _, want := range test.want {
				if response.Allowed || response.Result.Code != http.StatusForbidden || !strings.Contains(response.Result.Message, want) {
					t.Errorf("want a refusal for %q, got %v", want, response.Result)
				}
			}
			l, err := store.Get(t.Context(), oil(), 0)
			if err != nil {
				t.Fatal(err)
			}
			if test.noLedger {
				if l != nil {
					t.Errorf("it made a ledger: %+v", l)
				}
				return
			}
			grant := l.Of("oil-a", "pods")
			if grant.Granted.Value() != test.granted {
				t.Errorf("want a grant of %d, got %s", test.granted, grant.Granted.String())
			}
			if test.granted > 0 && !strings.Contains(fmt.Sprint(response.Patches), grant.Token()) {
				t.Errorf("want the token %s, got %v", grant.Token(), response.Patches)
			}
		})
	}
}

// TestHandleFailsClosed has every request to the API server fail in turn.
func TestHandleFailsClosed(t *testing.T) {
	for fail := range 20 {
		requests, failed := 0, false
		count := func() error {
			if requests++; requests == fail+1 {
				failed = true
				return errors.New("boom")
			}
			return nil
		}
		underlying := newClient(oil(), namespaceOf("oil-a", "oil-1"), quota("oil-a", 3))
		c := interceptor.NewClient(underlying, interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
				if err := count(); err != nil {
					return err
				}
				return c.Get(ctx, key, object, opts...)
			},
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
				if err := count(); err != nil {
					return err
				}
				return c.List(ctx, list, opts...)
			},
			Update: func(ctx context.Context, c client.WithWatch, object client.Object, opts ...client.UpdateOption) error {
				if err := count(); err != nil {
					return err
				}
				return c.Update(ctx, object, opts...)
			},
		})
		if err := ledger.NewStore(underlying, underlying, "tenancy-system").Create(t.Context(), oil(), 0, ledger.New()); err != nil {
			t.Fatal(err)
		}
		h, _ := newHandler(c, clock.RealClock{})
		response := h.Handle(t.Context(), requestTo(t, quota("oil-a", 3), 4))
		if !failed {
			if fail != 6 || !response.Allowed {
				t.Errorf("after %d requests: %v", fail, response.Result)
			}
			return
		}
		if response.Allowed || response.Result.Code != http.StatusInternalServerError {
			t.Errorf("request %d failed: got %v", fail, response.Result)
		}
	}
}

// TestHandleAtOnce has many namespaces ask two replicas at the same moment.
func TestHandleAtOnce(t *testing.T) {
	const namespaces = 24
	cluster := []client.Object{oil()}
	for i := range namespaces {
		cluster = append(cluster, namespaceOf("oil-"+strconv.Itoa(i), "oil-1"), quota("oil-"+strconv.Itoa(i), 0))
	}
	c := newClient(cluster...)
	var replicas []*Handler
	for range 2 {
		h, _ := newHandler(c, clock.RealClock{})
		replicas = append(replicas, h)
	}
	if err := ledger.NewStore(c, c, "tenancy-system").Create(t.Context(), oil(), 0, ledger.New()); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	allowed := make([]bool, namespaces)
	for i := range namespaces {
		request := requestTo(t, quota("oil-"+strconv.Itoa(i), 0), 1)
		group.Go(func() { allowed[i] = replicas[i%2].Handle(t.Context(), request).Allowed })
	}
	group.Wait()
	got := 0
	for _, ok := range allowed {
		if ok {
			got++
		}
	}
	if got != 10 {
		t.Errorf("%d of 10 were allowed", got)
	}
}

// TestHandleInTime has somebody else write the ledger each time.
func TestHandleInTime(t *testing.T) {
	underlying := newClient(oil(), namespaceOf("oil-a", "oil-1"), quota("oil-a", 3))
	store := ledger.NewStore(underlying, underlying, "tenancy-system")
	if err := store.Create(t.Context(), oil(), 0, ledger.New()); err != nil {
		t.Fatal(err)
	}
	writes := int64(0)
	c := interceptor.NewClient(underlying, interceptor.Funcs{
		Update: func(ctx context.Context, c client.WithWatch, object client.Object, opts ...client.UpdateOption) error {
			writes++
			l, err := store.Get(ctx, oil(), 0)
			if err != nil {
				return err
			}
			l.Set("oil-b", "pods", ledger.Grant{Granted: *resource.NewQuantity(writes, resource.DecimalSI)})
			return errors.Join(store.Update(ctx, l), c.Update(ctx, object, opts...))
		},
	})
	h, _ := newHandler(c, clock.RealClock{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	response := h.Handle(ctx, requestTo(t, quota("oil-a", 0), 1))
	if response.Allowed {
		t.Errorf("it was let in after %d conflicts", writes)
	}
}

func TestHandleOthers(t *testing.T) {
	good := requestTo(t, quota("oil-a", 3), 4)
	for name, change := range map[string]func(*admissionv1.AdmissionRequest){
		"another kind":         func(r *admissionv1.AdmissionRequest) { r.Resource.Resource = "secrets" },
		"another group":        func(r *admissionv1.AdmissionRequest) { r.Resource.Group = "example.com" },
		"not the status":       func(r *admissionv1.AdmissionRequest) { r.SubResource = "" },
		"a deletion":           func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Delete },
		"no object":            func(r *admissionv1.AdmissionRequest) { r.Object.Raw = nil },
		"no object before":     func(r *admissionv1.AdmissionRequest) { r.OldObject.Raw = nil },
		"no JSON":              func(r *admissionv1.AdmissionRequest) { r.Object.Raw = []byte("{") },
		"no quantity":          func(r *admissionv1.AdmissionRequest) { r.Object.Raw = []byte(`{"status":{"used":{"pods":"x"}}}`) },
		"of another one":       func(r *admissionv1.AdmissionRequest) { r.Name = "other" },
		"of another namespace": func(r *admissionv1.AdmissionRequest) { r.Namespace = "other" },
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := newHandler(newClient(), clock.RealClock{})
			request := admission.Request{AdmissionRequest: *good.DeepCopy()}
			change(&request.AdmissionRequest)
			if response := h.Handle(t.Context(), request); response.Allowed || response.Result.Code != http.StatusBadRequest {
				t.Errorf("want 400, got %v", response.Result)
			}
		})
	}
}
