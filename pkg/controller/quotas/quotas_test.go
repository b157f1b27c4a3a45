// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package quotas

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/util/workqueue"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/quotas/ledger"
	"tenancy.capsule.io/pkg/controller/report"
	"tenancy.capsule.io/pkg/controller/usage"
	"tenancy.capsule.io/pkg/tenant"
)

type list = map[corev1.ResourceName]string

func quantities(list list) corev1.ResourceList {
	parsed := corev1.ResourceList{}
	for name, quantity := range list {
		parsed[name] = resource.MustParse(quantity)
	}
	return parsed
}

func TestShare(t *testing.T) {
	for name, test := range map[string]struct {
		hard, total, used, want list
	}{
		"nothing is used":          {hard: list{"pods": "10"}, want: list{"pods": "10"}},
		"what is left and its own": {hard: list{"pods": "10"}, total: list{"pods": "7"}, used: list{"pods": "2"}, want: list{"pods": "5"}},
		"nothing is left":          {hard: list{"pods": "10"}, total: list{"pods": "10"}, used: list{"pods": "2"}, want: list{"pods": "2"}},
		"more than all is used":    {hard: list{"pods": "10"}, total: list{"pods": "12"}, used: list{"pods": "2"}, want: list{"pods": "2"}},
		"nothing is used here":     {hard: list{"pods": "10"}, total: list{"pods": "12"}, want: list{"pods": "0"}},
		"several resources": {
			hard: list{"cpu": "2", "memory": "1Gi"}, total: list{"cpu": "500m", "memory": "256Mi"}, used: list{"cpu": "250m"},
			want: list{"cpu": "1750m", "memory": "768Mi"},
		},
		"what is not limited": {hard: list{"pods": "10"}, total: list{"cpu": "1"}, used: list{"cpu": "1"}, want: list{"pods": "10"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(quantities(test.want), Share(quantities(test.hard), quantities(test.total), quantities(test.used))); diff != "" {
				t.Errorf("share (-want +got):\n%s", diff)
			}
		})
	}
}

// TestShares holds the shares to what they are for: none is below what is used, and
// what all could use beyond that, one at a time, is what is left.
func TestShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hard := quantities(list{"pods": strconv.Itoa(rapid.IntRange(0, 50).Draw(t, "hard"))})
		used := rapid.SliceOfN(rapid.IntRange(0, 10), 1, 8).Draw(t, "used")
		var all []*corev1.ResourceQuota
		sum := int64(0)
		for _, n := range used {
			sum += int64(n)
			all = append(all, &corev1.ResourceQuota{Status: corev1.ResourceQuotaStatus{Used: quantities(list{"pods": strconv.Itoa(n)})}})
		}
		limit := hard["pods"]
		left := max(0, limit.Value()-sum)
		for i, quota := range all {
			share := Share(hard, Total(hard, all), quota.Status.Used)["pods"]
			if got := share.Value() - int64(used[i]); got != left {
				t.Fatalf("%d is left, namespace %d may use %d more", left, i, got)
			}
		}
	})
}

func TestAnnotation(t *testing.T) {
	long := corev1.ResourceName(strings.Repeat("x", 60))
	for given, want := range map[corev1.ResourceName]string{
		"pods": "quota.capsule.clastix.io/hard-pods",
		"gold.storageclass.k8s.io/requests.storage": "quota.capsule.clastix.io/hard-gold.storageclass.k8s.io_requests.storage",
		long: "quota.capsule.clastix.io/hard-1198000c11968f9368e02d6da57ec147",
	} {
		if got := annotation(hardPrefix, given); got != want {
			t.Errorf("%s: want %s, got %s", given, want, got)
		}
	}
}

// cluster is a cluster for a reconciler, with the Tenant oil.
type cluster struct {
	*reconciler

	// lock protects writes.
	lock   sync.Mutex
	writes []string
}

func oil(scope capsulev1beta2.ResourceQuotaScope, hard list) *capsulev1beta2.Tenant {
	return &capsulev1beta2.Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: "oil", UID: "oil-1"},
		Spec: capsulev1beta2.TenantSpec{ResourceQuotas: &capsulev1beta2.ResourceQuotas{
			Scope: scope, Items: []corev1.ResourceQuotaSpec{{Hard: quantities(hard)}},
		}},
	}
}

func namespaceOf(name string, uid types.UID) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{capsulev1beta2.TenantLabel: "oil"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "capsule.clastix.io/v1beta2", Kind: "Tenant", Name: "oil", UID: uid}},
	}}
}

func quota(namespace string, hard, used list) *corev1.ResourceQuota {
	return &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "capsule-oil-0",
			Labels: map[string]string{capsulev1beta2.ManagedTenantLabel: "oil", capsulev1beta2.ResourceQuotaLabel: "0"},
		},
		Spec:   corev1.ResourceQuotaSpec{Hard: quantities(hard)},
		Status: corev1.ResourceQuotaStatus{Used: quantities(used)},
	}
}

