// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/controller/report"
	"tenancy.capsule.io/pkg/controller/usage"
	"tenancy.capsule.io/pkg/tenant"
)

var scheme = func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, nodev1.AddToScheme, schedulingv1.AddToScheme, storagev1.AddToScheme, capsulev1beta2.AddToScheme,
	} {
		utilruntime.Must(add(scheme))
	}
	return scheme
}()

// cluster is a cluster for a reconciler.
type cluster struct {
	// clock goes on by writing with each write.
	clock   *clocktesting.FakePassiveClock
	writing time.Duration

	*reconciler

	writes   int
	recorded chan string
}

func newCluster(tb testing.TB, given ...client.Object) *cluster {
	tb.Helper()
	recorder := events.NewFakeRecorder(100)
	c := &cluster{recorded: recorder.Events, clock: clocktesting.NewFakePassiveClock(now)}
	underlying := fake.NewClientBuilder().WithScheme(scheme).WithObjects(given...).WithStatusSubresource(&capsulev1beta2.Tenant{}).
		WithIndex(objects.Metadata(objects.NamespaceKind), objects.TenantOfNamespace, func(namespace client.Object) []string {
			ref, _ := tenant.Of(namespace)
			return []string{ref.Name}
		}).
		WithInterceptorFuncs(interceptor.Funcs{
			SubResourceApply: func(ctx context.Context, underlying client.Client, name string, wanted runtime.ApplyConfiguration, options ...client.SubResourceApplyOption) error {
				c.writes++
				c.clock.SetTime(c.clock.Now().Add(c.writing))
				return underlying.SubResource(name).Apply(ctx, wanted, options...)
			},
		}).Build()
	registry := prometheus.NewRegistry()
	metrics, err := register(registry)
	if err != nil {
		tb.Fatal(err)
	}
	used, err := usage.Register(registry)
	if err != nil {
		tb.Fatal(err)
	}
	c.reconciler = &reconciler{objects.Applier{Client: underlying, Live: underlying}, owners.New(underlying, "default"), report.New(), recorder, metrics, used, c.clock, newPace(c.clock)}
	return c
}

// reconcile returns the Tenant oil as it is then.
func (c *cluster) reconcile(ctx context.Context, tb testing.TB, wantWrites int, wantEvents ...string) *capsulev1beta2.Tenant {
	tb.Helper()
	c.writes = 0
	if _, err := c.Reconcile(ctx, request("oil")); err != nil {
		tb.Fatal(err)
	}
	if c.writes != wantWrites {
		tb.Errorf("want %d writes, got %d", wantWrites, c.writes)
	}
	var got []string
	for len(c.recorded) > 0 {
		got = append(got, <-c.recorded)
	}
	if diff := cmp.Diff(wantEvents, got); diff != "" {
		tb.Errorf("events (-want +got):\n%s", diff)
	}
	t := &capsulev1beta2.Tenant{}
	if err := c.Get(ctx, client.ObjectKey{Name: "oil"}, t); client.IgnoreNotFound(err) != nil {
		tb.Fatal(err)
	}
	return t
}

func namespaceObject(name string) *corev1.Namespace {
	n := namespace(name, "")
	return &corev1.Namespace{ObjectMeta: n.ObjectMeta}
}

