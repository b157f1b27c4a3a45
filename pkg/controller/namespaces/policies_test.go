// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	policyv1alpha1 "tenancy.capsule.io/apis/policy/v1alpha1"
	"tenancy.capsule.io/pkg/controller/report"
	"tenancy.capsule.io/pkg/tenant"
)

func quantities(list map[corev1.ResourceName]string) corev1.ResourceList {
	parsed := corev1.ResourceList{}
	for name, quantity := range list {
		parsed[name] = resource.MustParse(quantity)
	}
	return parsed
}

// imposing returns a Tenant that imposes one object of each kind, and quotas of a
// scope.
func imposing(scope capsulev1beta2.ResourceQuotaScope) *capsulev1beta2.Tenant {
	t := oil(nil)
	t.Spec.NetworkPolicies = &capsulev1beta2.NetworkPolicies{Items: []networkingv1.NetworkPolicySpec{{
		Ingress: []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{{}}}},
	}}}
	t.Spec.LimitRanges = &capsulev1beta2.LimitRanges{Items: []corev1.LimitRangeSpec{{Limits: []corev1.LimitRangeItem{{
		Type: corev1.LimitTypeContainer, Max: quantities(map[corev1.ResourceName]string{"cpu": "1"}), Min: quantities(map[corev1.ResourceName]string{"memory": "1Mi"}),
	}}}}}
	t.Spec.ResourceQuotas = &capsulev1beta2.ResourceQuotas{Scope: scope, Items: []corev1.ResourceQuotaSpec{{
		Hard: quantities(map[corev1.ResourceName]string{"pods": "10", "cpu": "1500u"}),
	}}}
	t.Spec.PodOptions = &capsulev1beta2.PodOptions{AdditionalMetadata: &capsulev1beta2.AdditionalMetadata{Labels: values{"team": "oil"}}}
	return t
}

// labelsOf returns the labels of what oil imposes, which is the first of its kind.
func labelsOf(label string) map[string]string {
	return map[string]string{"projectcapsule.dev/managed-by": "controller", "projectcapsule.dev/tenant": "oil", label: "0"}
}

func TestComplete(t *testing.T) {
	const scope = capsulev1beta2.ResourceQuotaScopeNamespace
	policy := NetworkPolicies(imposing(scope))[0]
	if policy.Name != "capsule-oil-0" || len(policy.Spec.PolicyTypes) != 1 || *policy.Spec.Ingress[0].Ports[0].Protocol != "TCP" {
		t.Errorf("policy: %+v", policy)
	}
	both := imposing(scope)
	both.Spec.NetworkPolicies.Items[0].Egress = []networkingv1.NetworkPolicyEgressRule{{}}
	if got := NetworkPolicies(both)[0].Spec.PolicyTypes; len(got) != 2 {
		t.Errorf("want both directions, got %q", got)
	}
	want := corev1.LimitRangeItem{
		Type: corev1.LimitTypeContainer,
		Max:  quantities(map[corev1.ResourceName]string{"cpu": "1"}), Min: quantities(map[corev1.ResourceName]string{"memory": "1Mi"}),
		Default:        quantities(map[corev1.ResourceName]string{"cpu": "1"}),
		DefaultRequest: quantities(map[corev1.ResourceName]string{"cpu": "1", "memory": "1Mi"}),
	}
	if diff := cmp.Diff(want, LimitRanges(imposing(scope))[0].Spec.Limits[0]); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(quantities(map[corev1.ResourceName]string{"pods": "10", "cpu": "2m"}), ResourceQuotas(imposing(scope))[0].Spec.Hard); diff != "" {
		t.Errorf("quota (-want +got):\n%s", diff)
	}
	nothing := oil(nil)
	if len(ResourceQuotas(nothing))+len(LimitRanges(nothing))+len(NetworkPolicies(nothing))+len(NamespacePolicies(nothing)) > 0 {
		t.Error("want nothing for a Tenant that imposes nothing")
	}
}

// edit changes an object as somebody else would.
func edit[T client.Object](ctx context.Context, tb testing.TB, c *cluster, name string, object T, change func(T)) {
	tb.Helper()
	if err := c.Get(ctx, client.ObjectKey{Namespace: ns, Name: name}, object); err != nil {
		tb.Fatal(err)
	}
	change(object)
	if err := c.Update(ctx, object, client.FieldOwner("kubectl-edit")); err != nil {
		tb.Fatal(err)
	}
}

