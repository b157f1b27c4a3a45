// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package configuration

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/util/workqueue"
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
	"tenancy.capsule.io/pkg/tenant"
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

func condition(status metav1.ConditionStatus, reason, message string, since time.Time) metav1.Condition {
	return metav1.Condition{
		Type: "Ready", Status: status, Reason: reason, Message: message, ObservedGeneration: 3, LastTransitionTime: metav1.NewTime(since),
	}
}

func TestStatus(t *testing.T) {
	alice := capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: "alice"}
	for name, test := range map[string]struct {
		spec    capsulev1beta2.CapsuleConfigurationSpec
		owners  []*capsulev1beta2.TenantOwner
		was     []metav1.Condition
		reports []report.Report
		tenants []string
		want    capsulev1beta2.CapsuleConfigurationStatus
	}{
		"new": {
			want: capsulev1beta2.CapsuleConfigurationStatus{Conditions: []metav1.Condition{condition("True", "Succeeded", "in effect", now)}},
		},
		"TenantOwners": {
			spec: capsulev1beta2.CapsuleConfigurationSpec{UserNames: []string{"bob"}},
			owners: []*capsulev1beta2.TenantOwner{
				{Spec: capsulev1beta2.TenantOwnerSpec{CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{UserSpec: alice}}},
				{Spec: capsulev1beta2.TenantOwnerSpec{
					CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{UserSpec: capsulev1beta2.UserSpec{Kind: "User", Name: "eve"}}, Aggregate: new(false),
				}},
			},
			want: capsulev1beta2.CapsuleConfigurationStatus{
				Users:      []capsulev1beta2.UserSpec{alice, {Kind: "User", Name: "bob"}},
				Conditions: []metav1.Condition{condition("True", "Succeeded", "in effect", now)},
			},
		},
		"users and tenants": {
			spec:    capsulev1beta2.CapsuleConfigurationSpec{UserNames: []string{"alice"}},
			tenants: []string{"oil", "gas"},
			was:     []metav1.Condition{condition("True", "Succeeded", "in effect", then)},
			want: capsulev1beta2.CapsuleConfigurationStatus{
				Users: []capsulev1beta2.UserSpec{alice}, Tenants: []string{"gas", "oil"},
				Conditions: []metav1.Condition{condition("True", "Succeeded", "in effect", then)},
			},
		},
		"failures": {
			spec:    capsulev1beta2.CapsuleConfigurationSpec{ProtectedNamespaceRegex: "("},
			reports: []report.Report{{Source: "provisioner", Message: "boom"}},
			was:     []metav1.Condition{condition("True", "Succeeded", "in effect", then)},
			want: capsulev1beta2.CapsuleConfigurationStatus{Conditions: []metav1.Condition{condition("False", "Failed",
				"spec.protectedNamespaceRegex: error parsing regexp: missing closing ): `(`; boom", now)}},
		},
		"other failures": {
			reports: []report.Report{{Source: "provisioner", Message: "boom"}},
			was:     []metav1.Condition{condition("False", "Failed", "bang", then)},
			want:    capsulev1beta2.CapsuleConfigurationStatus{Conditions: []metav1.Condition{condition("False", "Failed", "boom", then)}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			configuration := &capsulev1beta2.CapsuleConfiguration{
				ObjectMeta: metav1.ObjectMeta{Generation: 3}, Spec: test.spec,
				Status: capsulev1beta2.CapsuleConfigurationStatus{Conditions: test.was},
			}
			var tenants []capsulev1beta2.Tenant
			for _, name := range test.tenants {
				tenants = append(tenants, capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name}})
			}
			test.want.ObservedGeneration = 3
			if diff := cmp.Diff(&test.want, status(configuration, test.owners, tenants, test.reports, now)); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}

