// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/util/workqueue"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	policyv1alpha1 "tenancy.capsule.io/apis/policy/v1alpha1"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/controller/report"
	"tenancy.capsule.io/pkg/tenant"
)

// scheme holds no more than is needed: the fake client walks through it on each write.
var scheme = func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(scheme))
	utilruntime.Must(networkingv1.AddToScheme(scheme))
	utilruntime.Must(rbacv1.AddToScheme(scheme))
	utilruntime.Must(capsulev1beta2.AddToScheme(scheme))
	utilruntime.Must(policyv1alpha1.AddToScheme(scheme))
	return scheme
}()

// ns is the namespace that is reconciled.
const ns = "oil-prod"

// converters take long to make.
var converters = []managedfields.TypeConverter{applyconfigurations.NewTypeConverter(scheme), managedfields.NewDeducedTypeConverter()}

// cluster is a cluster for a reconciler.
type cluster struct {
	*reconciler

	// lock protects writes.
	lock sync.Mutex
	// writes says what was written, in order.
	writes []string
	// refuse, if set, decides about writes.
	refuse func(verb, name string) error
}

func newCluster(tb testing.TB, given ...client.Object) *cluster {
	tb.Helper()
	c := &cluster{}
	underlying := fake.NewClientBuilder().WithScheme(scheme).WithReturnManagedFields().WithTypeConverters(converters...).WithObjects(given...).
		WithIndex(&corev1.ResourceQuota{}, objects.TenantOfQuota, func(quota client.Object) []string {
			return []string{quota.GetLabels()[capsulev1beta2.ManagedTenantLabel]}
		}).
		WithIndex(objects.Metadata(objects.NamespaceKind), objects.TenantOfNamespace, func(namespace client.Object) []string {
			ref, _ := tenant.Of(namespace)
			return []string{ref.Name}
		}).
		WithInterceptorFuncs(interceptor.Funcs{
			Apply: func(ctx context.Context, underlying client.WithWatch, wanted runtime.ApplyConfiguration, options ...client.ApplyOption) error {
				named, ok := wanted.(interface{ GetName() *string })
				if !ok {
					return fmt.Errorf("%T has no name", wanted)
				}
				if err := c.write("apply", *named.GetName()); err != nil {
					return err
				}
				return underlying.Apply(ctx, wanted, options...)
			},
			Create: func(ctx context.Context, underlying client.WithWatch, object client.Object, options ...client.CreateOption) error {
				if err := c.write("create", object.GetName()); err != nil {
					return err
				}
				return underlying.Create(ctx, object, options...)
			},
			Patch: func(ctx context.Context, underlying client.WithWatch, object client.Object, patch client.Patch, options ...client.PatchOption) error {
				if _, ok := object.(*rbacv1.RoleBinding); !ok {
					if err := c.write("patch", object.GetName()); err != nil {
						return err
					}
				}
				return underlying.Patch(ctx, object, patch, options...)
			},
			Delete: func(ctx context.Context, underlying client.WithWatch, object client.Object, options ...client.DeleteOption) error {
				if err := c.write("delete", object.GetName()); err != nil {
					return err
				}
				return underlying.Delete(ctx, object, options...)
			},
		}).Build()
	c.reconciler = newReconciler(underlying, underlying, owners.New(underlying, "default"), report.New())
	return c
}

// kindOf returns the kind whose objects have the label.
func (c *cluster) kindOf(label string) *kind {
	for _, k := range slices.Concat(c.phases...) {
		if k.label == label {
			return k
		}
	}
	return nil
}

func (c *cluster) write(verb, name string) error {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.writes = append(c.writes, verb+" "+name)
	if c.refuse != nil {
		return c.refuse(verb, name)
	}
	return nil
}

// bindings returns all RoleBindings, by namespace and name, as far as they matter.
func (c *cluster) bindings(ctx context.Context, tb testing.TB) []rbacv1.RoleBinding {
	tb.Helper()
	var list rbacv1.RoleBindingList
	if err := c.List(ctx, &list); err != nil {
		tb.Fatal(err)
	}
	for i := range list.Items {
		list.Items[i].TypeMeta = metav1.TypeMeta{}
		list.Items[i].ManagedFields = nil
		list.Items[i].ResourceVersion = ""
		list.Items[i].UID = ""
	}
	return list.Items
}