// imposed returns what is in the namespace, without what the API server gives.
func (c *cluster) imposed(ctx context.Context, tb testing.TB) []client.Object {
	tb.Helper()
	var objects []client.Object
	for _, label := range []string{capsulev1beta2.NetworkPolicyLabel, capsulev1beta2.LimitRangeLabel, capsulev1beta2.ResourceQuotaLabel, policyv1alpha1.NamespacePolicyLabel} {
		present, err := c.kindOf(label).present(ctx, c, ns)
		if err != nil {
			tb.Fatal(err)
		}
		for _, object := range present {
			object.SetManagedFields(nil)
			object.SetResourceVersion("")
			objects = append(objects, object)
		}
	}
	return objects
}

func TestDriftOfPolicies(t *testing.T) {
	ctx := t.Context()
	const name = "capsule-oil-0"
	for _, scope := range []capsulev1beta2.ResourceQuotaScope{capsulev1beta2.ResourceQuotaScopeNamespace, capsulev1beta2.ResourceQuotaScopeTenant} {
		t.Run(string(scope), func(t *testing.T) {
			c := newCluster(t, imposing(scope), namespaceOf(ns, "oil", "oil-1"))
			if err := c.reconcile(ctx); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"create " + name, "create " + name, "create " + name, "create " + policyv1alpha1.NamespacePolicyName}, inVerbs(c.writes)); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			want := c.imposed(ctx, t)
			if len(want) != 4 {
				t.Fatalf("want four objects, got %+v", want)
			}
			for step, change := range map[string]func(){
				"a policy is opened": func() {
					edit(ctx, t, c, name, &networkingv1.NetworkPolicy{}, func(p *networkingv1.NetworkPolicy) {
						p.Spec.PolicyTypes, p.Spec.Egress = []networkingv1.PolicyType{"Egress"}, []networkingv1.NetworkPolicyEgressRule{{}}
					})
				},
				"limits are added": func() {
					edit(ctx, t, c, name, &corev1.LimitRange{}, func(l *corev1.LimitRange) {
						l.Spec.Limits = append(l.Spec.Limits, corev1.LimitRangeItem{Type: corev1.LimitTypePod})
					})
				},
				"another resource is limited": func() {
					edit(ctx, t, c, name, &corev1.ResourceQuota{}, func(q *corev1.ResourceQuota) {
						q.Spec.Hard["services"] = resource.MustParse("1")
					})
				},
				"a label is taken off": func() {
					edit(ctx, t, c, name, &corev1.ResourceQuota{}, func(q *corev1.ResourceQuota) { delete(q.Labels, capsulev1beta2.ManagedByLabel) })
				},
				"the label by which it is found, too": func() {
					edit(ctx, t, c, name, &networkingv1.NetworkPolicy{}, func(p *networkingv1.NetworkPolicy) {
						p.Labels, p.Spec.Ingress = nil, nil
					})
				},
				"it is not the Tenant's any more": func() {
					edit(ctx, t, c, name, &corev1.LimitRange{}, func(l *corev1.LimitRange) { l.OwnerReferences = nil })
				},
				"pods are to carry something else": func() {
					edit(ctx, t, c, policyv1alpha1.NamespacePolicyName, &policyv1alpha1.NamespacePolicy{}, func(p *policyv1alpha1.NamespacePolicy) {
						p.Spec.PodMetadata.Labels = values{"team": "theirs", "more": "x"}
						p.Spec.ServiceMetadata.Annotations = values{"more": "x"}
					})
				},
				"it is deleted": func() {
					if err := c.Delete(ctx, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}); err != nil {
						t.Fatal(err)
					}
				},
			} {
				change()
				if err := c.reconcile(ctx); err != nil {
					t.Fatalf("%s: %v", step, err)
				}
				if diff := cmp.Diff(want, c.imposed(ctx, t)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", step, diff)
				}
				c.writes = nil
				if err := c.reconcile(ctx); err != nil || len(c.writes) > 0 {
					t.Errorf("%s, the second time: %v, %q", step, err, c.writes)
				}
			}
		})
	}
}