// TestPace has a status be written as seldom as it takes long, but for a change of the
// spec.
func TestPace(t *testing.T) {
	c := newCluster(t, oil(func(*capsulev1beta2.Tenant) {}))
	c.writing = 100 * time.Millisecond
	got := c.reconcile(t.Context(), t, 1)
	for _, step := range []struct {
		what       string
		later      time.Duration
		generation int64
		want       int
		wantRest   time.Duration
	}{
		{"at once", 0, 7, 0, 10 * time.Second},
		{"soon", 9 * time.Second, 7, 0, time.Second},
		{"with another spec", 0, 8, 1, 0},
		{"when it has rested", 10 * time.Second, 8, 1, 0},
	} {
		c.clock.SetTime(c.clock.Now().Add(step.later))
		if step.generation != got.Generation {
			got.Generation = step.generation
			if err := c.Update(t.Context(), got); err != nil {
				t.Fatal(err)
			}
		} else if err := c.Create(t.Context(), namespaceObject("oil-"+strings.ReplaceAll(step.what, " ", "-"))); err != nil {
			t.Fatal(err)
		}
		c.writes = 0
		result, err := c.Reconcile(t.Context(), request("oil"))
		if err != nil || result.RequeueAfter != step.wantRest || c.writes != step.want {
			t.Errorf("%s: want %d writes and a rest of %v, got %d, %v, %v", step.what, step.want, step.wantRest, c.writes, result, err)
		}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(got), got); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReconcile(t *testing.T) {
	stranger := namespaceObject("oil-old")
	stranger.OwnerReferences[0].UID = "oil-0"
	c := newCluster(t, oil(func(t *capsulev1beta2.Tenant) {
		t.Spec.NamespaceOptions = &capsulev1beta2.NamespaceOptions{Quota: new(int32(9))}
		t.Status.NamespaceReservations = []capsulev1beta2.NamespaceReservation{{Name: "oil-new", Time: metav1.NewMicroTime(now)}}
	}), namespaceObject("oil-a"), stranger, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "fast"}})

	got := c.reconcile(t.Context(), t, 1)
	if got.Status.Size != 1 || len(got.Status.Spaces) != 1 || got.Status.ObservedGeneration != 7 {
		t.Errorf("want the status of one namespace, got %+v", got.Status)
	}
	if diff := cmp.Diff([]string{"fast"}, got.Status.Classes.Storage); diff != "" {
		t.Errorf("classes (-want +got):\n%s", diff)
	}
	if len(got.Status.NamespaceReservations) != 1 {
		t.Errorf("want what others wrote to stay, got %+v", got.Status)
	}
	c.reconcile(t.Context(), t, 0)

	ref := tenant.RefOf(got)
	c.reports.Set(ref, "access", "", errors.New("boom"))
	c.reconcile(t.Context(), t, 1, "Warning Failed boom")
	c.reconcile(t.Context(), t, 0)
	c.reports.Set(ref, "access", "", nil)
	got = c.reconcile(t.Context(), t, 1, "Normal Succeeded reconciled")

	got.Spec.StorageClasses = &capsulev1beta2.DefaultAllowedList{}
	got.Spec.StorageClasses.AllowedRegex = "("
	if err := c.Update(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	got = c.reconcile(t.Context(), t, 1,
		"Warning InvalidField spec.storageClasses.allowedRegex: Invalid value: \"(\": error parsing regexp: missing closing ): `(`")
	if got.Status.Classes != nil {
		t.Errorf("want no classes of a list that is not understood, got %+v", got.Status.Classes)
	}

	c.reports.Set(ref, "access", "", errors.New("too late"))
	if err := c.Delete(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	c.reconcile(t.Context(), t, 0)
	if reports := c.reports.Of(ref); len(reports) > 0 {
		t.Errorf("want no reports about what is gone, got %+v", reports)
	}
	if len(c.metrics.tenants) > 0 {
		t.Errorf("want no metrics of what is gone, got %+v", c.metrics.tenants)
	}
}

// TestAnotherLife holds the reconciler not to write the status of one life of a
// Tenant to another one.
func TestAnotherLife(t *testing.T) {
	c := newCluster(t, oil(func(t *capsulev1beta2.Tenant) { t.UID = "oil-2" }))
	c.reports.Set(tenant.Ref{Name: "oil", UID: "oil-1"}, "access", "", errors.New("boom"))
	got := c.reconcile(t.Context(), t, 1)
	if got.Status.Conditions[0].Status != metav1.ConditionTrue {
		t.Errorf("want no failure of an earlier life, got %+v", got.Status.Conditions)
	}
	if reports := c.reports.Of(tenant.Ref{Name: "oil", UID: "oil-1"}); len(reports) > 0 {
		t.Errorf("want them forgotten, got %+v", reports)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	c, err := register(registry)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := register(registry); err != nil || again != c {
		t.Errorf("want the same collector again, got %p, %v", again, err)
	}
	series := func() []string {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, family := range families {
			for _, metric := range family.Metric {
				var line strings.Builder
				line.WriteString(strings.TrimPrefix(family.GetName(), "capsule_tenant_"))
				for _, label := range metric.Label {
					line.WriteString(" " + label.GetName() + "=" + label.GetValue())
				}
				if metric.Gauge.GetValue() != 1 {
					line.WriteString(" is not 1")
				}
				list = append(list, line.String())
			}
		}
		slices.Sort(list)
		return list
	}
	c.set(oil(), status(oil(), observation{namespaces: []metav1.PartialObjectMetadata{namespace("oil-a", "a-1")}, now: now}))
	want := []string{
		"condition condition=Accepted tenant=oil",
		"condition condition=Cordoned tenant=oil is not 1",
		"condition condition=Ready tenant=oil",
		"namespace_count tenant=oil",
		"namespace_relationship target_namespace=oil-a tenant=oil",
	}
	if diff := cmp.Diff(want, series()); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
	c.set(oil(), status(oil(), observation{namespaces: []metav1.PartialObjectMetadata{namespace("oil-b", "b-1")}, now: now}))
	want[4] = "namespace_relationship target_namespace=oil-b tenant=oil"
	if diff := cmp.Diff(want, series()); diff != "" {
		t.Errorf("series after a change (-want +got):\n%s", diff)
	}
	c.forget("oil")
	if got := series(); len(got) > 0 {
		t.Errorf("want none, got %q", got)
	}
}

func TestUsageOf(t *testing.T) {
	limited := oil(func(t *capsulev1beta2.Tenant) {
		t.Spec.NamespaceOptions = &capsulev1beta2.NamespaceOptions{Quota: new(int32(3))}
	})
	one := &capsulev1beta2.TenantStatus{Namespaces: []string{"oil-a"}}
	for name, test := range map[string]struct {
		given *capsulev1beta2.Tenant
		want  usage.Resource
	}{
		"limited":   {limited, usage.Resource{Name: "namespaces", Used: 1, Limit: new(3.0)}},
		"unlimited": {oil(), usage.Resource{Name: "namespaces", Used: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff([]usage.Resource{test.want}, usageOf(test.given, one)); diff != "" {
				t.Errorf("usage (-want +got):\n%s", diff)
			}
		})
	}
}

// asked collects what is put into a queue.
type asked struct {
	queue

	now, later []string
}

func (q *asked) Add(r reconcile.Request) { q.now = append(q.now, r.Name) }

func (q *asked) AddAfter(r reconcile.Request, _ time.Duration) { q.later = append(q.later, r.Name) }

func (q *asked) check(t *testing.T, step string, wantNow, wantLater []string) {
	t.Helper()
	slices.Sort(q.later)
	if diff := cmp.Diff([2][]string{wantNow, wantLater}, [2][]string{q.now, q.later}); diff != "" {
		t.Errorf("%s: now, later (-want +got):\n%s", step, diff)
	}
	q.now, q.later = nil, nil
}

func TestTenantEvents(t *testing.T) {
	q, h := &asked{}, tenantHandler()
	name := []string{"oil"}
	h.Create(t.Context(), event.CreateEvent{Object: oil()}, q)
	q.check(t, "created", name, nil)
	h.Delete(t.Context(), event.DeleteEvent{Object: oil()}, q)
	q.check(t, "deleted", name, nil)
	update := func(change func(*capsulev1beta2.Tenant)) {
		h.Update(t.Context(), event.UpdateEvent{ObjectOld: oil(), ObjectNew: oil(change)}, q)
	}
	update(func(t *capsulev1beta2.Tenant) { t.Generation++ })
	q.check(t, "spec", name, nil)
	update(func(t *capsulev1beta2.Tenant) { t.UID = "oil-2" })
	q.check(t, "another life", name, nil)
	update(func(t *capsulev1beta2.Tenant) { t.DeletionTimestamp = new(metav1.NewTime(now)) })
	q.check(t, "being deleted", name, nil)
	update(func(t *capsulev1beta2.Tenant) { t.Status.Size = 3 })
	q.check(t, "status", nil, name)
	update(func(t *capsulev1beta2.Tenant) {
		t.Status.NamespaceReservations = []capsulev1beta2.NamespaceReservation{{Name: "oil-a"}}
	})
	q.check(t, "a place was reserved", nil, nil)
	update(func(t *capsulev1beta2.Tenant) { t.Labels = map[string]string{"a": "b"} })
	q.check(t, "labels", nil, nil)
}

func TestNamespaceEvents(t *testing.T) {
	q, h := &asked{}, namespaceHandler()
	inOil := namespaceObject("ns")
	inGas := namespaceObject("ns")
	inGas.Labels[capsulev1beta2.TenantLabel], inGas.OwnerReferences[0].Name = "gas", "gas"
	nobodys := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}}
	h.Create(t.Context(), event.CreateEvent{Object: inOil}, q)
	q.check(t, "created", nil, []string{"oil"})
	h.Create(t.Context(), event.CreateEvent{Object: nobodys}, q)
	q.check(t, "created, nobody's", nil, nil)
	h.Delete(t.Context(), event.DeleteEvent{Object: inOil}, q)
	q.check(t, "deleted", nil, []string{"oil"})
	h.Update(t.Context(), event.UpdateEvent{ObjectOld: inOil, ObjectNew: inGas}, q)
	q.check(t, "moved", nil, []string{"gas", "oil"})
	h.Update(t.Context(), event.UpdateEvent{ObjectOld: inOil, ObjectNew: nobodys}, q)
	q.check(t, "left", nil, []string{"oil"})
	labelled := inOil.DeepCopy()
	labelled.Labels["a"] = "b"
	h.Update(t.Context(), event.UpdateEvent{ObjectOld: inOil, ObjectNew: labelled}, q)
	q.check(t, "labels", nil, nil)
	given := labelled.DeepCopy()
	given.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: objects.FieldManager, Operation: metav1.ManagedFieldsOperationApply,
		FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{"f:a":{}}}}`),
	}}
	h.Update(t.Context(), event.UpdateEvent{ObjectOld: inOil, ObjectNew: given}, q)
	q.check(t, "labels of ours", nil, []string{"oil", "oil"})
	deleted := inOil.DeepCopy()
	deleted.DeletionTimestamp = new(metav1.NewTime(now))
	h.Update(t.Context(), event.UpdateEvent{ObjectOld: inOil, ObjectNew: deleted}, q)
	q.check(t, "being deleted", nil, []string{"oil", "oil"})
}

func TestClassEvents(t *testing.T) {
	gold := oil(func(t *capsulev1beta2.Tenant) {
		t.Spec.StorageClasses = &capsulev1beta2.DefaultAllowedList{}
		t.Spec.StorageClasses.MatchLabels = map[string]string{"tier": "gold"}
	})
	all := oil(func(t *capsulev1beta2.Tenant) { t.Name = "gas" })
	c := newCluster(t, gold, all)
	q, h := &asked{}, c.classHandler(&classKinds[0])
	plain, golden := class(objects.StorageClassKind, "fast", nil), class(objects.StorageClassKind, "fast", map[string]string{"tier": "gold"})
	h.Create(t.Context(), event.CreateEvent{Object: &plain}, q)
	q.check(t, "created", nil, []string{"gas"})
	h.Create(t.Context(), event.CreateEvent{Object: &plain, IsInInitialList: true}, q)
	q.check(t, "found at the start", nil, nil)
	h.Update(t.Context(), event.UpdateEvent{ObjectOld: &plain, ObjectNew: &golden}, q)
	q.check(t, "labelled", nil, []string{"oil"})
	h.Update(t.Context(), event.UpdateEvent{ObjectOld: &golden, ObjectNew: &golden}, q)
	q.check(t, "nothing new", nil, nil)
	h.Delete(t.Context(), event.DeleteEvent{Object: &golden}, q)
	q.check(t, "deleted", nil, []string{"gas", "oil"})
}
