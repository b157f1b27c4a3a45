// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// requests is a queue that only records what is asked for.
type requests struct {
	queue

	names []string
}

func newRequests(tb testing.TB) *requests {
	tb.Helper()
	underlying := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	tb.Cleanup(underlying.ShutDown)
	return &requests{queue: underlying}
}

func (r *requests) Add(request reconcile.Request) { r.names = append(r.names, request.String()) }

func (r *requests) AddAfter(request reconcile.Request, _ time.Duration) { r.Add(request) }

func (r *requests) take() []string {
	names := r.names
	r.names = nil
	slices.Sort(names)
	return names
}

func TestEventsAroundSubjects(t *testing.T) {
	named := func(namespace, name string) *capsulev1beta2.TenantResource {
		r := localSubject(namespace)
		r.Name = name
		return r
	}
	c := newCluster(t, append(oil(), named("oil-a", "a"), named("oil-b", "b"), named("gas-a", "c"), named("free", "d"), globalSubject())...)
	const ofOil, ofAll = "oil", "all"
	want := map[string][2][]string{
		"":    {nil, nil},
		ofOil: {{"oil-a/a", "oil-b/b"}, {"/g"}},
		ofAll: {{"gas-a/c", "oil-a/a", "oil-b/b"}, {"/g"}},
	}
	oilA := func(change func(n *corev1.Namespace)) *corev1.Namespace {
		n := namespaceOf("oil", "oil-a")
		change(n)
		return n
	}
	same := func(*corev1.Namespace) {}
	label := func(n *corev1.Namespace) { n.Labels["env"] = "x" }
	annotate := func(n *corev1.Namespace) { n.Annotations = map[string]string{"a": "b"} }
	terminate := func(n *corev1.Namespace) { n.DeletionTimestamp = &metav1.Time{Time: start} }
	for name, test := range map[string]struct {
		handler func(r *reconciler) handler.EventHandler
		do      func(ctx context.Context, h handler.EventHandler, q queue)
		want    string
	}{
		"a namespace comes": {do: func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Create(ctx, event.CreateEvent{Object: oilA(same)}, q)
		}, want: ofOil},
		"it was there": {do: func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Create(ctx, event.CreateEvent{Object: oilA(same), IsInInitialList: true}, q)
		}},
		"one of nobody comes": {do: func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Create(ctx, event.CreateEvent{Object: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x"}}}, q)
		}},
		"it is labelled": {do: func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Update(ctx, event.UpdateEvent{ObjectOld: oilA(same), ObjectNew: oilA(label)}, q)
		}, want: ofOil},
		"it is annotated": {do: func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Update(ctx, event.UpdateEvent{ObjectOld: oilA(same), ObjectNew: oilA(annotate)}, q)
		}},
		"it is being deleted": {do: func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Update(ctx, event.UpdateEvent{ObjectOld: oilA(same), ObjectNew: oilA(terminate)}, q)
		}, want: ofOil},
		"it is another tenant's": {do: func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Update(ctx, event.UpdateEvent{ObjectOld: oilA(same), ObjectNew: namespaceOf("gas", "oil-a")}, q)
		}, want: ofAll},
		"it is gone": {do: func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Delete(ctx, event.DeleteEvent{Object: oilA(same)}, q)
		}, want: ofOil},
		"a tenant comes": {handler: (*reconciler).aroundTenant, do: func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Create(ctx, event.CreateEvent{Object: tenantNamed("oil")}, q)
		}, want: ofOil},
		"the tenant was there": {handler: (*reconciler).aroundTenant, do: func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Create(ctx, event.CreateEvent{Object: tenantNamed("oil"), IsInInitialList: true}, q)
		}},
		"the tenant is labelled": {handler: (*reconciler).aroundTenant, do: func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Update(ctx, event.UpdateEvent{ObjectOld: tenantNamed("oil"), ObjectNew: tenantNamed("oil", "a", "b")}, q)
		}, want: ofOil},
		"the tenant stays": {handler: (*reconciler).aroundTenant, do: func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Update(ctx, event.UpdateEvent{ObjectOld: tenantNamed("oil"), ObjectNew: tenantNamed("oil")}, q)
		}},
		"the tenant is gone": {handler: (*reconciler).aroundTenant, do: func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Delete(ctx, event.DeleteEvent{Object: tenantNamed("oil")}, q)
		}, want: ofOil},
	} {
		t.Run(name, func(t *testing.T) {
			for i, r := range []*reconciler{c.local, c.global} {
				h := r.aroundNamespace()
				if test.handler != nil {
					h = test.handler(r)
				}
				q := newRequests(t)
				test.do(t.Context(), h, q)
				compare(t, r.kind.gvk.Kind, want[test.want][i], slices.Compact(q.take()))
			}
		})
	}
}

