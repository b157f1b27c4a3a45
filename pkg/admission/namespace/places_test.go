// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
)

// TestQuotaAtOnce has 50 namespaces asked for at once, of two replicas.
func TestQuotaAtOnce(t *testing.T) {
	const asked, quota = 50, 7
	c := intercepted(t, testClient(t, limited(testTenant("oil", "alice"), quota)), interceptor.Funcs{
		// Both count before either writes.
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			defer func() { <-time.After(time.Millisecond) }()
			return c.List(ctx, list, opts...)
		},
	})
	var replicas []*Handler
	for range 2 {
		config, _ := testConfig(c)
		replicas = append(replicas, NewValidating(config))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	codes := map[int32]int{}
	for i := range asked {
		wg.Go(func() {
			given := testNamespace(fmt.Sprintf("oil-%02d", i), of("oil"))
			response := replicas[i%len(replicas)].Handle(t.Context(), createRequest(t, "alice", given))
			mu.Lock()
			codes[response.Result.Code]++
			mu.Unlock()
			if !response.Allowed {
				return
			}
			if err := c.Create(t.Context(), full(given)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[int32]int{200: quota, 403: asked - quota}, codes); diff != "" {
		t.Errorf("unexpected answers (-want +got):\n%s", diff)
	}
	var made corev1.NamespaceList
	if err := c.List(t.Context(), &made); err != nil {
		t.Fatal(err)
	}
	if len(made.Items) != quota {
		t.Errorf("%d namespaces were created, want %d", len(made.Items), quota)
	}
}

// TestPlaces asks one after the other, as time passes.
func TestPlaces(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC)
	reserved := func(name string, age time.Duration) capsulev1beta2.NamespaceReservation {
		return capsulev1beta2.NamespaceReservation{Name: name, Time: metav1.NewMicroTime(start.Add(-age))}
	}
	// The API server gives the UID and the time of creation before it asks whether
	// there is a place.
	created := func(age time.Duration, uid types.UID) change {
		return func(n *metav1.PartialObjectMetadata) {
			n.CreationTimestamp, n.UID = metav1.NewTime(start.Add(-age).Truncate(time.Second)), uid
		}
	}
	reservedFor := func(uid types.UID, name string, age time.Duration) capsulev1beta2.NamespaceReservation {
		r := reserved(name, age)
		r.UID = uid
		return r
	}
	const full = `tenant "oil" has all of the 2 namespaces that it may have: delete one before you create namespace "x", or ask a cluster administrator to raise its spec.namespaceOptions.quota`
	tests := map[string]struct {
		quota        int32
		namespaces   []*metav1.PartialObjectMetadata
		arrived      []*metav1.PartialObjectMetadata
		reservations []capsulev1beta2.NamespaceReservation
		ask          string
		dryRun       bool
		wantRefusal  string
		// wantReserved are the names, the last one of now.
		wantReserved []string
	}{
		"none taken":          {quota: 2, ask: "x", wantReserved: []string{"x"}},
		"no quota":            {ask: "x"},
		"none taken, dry run": {quota: 2, ask: "x", dryRun: true},
		"taken by namespaces": {
			quota: 2, ask: "x", namespaces: []*metav1.PartialObjectMetadata{testNamespace("a", of("oil")), testNamespace("b", of("oil"))},
			wantRefusal: full,
		},
		"taken by namespaces, dry run": {
			quota: 2, ask: "x", dryRun: true, namespaces: []*metav1.PartialObjectMetadata{testNamespace("a", of("oil")), testNamespace("b", of("oil"))},
			wantRefusal: full,
		},
		"namespaces that only say so, or are another's": {
			quota: 2, ask: "x", namespaces: []*metav1.PartialObjectMetadata{
				testNamespace("a", label("oil")), testNamespace("b", label("oil"), ownerWith("oil", "earlier", "v1beta2")), testNamespace("c", of("gas")),
			},
			wantReserved: []string{"x"},
		},
		"a terminating one counts": {
			quota: 2, ask: "x", namespaces: []*metav1.PartialObjectMetadata{
				testNamespace("a", of("oil")), testNamespace("b", of("oil"), terminating, func(n *metav1.PartialObjectMetadata) { n.Finalizers = []string{"kubernetes"} }),
			},
			wantRefusal: full,
		},
		"taken by reservations": {
			quota: 2, ask: "x", reservations: []capsulev1beta2.NamespaceReservation{reserved("a", 29*time.Second), reserved("b", 0)},
			wantRefusal: full,
		},
		"a namespace and its reservation are one": {
			quota: 2, ask: "x", namespaces: []*metav1.PartialObjectMetadata{testNamespace("a", of("oil"))},
			reservations: []capsulev1beta2.NamespaceReservation{reserved("a", time.Second)},
			wantReserved: []string{"a", "x"},
		},
		"a reservation runs out": {
			quota: 2, ask: "x", reservations: []capsulev1beta2.NamespaceReservation{reserved("a", 30*time.Second), reserved("b", 0)},
			wantReserved: []string{"b", "x"},
		},
		"a reservation of a clock far ahead": {
			quota: 2, ask: "x", reservations: []capsulev1beta2.NamespaceReservation{reserved("a", -time.Hour), reserved("b", -time.Second)},
			wantReserved: []string{"b", "x"},
		},
		"a reservation is done with when its namespace came": {
			quota: 2, ask: "x", namespaces: []*metav1.PartialObjectMetadata{testNamespace("a", of("oil"), created(4*time.Second, "a-1"))},
			reservations: []capsulev1beta2.NamespaceReservation{reservedFor("a-1", "a", time.Second)},
			wantReserved: []string{"x"},
		},
		"the namespace came and went": {
			quota: 2, ask: "x", arrived: []*metav1.PartialObjectMetadata{testNamespace("a", of("oil"), created(4*time.Second, "a-1"))},
			reservations: []capsulev1beta2.NamespaceReservation{reservedFor("a-1", "a", 3*time.Second), reserved("b", 0)},
			wantReserved: []string{"b", "x"},
		},
		"an earlier namespace of the name came and went": {
			quota: 2, ask: "x", arrived: []*metav1.PartialObjectMetadata{testNamespace("a", of("oil"), created(9*time.Second, "a-0"))},
			reservations: []capsulev1beta2.NamespaceReservation{reservedFor("a-1", "a", 3*time.Second), reserved("b", 0)},
			wantRefusal:  full,
		},
		"an earlier namespace of the name is going": {
			quota: 2, ask: "x", namespaces: []*metav1.PartialObjectMetadata{testNamespace("a", of("oil"), created(9*time.Second, "a-0"))},
			reservations: []capsulev1beta2.NamespaceReservation{reservedFor("a-1", "a", 3*time.Second)},
			wantReserved: []string{"a", "x"},
		},
		"the same name again": {
			quota: 2, ask: "x", reservations: []capsulev1beta2.NamespaceReservation{reserved("x", 20*time.Second), reserved("b", 0)},
			wantReserved: []string{"b", "x"},
		},
		"it exists already": {
			quota: 2, ask: "x", namespaces: []*metav1.PartialObjectMetadata{testNamespace("a", of("oil")), testNamespace("x", of("oil"))},
		},
		"it exists already, and the quota was lowered": {
			quota: 2, ask: "x", namespaces: []*metav1.PartialObjectMetadata{testNamespace("a", of("oil")), testNamespace("b", of("oil")), testNamespace("x", of("oil"))},
		},
		"an earlier one of the name is about to go": {
			quota: 2, ask: "x", namespaces: []*metav1.PartialObjectMetadata{
				testNamespace("a", of("oil")), testNamespace("x", of("oil"), terminating, func(n *metav1.PartialObjectMetadata) { n.Finalizers = []string{"kubernetes"} }),
			},
			wantReserved: []string{"x"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			oil := testTenant("oil")
			if test.quota > 0 {
				oil = limited(oil, test.quota)
			}
			oil.Status.NamespaceReservations = test.reservations
			oil.Status.Size = 3
			objects := []client.Object{oil}
			for _, n := range test.namespaces {
				objects = append(objects, &corev1.Namespace{ObjectMeta: n.ObjectMeta})
			}
			c := testClient(t, objects...)
			clock := clocktesting.NewFakeClock(start)
			arrivals := NewArrivals(clock)
			for _, n := range test.arrived {
				arrivals.Saw(n)
			}
			refusal, err := NewPlaces(c, c.Status(), arrivals, clock).Take(t.Context(), tenant.RefOf(oil), test.ask, "x-1", test.dryRun)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.wantRefusal, refusal); diff != "" {
				t.Errorf("unexpected refusal (-want +got):\n%s", diff)
			}
			var after capsulev1beta2.Tenant
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(oil), &after); err != nil {
				t.Fatal(err)
			}
			if test.wantReserved == nil {
				if diff := cmp.Diff(len(test.reservations), len(after.Status.NamespaceReservations)); diff != "" {
					t.Errorf("the reservations changed (-want +got):\n%s", diff)
				}
				return
			}
			var names []string
			for _, reservation := range after.Status.NamespaceReservations {
				names = append(names, reservation.Name)
			}
			if diff := cmp.Diff(test.wantReserved, names); diff != "" {
				t.Errorf("unexpected reservations (-want +got):\n%s", diff)
			}
			if last := after.Status.NamespaceReservations[len(names)-1]; !last.Time.Time.Equal(start) || last.UID != "x-1" {
				t.Errorf("the place is reserved for %q at %s, want %q at %s", last.UID, last.Time, "x-1", start)
			}
			if after.Status.Size != 3 {
				t.Errorf("the rest of the status was overwritten: %+v", after.Status)
			}
		})
	}
}