func newReconciler(writes *int, given ...client.Object) *reconciler {
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(given...).WithStatusSubresource(given...).
		WithStatusSubresource(&capsulev1beta2.CapsuleConfiguration{}).
		WithInterceptorFuncs(interceptor.Funcs{
			Create: func(ctx context.Context, underlying client.WithWatch, object client.Object, options ...client.CreateOption) error {
				*writes++
				return underlying.Create(ctx, object, options...)
			},
			SubResourceApply: func(ctx context.Context, underlying client.Client, name string, wanted runtime.ApplyConfiguration, options ...client.SubResourceApplyOption) error {
				*writes++
				return underlying.SubResource(name).Apply(ctx, wanted, options...)
			},
		}).Build()
	return &reconciler{objects.Applier{Client: c, Live: c}, owners.New(c, "default"), report.New(), clocktesting.NewFakePassiveClock(now)}
}

var request = reconcile.Request{NamespacedName: types.NamespacedName{Name: "default"}}

func TestReconcile(t *testing.T) {
	writes := 0
	r := newReconciler(&writes, &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "oil"}})
	reconcileOnce := func(step string, wantWrites int) *capsulev1beta2.CapsuleConfiguration {
		t.Helper()
		writes = 0
		if _, err := r.Reconcile(t.Context(), request); err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		if writes != wantWrites {
			t.Errorf("%s: want %d writes, got %d", step, wantWrites, writes)
		}
		got := &capsulev1beta2.CapsuleConfiguration{}
		if err := r.Get(t.Context(), request.NamespacedName, got); err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		return got
	}
	created := reconcileOnce("missing", 1)
	if diff := cmp.Diff(tenant.DefaultConfigurationSpec(), created.Spec); diff != "" {
		t.Errorf("default (-want +got):\n%s", diff)
	}
	got := reconcileOnce("created", 1)
	want := capsulev1beta2.CapsuleConfigurationStatus{
		Users:      []capsulev1beta2.UserSpec{{Kind: "Group", Name: "capsule.clastix.io"}, {Kind: "Group", Name: "projectcapsule.dev"}},
		Tenants:    []string{"oil"},
		Conditions: []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Succeeded", Message: "in effect", LastTransitionTime: metav1.NewTime(now.Local())}},
	}
	if diff := cmp.Diff(want, got.Status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	reconcileOnce("nothing new", 0)
	r.reports.Set(refOf(got), "provisioner", "", errors.New("boom"))
	if got = reconcileOnce("a report", 1); got.Status.Conditions[0].Message != "boom" {
		t.Errorf("want the report as a condition, got %+v", got.Status.Conditions)
	}
	if err := r.Delete(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	reconcileOnce("deleted", 1)
}

// TestCreateInspiteOfOthers holds the reconciler to keep what another one was faster
// to create.
func TestCreateInSpiteOfOthers(t *testing.T) {
	writes := 0
	r := newReconciler(&writes)
	r.Client = interceptor.NewClient(r.Client.(client.WithWatch), interceptor.Funcs{ //nolint:forcetypeassert // the fake client is one
		Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
			return apierrors.NewAlreadyExists(capsulev1beta2.Resource("capsuleconfigurations"), "default")
		},
	})
	if _, err := r.Reconcile(t.Context(), request); err != nil {
		t.Error(err)
	}
	r.Client = interceptor.NewClient(r.Client.(client.WithWatch), interceptor.Funcs{ //nolint:forcetypeassert // the fake client is one
		Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
			return errors.New("boom")
		},
	})
	if _, err := r.Reconcile(t.Context(), request); err == nil || !strings.Contains(err.Error(), "boom") {
		t.Errorf("want an error, got %v", err)
	}
}

func TestSources(t *testing.T) {
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	if err := atStart(request).Start(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	if got, _ := queue.Get(); got != request {
		t.Errorf("want %v at the start, got %v", request, got)
	}
	later(request).Update(t.Context(), event.UpdateEvent{}, queue)
	queue.Done(request)
	later(request).Create(t.Context(), event.CreateEvent{}, queue)
	if got, _ := queue.Get(); got != request {
		t.Errorf("want %v after a Tenant came, got %v", request, got)
	}
	queue.Done(request)
	laterFor(request).Update(t.Context(), event.UpdateEvent{}, queue)
	if got, _ := queue.Get(); got != request {
		t.Errorf("want %v after a TenantOwner changed, got %v", request, got)
	}
}