func newCluster(tb testing.TB, given ...client.Object) *cluster {
	tb.Helper()
	scheme := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(scheme))
	utilruntime.Must(capsulev1beta2.AddToScheme(scheme))
	collector, err := usage.Register(prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	c := &cluster{}
	underlying := fake.NewClientBuilder().WithScheme(scheme).WithObjects(given...).
		WithIndex(&corev1.ResourceQuota{}, objects.TenantOfQuota, func(quota client.Object) []string {
			return []string{quota.GetLabels()[capsulev1beta2.ManagedTenantLabel]}
		}).
		WithIndex(objects.Metadata(objects.NamespaceKind), objects.TenantOfNamespace, func(namespace client.Object) []string {
			ref, _ := tenant.Of(namespace)
			return []string{ref.Name}
		}).
		WithInterceptorFuncs(interceptor.Funcs{
			Patch: func(ctx context.Context, underlying client.WithWatch, object client.Object, patch client.Patch, options ...client.PatchOption) error {
				data, err := patch.Data(object)
				if err != nil || !strings.Contains(string(data), "resourceVersion") {
					return fmt.Errorf("a patch without a precondition: %s, %w", data, err)
				}
				c.lock.Lock()
				c.writes = append(c.writes, object.GetNamespace())
				c.lock.Unlock()
				return underlying.Patch(ctx, object, patch, options...)
			},
		}).Build()
	c.reconciler = &reconciler{Client: underlying, reports: report.New(), usage: collector}
	return c
}

// reconcile returns who was written, and then the quotas by namespace.
func (c *cluster) reconcile(ctx context.Context, tb testing.TB) ([]string, map[string]*corev1.ResourceQuota) {
	tb.Helper()
	c.writes = nil
	if _, err := c.Reconcile(ctx, request("oil")); err != nil {
		tb.Fatal(err)
	}
	slices.Sort(c.writes)
	var all corev1.ResourceQuotaList
	if err := c.List(ctx, &all); err != nil {
		tb.Fatal(err)
	}
	byNamespace := map[string]*corev1.ResourceQuota{}
	for i := range all.Items {
		byNamespace[all.Items[i].Namespace] = &all.Items[i]
	}
	return c.writes, byNamespace
}