// TestUnmarked has somebody take the label off by which an object is found, while it is
// one that cannot be changed into what is wanted now.
func TestUnmarked(t *testing.T) {
	const name = "capsule-oil-0"
	for which, edit := range map[string]func(context.Context, *testing.T, *cluster){
		"of other scopes": func(ctx context.Context, t *testing.T, c *cluster) {
			t.Helper()
			edit(ctx, t, c, name, &corev1.ResourceQuota{}, func(q *corev1.ResourceQuota) {
				q.Labels, q.Spec.Scopes = nil, []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}
			})
		},
		"of an earlier life": func(ctx context.Context, t *testing.T, c *cluster) {
			t.Helper()
			edit(ctx, t, c, name, &networkingv1.NetworkPolicy{}, func(p *networkingv1.NetworkPolicy) {
				p.Labels, p.OwnerReferences[0].UID = nil, "oil-0"
			})
		},
	} {
		t.Run(which, func(t *testing.T) {
			c := newCluster(t, imposing(capsulev1beta2.ResourceQuotaScopeNamespace), namespaceOf(ns, "oil", "oil-1"))
			if err := c.reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := c.imposed(t.Context(), t)
			edit(t.Context(), t, c)
			c.writes = nil
			if err := c.reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"create " + name, "delete " + name, "create " + name}, c.writes); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want, c.imposed(t.Context(), t)); diff != "" {
				t.Errorf("what is imposed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSharedQuota(t *testing.T) {
	ctx := t.Context()
	sibling := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: "oil-dev", Name: "capsule-oil-0", Labels: labelsOf(capsulev1beta2.ResourceQuotaLabel)},
		Status:     corev1.ResourceQuotaStatus{Used: quantities(map[corev1.ResourceName]string{"pods": "4"})},
	}
	t1 := imposing(capsulev1beta2.ResourceQuotaScopeTenant)
	c := newCluster(t, t1, namespaceOf(ns, "oil", "oil-1"), namespaceOf("oil-dev", "oil", "oil-1"), sibling)
	quota := func() *corev1.ResourceQuota {
		t.Helper()
		if err := c.reconcile(ctx); err != nil {
			t.Fatal(err)
		}
		quota := &corev1.ResourceQuota{}
		if err := c.Get(ctx, client.ObjectKey{Namespace: ns, Name: "capsule-oil-0"}, quota); err != nil {
			t.Fatal(err)
		}
		return quota
	}
	made := quota()
	if diff := cmp.Diff(quantities(map[corev1.ResourceName]string{"pods": "6", "cpu": "2m"}), made.Spec.Hard); diff != "" {
		t.Errorf("a new namespace may use what is left (-want +got):\n%s", diff)
	}
	wantAnnotations := map[string]string{"quota.capsule.clastix.io/hard-pods": "10", "quota.capsule.clastix.io/hard-cpu": "2m"}
	if diff := cmp.Diff(wantAnnotations, made.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}

	change := func(change func(*capsulev1beta2.ResourceQuotas)) {
		t.Helper()
		change(t1.Spec.ResourceQuotas)
		t1.Generation++
		if err := c.Update(ctx, t1); err != nil {
			t.Fatal(err)
		}
	}
	change(func(q *capsulev1beta2.ResourceQuotas) {
		q.Items[0].Hard = quantities(map[corev1.ResourceName]string{"pods": "20", "services": "3"})
	})
	if diff := cmp.Diff(quantities(map[corev1.ResourceName]string{"pods": "6", "services": "0"}), quota().Spec.Hard); diff != "" {
		t.Errorf("limits are left to the other controller (-want +got):\n%s", diff)
	}
	change(func(q *capsulev1beta2.ResourceQuotas) { q.Scope = capsulev1beta2.ResourceQuotaScopeNamespace })
	separate := quota()
	if diff := cmp.Diff(quantities(map[corev1.ResourceName]string{"pods": "20", "services": "3"}), separate.Spec.Hard); diff != "" {
		t.Errorf("each has all of it (-want +got):\n%s", diff)
	}
	if len(separate.Annotations) > 0 {
		t.Errorf("want no annotations, got %v", separate.Annotations)
	}
	change(func(q *capsulev1beta2.ResourceQuotas) {
		q.Items[0].Scopes = []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}
	})
	if got := quota().Spec.Scopes; len(got) != 1 {
		t.Errorf("want the quota to be made anew, got %q", got)
	}
}