// TestPlacesAfterConflict has the Tenant changed by others between read and write.
func TestPlacesAfterConflict(t *testing.T) {
	oil := limited(testTenant("oil"), 2)
	backend := testClient(t, oil)
	conflicts := 0
	c := intercepted(t, backend, interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, object client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			if conflicts < 2 {
				conflicts++
				// Each time somebody else takes a place, the second time the last one.
				if err := backend.Create(ctx, full(testNamespace(fmt.Sprintf("other-%d", conflicts), of("oil")))); err != nil {
					return err
				}
				return touch(ctx, backend, c, sub, object, patch, opts...)
			}
			return c.SubResource(sub).Patch(ctx, object, patch, opts...)
		},
	})
	places := NewPlaces(c, c.Status(), NewArrivals(clock.RealClock{}), clock.RealClock{})
	refusal, err := places.Take(t.Context(), tenant.RefOf(oil), "x", "x-1", false)
	if err != nil {
		t.Fatal(err)
	}
	if refusal == "" || conflicts != 2 {
		t.Errorf("got refusal %q after %d conflicts, want one after 2", refusal, conflicts)
	}
}

// touch changes the Tenant and sends the patch then, which has to be a conflict.
func touch(ctx context.Context, backend, c client.Client, sub string, object client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
	var t capsulev1beta2.Tenant
	if err := backend.Get(ctx, client.ObjectKeyFromObject(object), &t); err != nil {
		return err
	}
	metav1.SetMetaDataAnnotation(&t.ObjectMeta, "touched", t.ResourceVersion)
	if err := backend.Update(ctx, &t); err != nil {
		return err
	}
	err := c.SubResource(sub).Patch(ctx, object, patch, opts...)
	if !apierrors.IsConflict(err) {
		return fmt.Errorf("a patch onto another revision was answered %w", err)
	}
	return err
}