func TestReconcile(t *testing.T) {
	ctx := t.Context()
	t1 := oil(capsulev1beta2.ResourceQuotaScopeTenant, list{"pods": "10"})
	c := newCluster(t, t1,
		namespaceOf("oil-a", "oil-1"), namespaceOf("oil-b", "oil-1"), namespaceOf("oil-old", "oil-0"),
		quota("oil-a", list{"pods": "10"}, list{"pods": "3"}),
		quota("oil-b", list{"pods": "6"}, list{"pods": "1"}),
		// Not in a namespace of this Tenant; not of an item that there is.
		quota("oil-old", list{"pods": "10"}, list{"pods": "5"}),
		quota("elsewhere", list{"pods": "10"}, list{"pods": "5"}),
	)
	writes, quotas := c.reconcile(ctx, t)
	if diff := cmp.Diff([]string{"oil-a", "oil-b"}, writes); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	for namespace, want := range map[string]string{"oil-a": "9", "oil-b": "7", "oil-old": "10", "elsewhere": "10"} {
		if diff := cmp.Diff(quantities(list{"pods": want}), quotas[namespace].Spec.Hard); diff != "" {
			t.Errorf("%s (-want +got):\n%s", namespace, diff)
		}
	}
	if diff := cmp.Diff(map[string]string{"quota.capsule.clastix.io/used-pods": "4"}, quotas["oil-a"].Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if writes, _ := c.reconcile(ctx, t); len(writes) > 0 {
		t.Errorf("the second time: %q", writes)
	}

	// One changes, and so do the others.
	quotas["oil-b"].Status.Used = quantities(list{"pods": "7"})
	if err := c.Update(ctx, quotas["oil-b"]); err != nil {
		t.Fatal(err)
	}
	_, quotas = c.reconcile(ctx, t)
	for namespace, want := range map[string]string{"oil-a": "3", "oil-b": "7"} {
		if diff := cmp.Diff(quantities(list{"pods": want}), quotas[namespace].Spec.Hard); diff != "" {
			t.Errorf("%s, full (-want +got):\n%s", namespace, diff)
		}
	}

	t1.Spec.ResourceQuotas.Scope = capsulev1beta2.ResourceQuotaScopeNamespace
	if err := c.Update(ctx, t1); err != nil {
		t.Fatal(err)
	}
	_, quotas = c.reconcile(ctx, t)
	if got := quotas["oil-a"]; len(got.Annotations) > 0 || got.Spec.Hard.Pods().Value() != 3 {
		t.Errorf("want no annotations, and limits that are left to others, got %+v", got)
	}

	if err := c.Delete(ctx, t1); err != nil {
		t.Fatal(err)
	}
	if writes, _ := c.reconcile(ctx, t); len(writes) > 0 {
		t.Errorf("of a Tenant that is gone: %q", writes)
	}
}

// TestForeignQuota has an administrator mark a ResourceQuota of his own like those of a
// Tenant: it counts for nothing, and stays as it is.
func TestForeignQuota(t *testing.T) {
	foreign := quota("oil-a", list{"pods": "100"}, list{"pods": "3"})
	foreign.Name = "mine"
	c := newCluster(t, oil(capsulev1beta2.ResourceQuotaScopeTenant, list{"pods": "10"}),
		namespaceOf("oil-a", "oil-1"), namespaceOf("oil-b", "oil-1"), foreign,
		quota("oil-b", list{"pods": "10"}, list{"pods": "1"}),
	)
	writes, quotas := c.reconcile(t.Context(), t)
	if diff := cmp.Diff([]string{"oil-b"}, writes); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(quantities(list{"pods": "10"}), quotas["oil-b"].Spec.Hard); diff != "" {
		t.Errorf("the Tenant's own (-want +got):\n%s", diff)
	}
}

func TestUsageOf(t *testing.T) {
	total := quantities(list{"pods": "4"})
	for scope, limit := range map[capsulev1beta2.ResourceQuotaScope]float64{
		capsulev1beta2.ResourceQuotaScopeTenant: 10, capsulev1beta2.ResourceQuotaScopeNamespace: 30,
	} {
		want := []usage.Resource{{Name: "pods", Index: "0", Used: 4, Limit: &limit}}
		if diff := cmp.Diff(want, usageOf(oil(scope, list{"pods": "10"}), 0, total, 3)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", scope, diff)
		}
	}
}

// asked collects what is put into a queue.
type asked struct {
	queue

	names []string
}

func (a *asked) Add(request reconcile.Request) { a.names = append(a.names, request.Name) }
func (a *asked) AddAfter(request reconcile.Request, after time.Duration) {
	a.names = append(a.names, request.Name+" after "+after.String())
}

func TestEvents(t *testing.T) {
	was := quota("oil-a", list{"pods": "10"}, list{"pods": "3"})
	with := func(change func(*corev1.ResourceQuota)) *corev1.ResourceQuota {
		is := was.DeepCopy()
		change(is)
		return is
	}
	for name, test := range map[string]struct {
		is   *corev1.ResourceQuota
		want int
	}{
		"nothing":      {with(func(q *corev1.ResourceQuota) { q.ResourceVersion = "2" }), 0},
		"what is hard": {with(func(q *corev1.ResourceQuota) { q.Status.Hard = q.Spec.Hard }), 0},
		"that it was asked to be counted": {with(func(q *corev1.ResourceQuota) {
			q.Annotations = map[string]string{ledger.SettlingAnnotation: "pods=settled"}
		}), 2},
		"what is used":  {with(func(q *corev1.ResourceQuota) { q.Status.Used = nil }), 2},
		"its limit":     {with(func(q *corev1.ResourceQuota) { q.Spec.Hard = nil }), 2},
		"an annotation": {with(func(q *corev1.ResourceQuota) { q.Annotations = map[string]string{"a": "b"} }), 2},
		"another one":   {with(func(q *corev1.ResourceQuota) { q.UID = "2" }), 2},
		"not ours":      {with(func(q *corev1.ResourceQuota) { q.Labels = nil }), 0},
	} {
		t.Run(name, func(t *testing.T) {
			a := &asked{queue: workqueue.TypedRateLimitingInterface[reconcile.Request](nil)}
			quotaHandler().Update(t.Context(), event.UpdateEvent{ObjectOld: was, ObjectNew: test.is}, a)
			if len(a.names) != test.want || len(a.names) > 0 && a.names[0] != "oil after 500ms" {
				t.Errorf("want %d requests, got %q", test.want, a.names)
			}
		})
	}
	settling := with(func(q *corev1.ResourceQuota) {
		q.Annotations = map[string]string{ledger.SettlingAnnotation: "pods=settled"}
	})
	counted := settling.DeepCopy()
	counted.Status.Hard = counted.Spec.Hard
	a := &asked{}
	quotaHandler().Update(t.Context(), event.UpdateEvent{ObjectOld: settling, ObjectNew: counted}, a)
	ledgerHandler().Update(t.Context(), event.UpdateEvent{ObjectOld: was, ObjectNew: was}, a)
	ledgerHandler().Delete(t.Context(), event.DeleteEvent{Object: was}, a)
	if len(a.names) != 4 {
		t.Errorf("counted as asked, and ledgers: want 4 requests, got %q", a.names)
	}
	a = &asked{}
	t1 := oil(capsulev1beta2.ResourceQuotaScopeTenant, list{"pods": "10"})
	other, cordoned := t1.DeepCopy(), t1.DeepCopy()
	other.Generation, other.Spec.ResourceQuotas.Items = 2, nil
	cordoned.Generation, cordoned.Spec.Cordoned = 2, true
	tenantHandler().Update(t.Context(), event.UpdateEvent{ObjectOld: t1, ObjectNew: cordoned}, a)
	tenantHandler().Update(t.Context(), event.UpdateEvent{ObjectOld: t1, ObjectNew: other}, a)
	if diff := cmp.Diff([]string{"oil"}, a.names); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}