func TestForeign(t *testing.T) {
	metadata := metav1.ObjectMeta{Namespace: ns, Name: "capsule-oil-0"}
	for kind, foreign := range map[string]client.Object{
		"NetworkPolicy": &networkingv1.NetworkPolicy{ObjectMeta: metadata},
		"LimitRange":    &corev1.LimitRange{ObjectMeta: metadata},
		// It limits the same, but not to what there is to share.
		"ResourceQuota": &corev1.ResourceQuota{ObjectMeta: metadata, Spec: corev1.ResourceQuotaSpec{
			Hard: quantities(map[corev1.ResourceName]string{"pods": "1000", "cpu": "2"}),
		}},
	} {
		t.Run(kind, func(t *testing.T) {
			t1 := imposing(capsulev1beta2.ResourceQuotaScopeTenant)
			t1.Spec.Owners = []capsulev1beta2.OwnerSpec{owner(capsulev1beta2.UserOwner, "alice", "admin", "view")}
			c := newCluster(t, t1, namespaceOf(ns, "oil", "oil-1"), foreign)
			if err := c.reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			is := foreign.DeepCopyObject().(client.Object)
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(foreign), is); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(foreign, is, cmpopts.IgnoreFields(metav1.ObjectMeta{}, "ResourceVersion")); diff != "" {
				t.Errorf("what is foreign (-want +got):\n%s", diff)
			}
			want := []report.Report{{Source: Name, Namespace: ns, Message: kind + " oil-prod/capsule-oil-0 exists and is not the controller's: " +
				"a cluster administrator has to delete it; new RoleBindings wait for that"}}
			if diff := cmp.Diff(want, c.reports.Of(tenant.Ref{Name: "oil", UID: "oil-1"})); diff != "" {
				t.Errorf("reports (-want +got):\n%s", diff)
			}
		})
	}
}

// TestConflict has somebody else write at the same time: that is nobody's failure.
func TestConflict(t *testing.T) {
	c := newCluster(t, imposing(capsulev1beta2.ResourceQuotaScopeNamespace), namespaceOf(ns, "oil", "oil-1"))
	if err := c.reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	edit(t.Context(), t, c, "capsule-oil-0", &corev1.ResourceQuota{}, func(q *corev1.ResourceQuota) { q.Spec.Hard["pods"] = resource.MustParse("99") })
	c.refuse = func(verb, name string) error {
		if verb != "patch" {
			return nil
		}
		return apierrors.NewConflict(corev1.Resource("resourcequotas"), name, errors.New("changed"))
	}
	result, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKey{Name: ns}})
	if err != nil || result.RequeueAfter != staleDelay {
		t.Errorf("want another try soon, got %v, %v", result, err)
	}
	if reports := c.reports.Of(tenant.Ref{Name: "oil", UID: "oil-1"}); len(reports) > 0 {
		t.Errorf("want no reports, got %+v", reports)
	}
}

// TestNotLimited has a limit fail: nobody may use the namespace without it, but whoever
// was to lose something there does.
func TestNotLimited(t *testing.T) {
	terminating := &apierrors.StatusError{ErrStatus: metav1.Status{
		Reason: metav1.StatusReasonForbidden, Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}},
	}}
	const policy = "create capsule-oil-0"
	leftover := binding("edit", alice).Name
	admin := "create " + binding("admin", alice).Name
	for name, test := range map[string]struct {
		given error
		want  []string
	}{
		"it fails": {given: errors.New("boom"), want: []string{policy, policy, policy, "delete " + leftover}},
		// Another namespace may have its name by now.
		"the namespace is going away": {given: terminating, want: []string{policy, policy, policy}},
		"it is refused":               {given: apierrors.NewInvalid(networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy").GroupKind(), "capsule-oil-0", nil), want: []string{policy, policy, policy, "delete " + leftover}},
	} {
		t.Run(name, func(t *testing.T) {
			t1 := imposing(capsulev1beta2.ResourceQuotaScopeNamespace)
			t1.Spec.Owners = []capsulev1beta2.OwnerSpec{owner(capsulev1beta2.UserOwner, "alice", "admin")}
			c := newCluster(t, t1, namespaceOf(ns, "oil", "oil-1"), in(ns, binding("edit", alice)))
			c.refuse = func(verb, name string) error {
				if verb == "create" && name == "capsule-oil-0" {
					return test.given
				}
				return nil
			}
			_, _ = c.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKey{Name: ns}})
			// What else limits a namespace is made beside them, in any order.
			writes := slices.DeleteFunc(c.writes, func(write string) bool { return write == "create "+policyv1alpha1.NamespacePolicyName })
			if diff := cmp.Diff(test.want, writes); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			c.refuse, c.writes = nil, nil
			if err := c.reconcile(t.Context()); err != nil || !slices.Contains(c.writes, admin) {
				t.Errorf("the second time: %v, %q", err, c.writes)
			}
		})
	}
}

// TestLimitsComeFirst holds a namespace to be limited before its owners can use it.
func TestLimitsComeFirst(t *testing.T) {
	t1 := imposing(capsulev1beta2.ResourceQuotaScopeNamespace)
	t1.Spec.Owners = []capsulev1beta2.OwnerSpec{owner(capsulev1beta2.UserOwner, "alice", "admin")}
	c := newCluster(t, t1, namespaceOf(ns, "oil", "oil-1"))
	if err := c.reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(c.writes[4:]), fmt.Sprint([]string{"create " + binding("admin", alice).Name}); got != want {
		t.Errorf("want %s last, got %s", want, c.writes)
	}
}

