// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenantowners

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/owners"
)

var (
	scheme = func() *runtime.Scheme {
		scheme := runtime.NewScheme()
		utilruntime.Must(capsulev1beta2.AddToScheme(scheme))
		return scheme
	}()
	then = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now  = time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
)

func tenantNamed(name string, generation int64, users ...string) *capsulev1beta2.Tenant {
	t := &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name + "-1"), Generation: generation}}
	for _, user := range users {
		t.Spec.Owners = append(t.Spec.Owners, capsulev1beta2.OwnerSpec{CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{
			UserSpec: capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: user},
		}})
	}
	return t
}

// tenantOwner returns a TenantOwner for a user, of a Tenant unless that is empty.
func tenantOwner(name string, kind capsulev1beta2.OwnerKind, user, of string) *capsulev1beta2.TenantOwner {
	o := &capsulev1beta2.TenantOwner{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Generation: 3}}
	o.Spec.UserSpec = capsulev1beta2.UserSpec{Kind: kind, Name: user}
	if of != "" {
		o.Labels = map[string]string{capsulev1beta2.ManagedTenantLabel: of}
	}
	return o
}

func condition(status metav1.ConditionStatus, reason, message string, since time.Time) metav1.Condition {
	return metav1.Condition{
		Type: "Ready", Status: status, Reason: reason, Message: message, ObservedGeneration: 3, LastTransitionTime: metav1.NewTime(since.Local()),
	}
}

type cluster struct {
	*reconciler

	writes int
}

func newCluster(tb testing.TB, given ...client.Object) *cluster {
	tb.Helper()
	c := &cluster{}
	underlying := fake.NewClientBuilder().WithScheme(scheme).WithObjects(given...).WithStatusSubresource(&capsulev1beta2.TenantOwner{}).
		WithInterceptorFuncs(interceptor.Funcs{
			SubResourceApply: func(ctx context.Context, underlying client.Client, name string, wanted runtime.ApplyConfiguration, options ...client.SubResourceApplyOption) error {
				c.writes++
				return underlying.SubResource(name).Apply(ctx, wanted, options...)
			},
		}).Build()
	c.reconciler = &reconciler{
		objects.Applier{Client: underlying, Live: underlying}, owners.New(underlying, "default"), newCollector(), clocktesting.NewFakePassiveClock(now),
	}
	return c
}

func (c *cluster) reconcile(ctx context.Context, tb testing.TB, name string, wantWrites int) capsulev1beta2.TenantOwnerStatus {
	tb.Helper()
	c.writes = 0
	if _, err := c.Reconcile(ctx, reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}); err != nil {
		tb.Fatal(err)
	}
	if c.writes != wantWrites {
		tb.Errorf("want %d writes, got %d", wantWrites, c.writes)
	}
	is := &capsulev1beta2.TenantOwner{}
	if err := c.Get(ctx, client.ObjectKey{Name: name}, is); client.IgnoreNotFound(err) != nil {
		tb.Fatal(err)
	}
	return is.Status
}

func TestReconcile(t *testing.T) {
	const message = "the tenants that select it know it"
	was := tenantOwner("b", "User", "bob", "oil")
	was.Status.Conditions = []metav1.Condition{condition("True", "Succeeded", message, then), {Type: "Theirs"}}
	strange := tenantOwner("s", "ServiceAccount", "robot", "oil")
	c := newCluster(t, tenantNamed("oil", 1), tenantNamed("coal", 1, "bob", "alice"), tenantNamed("gas", 1, "alice"), was, strange)

	got := c.reconcile(t.Context(), t, "b", 1)
	got.Conditions = slices.DeleteFunc(got.Conditions, func(c metav1.Condition) bool { return c.Type != "Ready" })
	if diff := cmp.Diff(capsulev1beta2.TenantOwnerStatus{
		ObservedGeneration: 3, Tenants: []string{"coal", "oil"}, Conditions: []metav1.Condition{condition("True", "Succeeded", message, then)},
	}, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	c.reconcile(t.Context(), t, "b", 0)
	if diff := cmp.Diff(capsulev1beta2.TenantOwnerStatus{
		ObservedGeneration: 3, Conditions: []metav1.Condition{condition("False", "InvalidField",
			`spec.name: Invalid value: "robot": "robot" is not the name of a ServiceAccount: write system:serviceaccount:<namespace>:<name>`, now)},
	}, c.reconcile(t.Context(), t, "s", 1)); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	metric := func(want string) {
		t.Helper()
		if err := testutil.CollectAndCompare(c.metrics, strings.NewReader("# HELP capsule_tenantowner_condition Whether a condition of a TenantOwner is true.\n# TYPE capsule_tenantowner_condition gauge\n"+want)); err != nil {
			t.Error(err)
		}
	}
	metric("capsule_tenantowner_condition{condition=\"Ready\",name=\"b\"} 1\ncapsule_tenantowner_condition{condition=\"Ready\",name=\"s\"} 0\n")
	if err := c.Delete(t.Context(), strange); err != nil {
		t.Fatal(err)
	}
	c.reconcile(t.Context(), t, "s", 0)
	metric("capsule_tenantowner_condition{condition=\"Ready\",name=\"b\"} 1\n")
}

func TestRegister(t *testing.T) {
	registry := prometheus.NewRegistry()
	first, err := register(registry)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := register(registry); err != nil || first != second {
		t.Errorf("want the one that is there, got %v, %v", second, err)
	}
}

// asked is a queue that remembers what it was asked for, after a delay.
type asked struct {
	owners.Queue

	names []string
}

func (a *asked) AddAfter(request reconcile.Request, after time.Duration) {
	if after == batch {
		a.names = append(a.names, request.Name)
	}
}

func TestTenantHandler(t *testing.T) {
	oil := tenantNamed("oil", 1, "alice", "bob")
	changed := tenantNamed("oil", 2, "carol", "bob")
	c := newCluster(t, tenantOwner("a", "User", "alice", ""), tenantOwner("a-too", "User", "alice", ""), tenantOwner("b", "User", "bob", ""),
		tenantOwner("c", "User", "carol", ""), tenantOwner("g", "Group", "alice", ""), tenantOwner("o", "User", "olga", "oil"))
	h := c.tenantHandler()
	for name, test := range map[string]struct {
		happens func(q owners.Queue)
		want    []string
	}{
		"at the start": {func(q owners.Queue) { h.Create(t.Context(), event.CreateEvent{Object: oil, IsInInitialList: true}, q) }, nil},
		"created":      {func(q owners.Queue) { h.Create(t.Context(), event.CreateEvent{Object: oil}, q) }, []string{"a", "a-too", "b", "o"}},
		"its status":   {func(q owners.Queue) { h.Update(t.Context(), event.UpdateEvent{ObjectOld: oil, ObjectNew: oil}, q) }, nil},
		"changed": {
			func(q owners.Queue) { h.Update(t.Context(), event.UpdateEvent{ObjectOld: oil, ObjectNew: changed}, q) },
			[]string{"a", "a-too", "c"},
		},
		"deleted": {func(q owners.Queue) { h.Delete(t.Context(), event.DeleteEvent{Object: oil}, q) }, []string{"a", "a-too", "b", "o"}},
	} {
		t.Run(name, func(t *testing.T) {
			q := &asked{}
			test.happens(q)
			slices.Sort(q.names)
			if diff := cmp.Diff(test.want, q.names); diff != "" {
				t.Errorf("asked for (-want +got):\n%s", diff)
			}
		})
	}
}