func (c *cluster) reconcile(ctx context.Context) error {
	_, err := c.Reconcile(ctx, reconcile.Request{NamespacedName: types.NamespacedName{Name: ns}})
	return err
}

// namespaceOf returns a namespace of the Tenant with that name and UID.
func namespaceOf(name, tenantName string, uid types.UID) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, UID: types.UID("uid-of-" + name), Labels: map[string]string{capsulev1beta2.TenantLabel: tenantName},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "capsule.clastix.io/v1beta2", Kind: "Tenant", Name: tenantName, UID: uid}},
	}}
}

func in(namespace string, b rbacv1.RoleBinding) *rbacv1.RoleBinding {
	b = *b.DeepCopy()
	b.Namespace = namespace
	return &b
}

func TestReconcile(t *testing.T) {
	owned := func() *capsulev1beta2.Tenant {
		return oil([]capsulev1beta2.OwnerSpec{owner(capsulev1beta2.UserOwner, "alice", "admin", "view")})
	}
	member := func() *corev1.Namespace { return namespaceOf(ns, "oil", "oil-1") }
	adminRight, viewRight := *in(ns, binding("admin", alice)), *in(ns, binding("view", alice))
	nameOf := func(b rbacv1.RoleBinding) string { return b.Name }
	stray := with(adminRight, func(b *rbacv1.RoleBinding) { b.Namespace = "kube-system" })
	foreign := with(adminRight, func(b *rbacv1.RoleBinding) {
		b.Labels, b.OwnerReferences = nil, nil
		b.Subjects = []rbacv1.Subject{bob}
	})
	for name, test := range map[string]struct {
		given []client.Object
		want  []rbacv1.RoleBinding
		// wantWrites are made in any order, but for deletions.
		wantWrites []string
		wantReport string
	}{
		"a new namespace": {
			given:      []client.Object{owned(), member()},
			want:       []rbacv1.RoleBinding{adminRight, viewRight},
			wantWrites: []string{"create " + nameOf(adminRight), "create " + nameOf(viewRight)},
		},
		"nothing to do": {
			given: []client.Object{owned(), member(), adminRight.DeepCopy(), viewRight.DeepCopy()},
			want:  []rbacv1.RoleBinding{adminRight, viewRight},
		},
		"one is missing": {
			given:      []client.Object{owned(), member(), adminRight.DeepCopy()},
			want:       []rbacv1.RoleBinding{adminRight, viewRight},
			wantWrites: []string{"create " + nameOf(viewRight)},
		},
		"drift": {
			given: []client.Object{owned(), member(), viewRight.DeepCopy(), in(ns, with(adminRight, func(b *rbacv1.RoleBinding) {
				b.Subjects = []rbacv1.Subject{bob}
			}))},
			want:       []rbacv1.RoleBinding{adminRight, viewRight},
			wantWrites: []string{"apply " + nameOf(adminRight)},
		},
		"bound to another role": {
			given: []client.Object{owned(), member(), viewRight.DeepCopy(), in(ns, with(adminRight, func(b *rbacv1.RoleBinding) {
				b.RoleRef.Name = "edit"
			}))},
			want:       []rbacv1.RoleBinding{adminRight, viewRight},
			wantWrites: []string{"delete " + nameOf(adminRight), "create " + nameOf(adminRight)},
		},
		"an earlier life's": {
			given: []client.Object{owned(), member(), viewRight.DeepCopy(), in(ns, with(adminRight, func(b *rbacv1.RoleBinding) {
				b.OwnerReferences[0].UID = "oil-0"
			}))},
			want:       []rbacv1.RoleBinding{adminRight, viewRight},
			wantWrites: []string{"delete " + nameOf(adminRight), "create " + nameOf(adminRight)},
		},
		"leftovers go last": {
			given: []client.Object{
				owned(), member(), adminRight.DeepCopy(), in(ns, binding("edit", alice)),
				in(ns, with(binding("admin", alice), func(b *rbacv1.RoleBinding) { b.Name = "capsule-oil-0-admin" })),
			},
			want:       []rbacv1.RoleBinding{adminRight, viewRight},
			wantWrites: []string{"create " + nameOf(viewRight), "delete " + nameOf(binding("edit", alice)), "delete capsule-oil-0-admin"},
		},
		"a Tenant that is being deleted": {
			given: []client.Object{func() client.Object {
				t := owned()
				t.DeletionTimestamp, t.Finalizers = new(metav1.Now()), []string{"x/y"}
				return t
			}(), member()},
			want:       []rbacv1.RoleBinding{adminRight, viewRight},
			wantWrites: []string{"create " + nameOf(adminRight), "create " + nameOf(viewRight)},
		},
		"a namespace that is being deleted": {
			given: []client.Object{owned(), func() client.Object {
				namespace := member()
				namespace.DeletionTimestamp, namespace.Finalizers = new(metav1.Now()), []string{"x/y"}
				return namespace
			}(), in(ns, binding("edit", alice))},
			want: []rbacv1.RoleBinding{*in(ns, binding("edit", alice))},
		},
		"a namespace that is gone": {
			given: []client.Object{owned(), adminRight.DeepCopy()},
			want:  []rbacv1.RoleBinding{adminRight},
		},
		"a namespace that is nobody's": {
			given: []client.Object{
				owned(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, adminRight.DeepCopy(), stray.DeepCopy(),
				in(ns, with(binding("edit", alice), func(b *rbacv1.RoleBinding) { b.Name = "mine" })),
			},
			want:       []rbacv1.RoleBinding{stray, *in(ns, with(binding("edit", alice), func(b *rbacv1.RoleBinding) { b.Name = "mine" }))},
			wantWrites: []string{"delete " + nameOf(adminRight)},
		},
		"a namespace of an earlier life": {
			given:      []client.Object{owned(), namespaceOf(ns, "oil", "oil-0"), adminRight.DeepCopy()},
			wantWrites: []string{"delete " + nameOf(adminRight)},
		},
		"a namespace of no Tenant": {
			given:      []client.Object{member(), adminRight.DeepCopy()},
			wantWrites: []string{"delete " + nameOf(adminRight)},
		},
		"a namespace that moved": {
			given:      []client.Object{owned(), namespaceOf(ns, "gas", "gas-1"), adminRight.DeepCopy()},
			wantWrites: []string{"delete " + nameOf(adminRight)},
		},
		"a stranger is in the way": {
			given:      []client.Object{owned(), member(), foreign.DeepCopy()},
			want:       []rbacv1.RoleBinding{foreign, viewRight},
			wantWrites: []string{"create " + nameOf(adminRight), "apply " + nameOf(adminRight), "create " + nameOf(viewRight)},
			wantReport: "RoleBinding oil-prod/" + nameOf(adminRight) + " exists and is not the controller's: a cluster administrator has to delete it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, test.given...)
			if err := c.reconcile(t.Context()); err != nil {
				t.Error(err)
			}
			byName := cmpopts.SortSlices(func(a, b rbacv1.RoleBinding) bool { return a.Namespace+a.Name < b.Namespace+b.Name })
			if diff := cmp.Diff(test.want, c.bindings(t.Context(), t), byName, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("RoleBindings (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(inVerbs(test.wantWrites), inVerbs(c.writes)); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			wantReports := []report.Report{}
			if test.wantReport != "" {
				wantReports = append(wantReports, report.Report{Source: Name, Namespace: ns, Message: test.wantReport})
			}
			if diff := cmp.Diff(wantReports, c.reports.Of(tenant.Ref{Name: "oil", UID: "oil-1"})); diff != "" {
				t.Errorf("reports (-want +got):\n%s", diff)
			}
			if test.wantReport != "" {
				return
			}
			c.writes = nil
			if err := c.reconcile(t.Context()); err != nil || len(c.writes) > 0 {
				t.Errorf("the second time: %v, %q", err, c.writes)
			}
		})
	}
}

// inVerbs sorts the writes between deletions, and the deletions that follow each
// other.
func inVerbs(writes []string) []string {
	writes = slices.Clone(writes)
	isDeletion := func(write string) bool { return strings.HasPrefix(write, "delete ") }
	for start := 0; start < len(writes); {
		end := start
		for end < len(writes) && isDeletion(writes[end]) == isDeletion(writes[start]) {
			end++
		}
		slices.Sort(writes[start:end])
		start = end
	}
	return writes
}

func TestFailures(t *testing.T) {
	t1 := oil([]capsulev1beta2.OwnerSpec{owner(capsulev1beta2.UserOwner, "alice", "admin", "secret", "view")})
	ref := tenant.RefOf(t1)
	leftover := in(ns, binding("edit", alice))
	c := newCluster(t, t1, namespaceOf(ns, "oil", "oil-1"), leftover)
	secret := binding("secret", alice).Name
	c.refuse = func(_, name string) error {
		if name != secret {
			return nil
		}
		return apierrors.NewForbidden(rbacv1.Resource("rolebindings"), name, errors.New("attempting to grant RBAC permissions not currently held"))
	}
	result, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: ns}})
	if err != nil || result.RequeueAfter < refusalDelay {
		t.Errorf("want another try later, got %v, %v", result, err)
	}
	want := []rbacv1.RoleBinding{*in(ns, binding("admin", alice)), *in(ns, binding("view", alice))}
	byName := cmpopts.SortSlices(func(a, b rbacv1.RoleBinding) bool { return a.Name < b.Name })
	if diff := cmp.Diff(want, c.bindings(t.Context(), t), byName); diff != "" {
		t.Errorf("the others (-want +got):\n%s", diff)
	}
	reports := c.reports.Of(ref)
	if len(reports) != 1 || reports[0].Namespace != ns || !strings.Contains(reports[0].Message, `ClusterRole "secret" may not be bound`) {
		t.Errorf("want a report, got %+v", reports)
	}

	// A ClusterRole that lets the controller bind more has it try again.
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	retry := c.failedNamespaces()
	update := event.UpdateEvent{ObjectOld: &rbacv1.ClusterRole{}, ObjectNew: &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{
		Labels: map[string]string{"projectcapsule.dev/aggregate-to-controller": "true"},
	}}}
	retry.Update(t.Context(), update, immediate{queue})
	if got, _ := queue.Get(); got.Name != ns {
		t.Errorf("want another try in %s, got %v", ns, got)
	}
	retry.Create(t.Context(), event.CreateEvent{Object: &rbacv1.ClusterRole{}, IsInInitialList: true}, immediate{queue})
	retry.Update(t.Context(), event.UpdateEvent{ObjectOld: &rbacv1.ClusterRole{}, ObjectNew: &rbacv1.ClusterRole{}}, immediate{queue})
	if queue.Len() > 0 {
		t.Error("tried again for no reason")
	}

	c.refuse = func(string, string) error { return errors.New("boom") }
	if err := c.reconcile(t.Context()); err == nil {
		t.Error("want an error, for another try at once")
	}

	c.refuse = nil
	if err := c.reconcile(t.Context()); err != nil {
		t.Error(err)
	}
	if reports := c.reports.Of(ref); len(reports) > 0 {
		t.Errorf("want no reports, got %+v", reports)
	}
}