// TestOwnersWaitForLimits has something that limits a namespace not be written: nobody
// gets a role there because of it, and nobody loses one.
func TestOwnersWaitForLimits(t *testing.T) {
	gone := apierrors.NewTimeoutError("etcd is slow", 1)
	changed := apierrors.NewConflict(corev1.Resource("x"), "x", errors.New("changed"))
	refused := apierrors.NewForbidden(corev1.Resource("x"), "x", errors.New("boom"))
	for name, test := range map[string]struct {
		fail  string
		err   error
		label bool
		// limited says that the object was there, and is to be changed.
		limited bool
		// want are the roles of alice after the first time.
		want []string
	}{
		"a policy times out":                   {fail: "create capsule-oil-0", err: gone, want: []string{"edit", "legacy"}},
		"a policy is refused":                  {fail: "create capsule-oil-0", err: refused, want: []string{"edit", "legacy"}},
		"a policy conflicts":                   {fail: "create capsule-oil-0", err: changed, want: []string{"edit", "legacy"}},
		"the label of pod security times out":  {fail: "apply " + ns, err: gone, label: true, want: []string{"edit", "legacy"}},
		"the label of pod security is refused": {fail: "apply " + ns, err: refused, label: true, want: []string{"edit", "legacy"}},
		"the label of pod security conflicts":  {fail: "apply " + ns, err: changed, label: true, want: []string{"edit", "legacy"}},
		"a policy cannot be changed":           {fail: "patch capsule-oil-0", err: refused, limited: true, want: []string{"admin", "edit", "view"}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			t1 := imposing(capsulev1beta2.ResourceQuotaScopeNamespace)
			if test.label {
				t1.Spec.NamespaceOptions = &capsulev1beta2.NamespaceOptions{AdditionalMetadata: &capsulev1beta2.AdditionalMetadata{
					Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
				}}
			}
			c := newCluster(t, t1, namespaceOf(ns, "oil", "oil-1"))
			if test.limited {
				if err := c.reconcile(ctx); err != nil {
					t.Fatal(err)
				}
				edit(ctx, t, c, "capsule-oil-0", &corev1.ResourceQuota{}, func(q *corev1.ResourceQuota) { q.Spec.Hard["pods"] = resource.MustParse("99") })
			}
			t1.Spec.Owners = []capsulev1beta2.OwnerSpec{owner(capsulev1beta2.UserOwner, "alice", "admin", "edit", "view")}
			t1.Generation++
			// One is as it should be but for a label, one an earlier Capsule made by
			// another name, one nobody wants.
			present := in(ns, with(binding("edit", alice), func(b *rbacv1.RoleBinding) { delete(b.Labels, capsulev1beta2.ManagedByLabel) }))
			legacy := in(ns, with(binding("view", alice), func(b *rbacv1.RoleBinding) { b.Name = "capsule-oil-2-view" }))
			unwanted := in(ns, binding("cluster-admin", bob))
			if err := errors.Join(c.Update(ctx, t1), c.Create(ctx, present), c.Create(ctx, legacy), c.Create(ctx, unwanted)); err != nil {
				t.Fatal(err)
			}
			c.refuse = func(verb, name string) error {
				if verb+" "+name == test.fail {
					return test.err
				}
				return nil
			}
			roles := func() []string {
				var names []string
				for _, b := range c.bindings(ctx, t) {
					name := b.RoleRef.Name
					if b.Name == legacy.Name {
						name = "legacy"
					}
					if b.Name == present.Name && b.Labels[capsulev1beta2.ManagedByLabel] == "" {
						name += ", as it was"
					}
					names = append(names, name)
				}
				slices.Sort(names)
				return names
			}
			result, err := c.Reconcile(ctx, reconcile.Request{NamespacedName: client.ObjectKey{Name: ns}})
			if err == nil && result.RequeueAfter == 0 {
				t.Error("want another try")
			}
			if diff := cmp.Diff(test.want, roles()); diff != "" {
				t.Errorf("roles (-want +got):\n%s", diff)
			}
			c.refuse = nil
			if err := c.reconcile(ctx); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"admin", "edit", "view"}, roles()); diff != "" {
				t.Errorf("roles in the end (-want +got):\n%s", diff)
			}
		})
	}
}