func TestPlacesGivesUpWithTheRequest(t *testing.T) {
	oil := limited(testTenant("oil"), 2)
	ctx, cancel := context.WithCancel(t.Context())
	attempts := 0
	c := intercepted(t, testClient(t, oil), interceptor.Funcs{
		SubResourcePatch: func(context.Context, client.Client, string, client.Object, client.Patch, ...client.SubResourcePatchOption) error {
			if attempts++; attempts == 3 {
				cancel()
			}
			return apierrors.NewConflict(capsulev1beta2.Resource("tenants"), "oil", errors.New("changed"))
		},
	})
	places := NewPlaces(c, c.Status(), NewArrivals(clock.RealClock{}), clock.RealClock{})
	if _, err := places.Take(ctx, tenant.RefOf(oil), "x", "x-1", false); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
	if places.mine.Len() != 0 {
		t.Error("the turn is kept")
	}
}

func TestPlacesOfAnotherLife(t *testing.T) {
	for name, oil := range map[string]*capsulev1beta2.Tenant{
		"gone":      testTenant("gas"),
		"made anew": func() *capsulev1beta2.Tenant { t := testTenant("oil"); t.UID = "another"; return t }(),
		"being deleted": func() *capsulev1beta2.Tenant {
			t := deleted(testTenant("oil"))
			t.Finalizers = []string{"x/y"}
			return t
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			c := testClient(t, oil)
			places := NewPlaces(c, c.Status(), NewArrivals(clock.RealClock{}), clock.RealClock{})
			refusal, err := places.Take(t.Context(), tenant.RefOf(testTenant("oil")), "x", "x-1", false)
			if err != nil || refusal == "" {
				t.Errorf("got %q, %v, want a refusal", refusal, err)
			}
		})
	}
}

// TestPlaceOfAnArrival has a namespace arrive while the others are listed: too late for
// the list, and its reservation still holds its place.
func TestPlaceOfAnArrival(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	oil := limited(testTenant("oil", "alice"), 1)
	oil.Status.NamespaceReservations = []capsulev1beta2.NamespaceReservation{{Name: "a", UID: "a-1", Time: metav1.NewMicroTime(now)}}
	clock := clocktesting.NewFakeClock(now)
	arrivals := NewArrivals(clock)
	c := intercepted(t, testClient(t, oil), interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			err := c.List(ctx, list, opts...)
			arrivals.Saw(testNamespace("a", of("oil"), func(n *metav1.PartialObjectMetadata) {
				n.UID, n.CreationTimestamp = "a-1", metav1.NewTime(now)
			}))
			return err
		},
	})
	refusal, err := NewPlaces(c, c.Status(), arrivals, clock).Take(t.Context(), tenant.RefOf(oil), "b", "b-1", false)
	if err != nil || refusal == "" {
		t.Errorf("want the only place to be taken, got %q, %v", refusal, err)
	}
}

func TestArrivalsAreForgotten(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	clock := clocktesting.NewFakeClock(start)
	arrivals := NewArrivals(clock)
	saw := func(name string) {
		arrivals.Saw(testNamespace(name, of("oil"), func(n *metav1.PartialObjectMetadata) {
			n.CreationTimestamp, n.UID = metav1.NewTime(clock.Now()), types.UID(name)
		}))
	}
	saw("a")
	clock.Step(remembered - time.Second)
	saw("b")
	clock.Step(reservationTTL)
	saw("c")
	arrivals.Saw(testNamespace("no-tenants"))
	if diff := cmp.Diff(2, len(arrivals.seen)); diff != "" {
		t.Errorf("unexpected number of arrivals (-want +got):\n%s", diff)
	}
}