// TestRefusedReplacement has a ClusterRole that Capsule bound and the controller may
// not: whoever has it keeps it.
func TestRefusedReplacement(t *testing.T) {
	t1 := oil([]capsulev1beta2.OwnerSpec{owner(capsulev1beta2.UserOwner, "alice", "secret")})
	legacy := in(ns, with(binding("secret", alice), func(b *rbacv1.RoleBinding) { b.Name = "capsule-oil-0-secret" }))
	other := in(ns, with(binding("secret", bob), func(b *rbacv1.RoleBinding) { b.Name = "capsule-oil-1-secret" }))
	c := newCluster(t, t1, namespaceOf(ns, "oil", "oil-1"), legacy.DeepCopy(), other)
	c.refuse = func(verb, name string) error {
		if verb != "create" {
			return nil
		}
		return apierrors.NewForbidden(rbacv1.Resource("rolebindings"), name, errors.New("attempting to grant RBAC permissions not currently held"))
	}
	if err := c.reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]rbacv1.RoleBinding{*legacy}, c.bindings(t.Context(), t)); diff != "" {
		t.Errorf("RoleBindings (-want +got):\n%s", diff)
	}
	c.refuse = nil
	if err := c.reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]rbacv1.RoleBinding{*in(ns, binding("secret", alice))}, c.bindings(t.Context(), t)); diff != "" {
		t.Errorf("RoleBindings, allowed (-want +got):\n%s", diff)
	}
}