func TestDependantsAreAsked(t *testing.T) {
	waiting, other, elsewhere := localSubject("oil-a"), localSubject("oil-a"), localSubject("oil-b")
	waiting.Name, other.Name, elsewhere.Name = "waiting", "other", "elsewhere"
	waiting.Spec.DependsOn = []capsulev1beta2.ReplicationDependency{{Name: "x"}, {Name: "r"}}
	elsewhere.Spec.DependsOn = waiting.Spec.DependsOn
	c := newCluster(t, append(oil(), waiting, other, elsewhere)...)
	not := localSubject("oil-a")
	is := not.DeepCopy()
	localKind().subject(is).setReady(nil, start)
	q := newRequests(t)
	for _, e := range []event.UpdateEvent{{ObjectOld: not, ObjectNew: not}, {ObjectOld: is, ObjectNew: is}, {ObjectOld: is, ObjectNew: not}} {
		c.local.dependants(t.Context(), e, q)
		compare(t, "requests", nil, q.take())
	}
	c.local.dependants(t.Context(), event.UpdateEvent{ObjectOld: not, ObjectNew: is}, q)
	compare(t, "requests", []string{"oil-a/waiting"}, q.take())
}

func TestPredicates(t *testing.T) {
	for name, test := range map[string]struct {
		change func(r *capsulev1beta2.TenantResource)
		want   bool
	}{
		"nothing":    {change: func(*capsulev1beta2.TenantResource) {}},
		"the status": {change: func(r *capsulev1beta2.TenantResource) { r.Status.Size = 1 }},
		"a label":    {change: func(r *capsulev1beta2.TenantResource) { r.Labels = map[string]string{"a": "b"} }},
		"the spec":   {change: func(r *capsulev1beta2.TenantResource) { r.Generation++ }, want: true},
		"its life":   {change: func(r *capsulev1beta2.TenantResource) { r.UID = "other" }, want: true},
		"a deletion": {change: func(r *capsulev1beta2.TenantResource) { r.DeletionTimestamp = &metav1.Time{Time: start} }, want: true},
		"a request": {change: func(r *capsulev1beta2.TenantResource) {
			r.Annotations = map[string]string{"reconcile.projectcapsule.dev/requestedAt": "now"}
		}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			was, is := localSubject("oil-a"), localSubject("oil-a")
			test.change(is)
			compare(t, "asks for other", test.want, asksForOther(event.UpdateEvent{ObjectOld: was, ObjectNew: is}))
		})
	}
	configuration := func(account string, users ...string) client.Object {
		return &capsulev1beta2.CapsuleConfiguration{Spec: capsulev1beta2.CapsuleConfigurationSpec{
			UserNames: users, Impersonation: &capsulev1beta2.ImpersonationConfiguration{TenantDefaultServiceAccount: account},
		}}
	}
	compare(t, "other users", false, changedImpersonation(event.UpdateEvent{ObjectOld: configuration("a"), ObjectNew: configuration("a", "u")}))
	compare(t, "another account", true, changedImpersonation(event.UpdateEvent{ObjectOld: configuration("a"), ObjectNew: configuration("b")}))
}