// immediate is a queue that does not wait.
type immediate struct{ queue }

func (q immediate) AddAfter(request reconcile.Request, _ time.Duration) { q.Add(request) }

func TestEditedByUsers(t *testing.T) {
	c := newCluster(t, oil([]capsulev1beta2.OwnerSpec{owner(capsulev1beta2.UserOwner, "alice", "admin")}), namespaceOf(ns, "oil", "oil-1"))
	if err := c.reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := c.bindings(t.Context(), t)
	edit := func(step string, change func(*rbacv1.RoleBinding)) {
		t.Helper()
		var b rbacv1.RoleBinding
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: want[0].Name}, &b); err != nil {
			t.Fatal(err)
		}
		change(&b)
		if err := c.Update(t.Context(), &b, client.FieldOwner("kubectl-edit")); err != nil {
			t.Fatal(err)
		}
		if err := c.reconcile(t.Context()); err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		if diff := cmp.Diff(want, c.bindings(t.Context(), t)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step, diff)
		}
	}
	edit("subjects", func(b *rbacv1.RoleBinding) { b.Subjects = []rbacv1.Subject{bob} })
	edit("label", func(b *rbacv1.RoleBinding) { delete(b.Labels, capsulev1beta2.RoleBindingLabel) })
	// Such a one is not even found among ours.
	edit("label and subjects", func(b *rbacv1.RoleBinding) {
		delete(b.Labels, capsulev1beta2.RoleBindingLabel)
		b.Subjects = []rbacv1.Subject{bob}
	})
}

func TestMetadataGoesWithItsItem(t *testing.T) {
	item := capsulev1beta2.AdditionalRoleBinding{
		ClusterRoleName: "view", Subjects: []rbacv1.Subject{alice},
		Labels: map[string]string{"team": "a"}, Annotations: map[string]string{"note": "a"},
	}
	t1 := oil(nil, item)
	c := newCluster(t, t1, namespaceOf(ns, "oil", "oil-1"))
	if err := c.reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	theirs := c.bindings(t.Context(), t)[0]
	if err := c.Patch(t.Context(), &theirs, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"theirs":"x"}}}`)), client.FieldOwner("them")); err != nil {
		t.Fatal(err)
	}
	t1.Spec.AdditionalRoleBindings[0].Labels, t1.Spec.AdditionalRoleBindings[0].Annotations = nil, nil
	t1.Generation++
	if err := c.Update(t.Context(), t1); err != nil {
		t.Fatal(err)
	}
	if err := c.reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := labelled(*in(ns, binding("view", alice)), map[string]string{"theirs": "x"}, nil)
	if diff := cmp.Diff([]rbacv1.RoleBinding{want}, c.bindings(t.Context(), t), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("RoleBindings (-want +got):\n%s", diff)
	}
}

// TestConverges holds the reconciler to make of anything what a Tenant wants, and to
// leave it alone then.
func TestConverges(t *testing.T) {
	roles := rapid.SampledFrom([]string{"admin", "edit", "view"})
	subject := rapid.SampledFrom([]rbacv1.Subject{alice, bob, robot})
	labels := rapid.MapOfN(rapid.SampledFrom([]string{"a", "b"}), rapid.SampledFrom([]string{"1", "2"}), 0, 2)
	item := rapid.Custom(func(t *rapid.T) capsulev1beta2.AdditionalRoleBinding {
		return capsulev1beta2.AdditionalRoleBinding{
			ClusterRoleName: roles.Draw(t, "role"), Subjects: rapid.SliceOfN(subject, 1, 2).Draw(t, "subjects"), Labels: labels.Draw(t, "labels"),
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		t1 := oil(nil)
		c := newCluster(t, t1, namespaceOf(ns, "oil", "oil-1"), in(ns, with(binding("edit", bob), func(b *rbacv1.RoleBinding) { b.Name = "mine" })))
		for range 2 {
			t1.Generation++
			t1.Spec.AdditionalRoleBindings = rapid.SliceOfN(item, 0, 4).Draw(rt, "items")
			if err := c.Update(t.Context(), t1); err != nil {
				rt.Fatal(err)
			}
			for i := range c.bindings(t.Context(), t) {
				b := c.bindings(t.Context(), t)[i]
				switch {
				case b.Name == "mine":
				case rapid.Bool().Draw(rt, "edit"):
					b.Subjects = rapid.SliceOfN(subject, 0, 2).Draw(rt, "subjects")
					if err := c.Update(t.Context(), &b); err != nil {
						rt.Fatal(err)
					}
				}
			}
			if err := c.reconcile(t.Context()); err != nil {
				rt.Fatal(err)
			}
			c.writes = nil
			if err := c.reconcile(t.Context()); err != nil || len(c.writes) > 0 {
				rt.Fatalf("the second time: %v, %q", err, c.writes)
			}
			want := map[string]rbacv1.RoleBinding{"mine": *in(ns, with(binding("edit", bob), func(b *rbacv1.RoleBinding) { b.Name = "mine" }))}
			for _, b := range RoleBindings(t1, tenant.Owners(t1, tenant.Sources{})) {
				want[b.Name] = *in(ns, *b)
			}
			got := map[string]rbacv1.RoleBinding{}
			for _, b := range c.bindings(t.Context(), t) {
				got[b.Name] = b
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				rt.Fatalf("RoleBindings (-want +got):\n%s", diff)
			}
		}
	})
}

// TestOtherOwners holds that RoleBindings follow what makes owners, although the Tenant
// stays as it is.
func TestOtherOwners(t *testing.T) {
	bobs := tenantOwner("b", owner(capsulev1beta2.UserOwner, "bob", "view").CoreOwnerSpec)
	c := newCluster(t, oil([]capsulev1beta2.OwnerSpec{owner(capsulev1beta2.UserOwner, "alice", "admin")}), namespaceOf(ns, "oil", "oil-1"), bobs)
	holds := func(want ...rbacv1.RoleBinding) {
		t.Helper()
		if err := c.reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		var names, got []string
		for i := range want {
			names = append(names, want[i].Name)
		}
		for _, b := range c.bindings(t.Context(), t) {
			got = append(got, b.Name)
		}
		if diff := cmp.Diff(slices.Sorted(slices.Values(names)), got); diff != "" {
			t.Errorf("RoleBindings (-want +got):\n%s", diff)
		}
	}
	holds(binding("admin", alice), binding("view", bob))
	if err := c.Delete(t.Context(), bobs); err != nil {
		t.Fatal(err)
	}
	c.owners = owners.New(c.Client, "default")
	holds(binding("admin", alice))
}

func TestUnsettled(t *testing.T) {
	right := in(ns, binding("admin", alice))
	c := newCluster(t, oil([]capsulev1beta2.OwnerSpec{owner(capsulev1beta2.UserOwner, "alice", "admin")}), namespaceOf(ns, "oil", "oil-1"),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	filter := c.unsettled(c.kindOf(capsulev1beta2.RoleBindingLabel))
	for name, test := range map[string]struct {
		given *rbacv1.RoleBinding
		// whether something is to be done when it is written, and when it is deleted.
		written, deleted bool
	}{
		"as it should be":         {right, false, true},
		"edited":                  {in(ns, with(*right, func(b *rbacv1.RoleBinding) { b.Subjects = nil })), true, true},
		"not wanted":              {in(ns, binding("edit", alice)), true, false},
		"in nobody's namespace":   {in("default", *right), true, false},
		"in an unknown namespace": {in("new", *right), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			if filter.Create(event.CreateEvent{Object: test.given}) != test.written ||
				filter.Update(event.UpdateEvent{ObjectOld: right, ObjectNew: test.given}) != test.written {
				t.Errorf("want it to count when it is written: %v", test.written)
			}
			if filter.Delete(event.DeleteEvent{Object: test.given}) != test.deleted {
				t.Errorf("want it to count when it is deleted: %v", test.deleted)
			}
		})
	}
}

func TestChangedHands(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*corev1.Namespace)
		want   bool
	}{
		"nothing":       {func(*corev1.Namespace) {}, false},
		"its status":    {func(n *corev1.Namespace) { n.Status.Phase, n.ResourceVersion = "Active", "2" }, false},
		"other labels":  {func(n *corev1.Namespace) { n.Labels["a"] = "b" }, false},
		"tenant label":  {func(n *corev1.Namespace) { n.Labels[capsulev1beta2.TenantLabel] = "gas" }, true},
		"owner":         {func(n *corev1.Namespace) { n.OwnerReferences[0].UID = "oil-2" }, true},
		"no owner":      {func(n *corev1.Namespace) { n.OwnerReferences = nil }, true},
		"being deleted": {func(n *corev1.Namespace) { n.DeletionTimestamp = new(metav1.Now()) }, true},
		"another life":  {func(n *corev1.Namespace) { n.UID = "other" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			was := namespaceOf("oil-prod", "oil", "oil-1")
			is := was.DeepCopy()
			test.change(is)
			if got := changedHands(event.UpdateEvent{ObjectOld: was, ObjectNew: is}); got != test.want {
				t.Errorf("want %v, got %v", test.want, got)
			}
		})
	}
}

func TestWantsOther(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*capsulev1beta2.Tenant)
		want   bool
	}{
		"its status": {func(t *capsulev1beta2.Tenant) { t.Status.Size = 3 }, false},
		"its quota": {func(t *capsulev1beta2.Tenant) {
			t.Generation, t.Spec.NamespaceOptions = 2, &capsulev1beta2.NamespaceOptions{Quota: new(int32(3))}
		}, false},
		"what an owner is shown": {func(t *capsulev1beta2.Tenant) {
			t.Generation, t.Spec.Owners[0].ProxySettings = 2, []capsulev1beta2.ProxyOperations{{Kind: capsulev1beta2.NodesProxy}}
		}, false},
		"an owner":          {func(t *capsulev1beta2.Tenant) { t.Generation, t.Spec.Owners[0].Name = 2, "bob" }, true},
		"an owner's labels": {func(t *capsulev1beta2.Tenant) { t.Generation, t.Spec.Owners[0].Labels = 2, map[string]string{"a": "b"} }, true},
		"what its pods carry": {func(t *capsulev1beta2.Tenant) {
			t.Generation, t.Spec.PodOptions = 2, &capsulev1beta2.PodOptions{AdditionalMetadata: &capsulev1beta2.AdditionalMetadata{Labels: values{"a": "b"}}}
		}, true},
		"another life": {func(t *capsulev1beta2.Tenant) { t.UID = "oil-2" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			was := oil([]capsulev1beta2.OwnerSpec{owner(capsulev1beta2.UserOwner, "alice", "admin")})
			is := was.DeepCopy()
			test.change(is)
			if got := newCluster(t).wantsOther(event.UpdateEvent{ObjectOld: was, ObjectNew: is}); got != test.want {
				t.Errorf("want %v, got %v", test.want, got)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	t1 := oil(nil)
	c := newCluster(t, t1, namespaceOf("oil-prod", "oil", "oil-1"), namespaceOf("oil-dev", "oil", "oil-1"),
		namespaceOf("oil-old", "oil", "oil-0"), namespaceOf("gas-prod", "gas", "gas-1"))
	names := map[string]bool{}
	for _, request := range c.namespacesOf(t.Context(), t1) {
		names[request.Name] = true
	}
	if diff := cmp.Diff([]string{"oil-dev", "oil-prod"}, slices.Sorted(maps.Keys(names))); diff != "" {
		t.Errorf("namespaces of the Tenant (-want +got):\n%s", diff)
	}
	if got := itsNamespace(t.Context(), in("oil-prod", binding("admin", alice))); len(got) != 1 || got[0].Name != "oil-prod" {
		t.Errorf("want the namespace of the RoleBinding, got %v", got)
	}
}
