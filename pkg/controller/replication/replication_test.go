// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

func TestLifeOfATenantResource(t *testing.T) {
	r := localSubject("oil-a", rawItems(rawItem("x", "in", "{{ namespace }}"))...)
	c := newCluster(t, append(oil(), r)...)

	c.reconcile(t, r)
	compare(t, "ready", "True Succeeded: 2 objects are as they should be", ready(r))
	compare(t, "entries", []string{"oil-a/x True created 03:04:05", "oil-b/x True created 03:04:05"}, entries(r.Status.ReplicationStatus))
	compare(t, "writes", []string{"oil-a/sa: make oil-a/x", "oil-a/sa: make oil-b/x"}, c.takeWrites())
	compare(t, "writes of the subject", []string{"finalizers r", "status r", "status r"}, c.takeSubjects())
	compare(t, "finalizers", []string{capsulev1beta2.Finalizer}, r.Finalizers)
	compare(t, "data", map[string]string{"in": "oil-b"}, c.data(t, "oil-b"))
	compare(t, "observed generation", int64(1), r.Status.ObservedGeneration)
	compare(t, "size", uint32(2), r.Status.Size)

	// Nothing changes, so nothing is written.
	version := r.ResourceVersion
	c.reconcile(t, r)
	compare(t, "writes", nil, c.takeWrites())
	compare(t, "writes of the subject", nil, c.takeSubjects())
	compare(t, "version", version, r.ResourceVersion)
	// What is not remembered is applied. The API server finds that it changes nothing.
	c.local.applied = newMemory()
	c.reconcile(t, r)
	compare(t, "writes", []string{"oil-a/sa: apply oil-a/x", "oil-a/sa: apply oil-b/x"}, c.takeWrites())
	c.clock.SetTime(start.Add(time.Minute))

	// Drift.
	edit(t, c, configMap("oil-b", "x", nil), func(m *corev1.ConfigMap) { m.Data = nil; m.Labels = nil })
	c.reconcile(t, r)
	compare(t, "writes", []string{"oil-a/sa: apply oil-b/x"}, c.takeWrites())
	compare(t, "entries", []string{"oil-a/x True created 03:04:05", "oil-b/x True created 03:05:05"}, entries(r.Status.ReplicationStatus))
	compare(t, "data", map[string]string{"in": "oil-b"}, c.data(t, "oil-b"))

	// What leaves the spec, and a namespace that leaves.
	edit(t, c, r, func(r *capsulev1beta2.TenantResource) { r.Spec.Resources[0].RawItems[0] = rawItem("y") })
	c.reconcile(t, r)
	compare(t, "writes", []string{"oil-a/sa: delete oil-a/x", "oil-a/sa: delete oil-b/x", "oil-a/sa: make oil-a/y", "oil-a/sa: make oil-b/y"}, c.takeWrites())
	edit(t, c, namespaceOf("oil", "oil-b"), func(n *corev1.Namespace) { n.OwnerReferences = nil })
	c.reconcile(t, r)
	compare(t, "writes", []string{"oil-a/sa: delete oil-b/y"}, c.takeWrites())
	compare(t, "entries", []string{"oil-a/y True created 03:05:05"}, entries(r.Status.ReplicationStatus))

	if err := c.Delete(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	c.reconcile(t, r)
	compare(t, "writes", []string{"oil-a/sa: delete oil-a/y"}, c.takeWrites())
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(r), r); !apierrors.IsNotFound(err) {
		t.Errorf("want no subject, got %v", err)
	}
	c.reconcile(t, r)
	compare(t, "what is remembered", 0, len(c.local.applied.of))
}

// TestLooksAreRare counts how often objects are looked at.
func TestLooksAreRare(t *testing.T) {
	r := localSubject("oil-a", rawItems(rawItem("x"))...)
	c := newCluster(t, append(oil(), r)...)
	looks := 0
	c.refuse = func(verb, _ string) error {
		if verb == "get" {
			c.lock.Lock()
			defer c.lock.Unlock()
			looks++
		}
		return nil
	}
	for _, step := range []struct {
		what string
		do   func()
		want int
	}{
		{"at first", func() {}, 2},
		{"soon after", func() { c.clock.SetTime(start.Add(40 * time.Second)) }, 0},
		{"when another namespace comes", func() {
			if err := c.Create(t.Context(), namespaceOf("oil", "oil-c")); err != nil {
				t.Fatal(err)
			}
		}, 1},
		{"after a resyncPeriod of the others", func() { c.clock.SetTime(start.Add(54 * time.Second)) }, 2},
		{"when somebody asks", func() {
			edit(t, c, r, func(r *capsulev1beta2.TenantResource) {
				r.Annotations = map[string]string{capsulev1beta2.ReconcileAnnotation: "now"}
			})
		}, 3},
		{"when something else is wanted", func() {
			edit(t, c, r, func(r *capsulev1beta2.TenantResource) { r.Spec.Resources[0].RawItems[0] = rawItem("x", "k", "v") })
		}, 3},
		{"soon after that", func() {}, 0},
	} {
		looks = 0
		step.do()
		c.reconcile(t, r)
		compare(t, "looks "+step.what, step.want, looks)
	}
}

func TestForeignObject(t *testing.T) {
	r := localSubject("oil-a", rawItems(rawItem("x", "ours", "1"))...)
	theirs := configMap("oil-a", "x", map[string]string{"theirs": "1"})
	c := newCluster(t, append(oil(), r, theirs)...)
	c.reconcile(t, r)
	compare(t, "ready", "False Failed: ConfigMap oil-a/x (resources[0].rawItems[0]): "+errForeign.Error(), ready(r))
	compare(t, "entries", []string{"oil-a/x False", "oil-b/x True created 03:04:05"}, entries(r.Status.ReplicationStatus))
	compare(t, "writes", []string{"oil-a/sa: make oil-b/x"}, c.takeWrites())
	compare(t, "data", map[string]string{"theirs": "1"}, c.data(t, "oil-a"))

	edit(t, c, r, func(r *capsulev1beta2.TenantResource) {
		r.Spec.Settings = &capsulev1beta2.ReplicationSettings{Adopt: true}
	})
	c.reconcile(t, r)
	compare(t, "entries", []string{"oil-a/x True 03:04:05", "oil-b/x True created 03:04:05"}, entries(r.Status.ReplicationStatus))
	compare(t, "writes", []string{"oil-a/sa: apply oil-a/x"}, c.takeWrites())
	compare(t, "data", map[string]string{"theirs": "1", "ours": "1"}, c.data(t, "oil-a"))

	// It is given back.
	edit(t, c, r, func(r *capsulev1beta2.TenantResource) { r.Spec.Resources = nil })
	c.reconcile(t, r)
	compare(t, "writes", []string{"oil-a/sa: apply oil-a/x", "oil-a/sa: delete oil-b/x"}, c.takeWrites())
	compare(t, "data", map[string]string{"theirs": "1"}, c.data(t, "oil-a"))
	compare(t, "finalizers", nil, r.Finalizers)
	compare(t, "ready", "True Succeeded: 0 objects are as they should be", ready(r))
}

// TestForeignObjectInBetween has somebody else make the object after it was looked for.
func TestForeignObjectInBetween(t *testing.T) {
	r := localSubject("oil-a", rawItems(rawItem("x", "ours", "1"))...)
	r.Spec.Resources[0].NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"env": "prod"}}
	c := newCluster(t, append(oil(), r)...)
	made := false
	as := c.local.as
	c.local.as = func(a account) (client.Client, error) {
		underlying, err := as(a)
		withWatch, ok := underlying.(client.WithWatch)
		if !ok || err != nil {
			return nil, errors.New("no client")
		}
		return interceptor.NewClient(withWatch, interceptor.Funcs{
			Apply: func(ctx context.Context, underlying client.WithWatch, wanted runtime.ApplyConfiguration, options ...client.ApplyOption) error {
				if !made {
					made = true
					if err := c.Create(ctx, configMap("oil-b", "x", map[string]string{"theirs": "1"})); err != nil {
						return err
					}
				}
				return underlying.Apply(ctx, wanted, options...)
			},
		}), nil
	}
	c.reconcile(t, r)
	compare(t, "entries", []string{"oil-b/x False"}, entries(r.Status.ReplicationStatus))
	compare(t, "data", map[string]string{"theirs": "1"}, c.data(t, "oil-b"))
	// Another object has its name now: it is not deleted.
	edit(t, c, r, func(r *capsulev1beta2.TenantResource) { r.Spec.Resources = nil })
	c.reconcile(t, r)
	compare(t, "entries", []string{}, entries(r.Status.ReplicationStatus))
	compare(t, "data", map[string]string{"theirs": "1"}, c.data(t, "oil-b"))
}

// TestNothingIsLeftBehind ends the controller after each of its requests in turn, and
// deletes the subject then.
func TestNothingIsLeftBehind(t *testing.T) {
	for after := range 6 {
		t.Run(fmt.Sprintf("after %d requests", after), func(t *testing.T) {
			r := localSubject("oil-a", rawItems(rawItem("x"))...)
			c := newCluster(t, append(oil(), r)...)
			crash, left := errors.New("crash"), after
			step := func() error {
				if left--; left < 0 {
					return crash
				}
				return nil
			}
			own := c.local.Client
			c.local.Client = interceptor.NewClient(own.(client.WithWatch), interceptor.Funcs{ //nolint:forcetypeassert // the fixture's is one
				Patch: func(ctx context.Context, underlying client.WithWatch, object client.Object, patch client.Patch, options ...client.PatchOption) error {
					if err := step(); err != nil {
						return err
					}
					return underlying.Patch(ctx, object, patch, options...)
				},
				SubResourcePatch: func(ctx context.Context, underlying client.Client, subresource string, object client.Object, patch client.Patch, options ...client.SubResourcePatchOption) error {
					if err := step(); err != nil {
						return err
					}
					return underlying.SubResource(subresource).Patch(ctx, object, patch, options...)
				},
			})
			// These are made at the same time, but for their turn.
			c.refuse = func(verb, _ string) error {
				if verb == "make" {
					c.lock.Lock()
					defer c.lock.Unlock()
					return step()
				}
				return nil
			}
			_, _ = c.local.Reconcile(t.Context(), requestFor(localKind().subject(r))) // it crashes, or not
			c.local.Client, c.local.applied, c.refuse = own, newMemory(), nil
			c.refresh(t, r)
			if err := c.Delete(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			c.reconcile(t, r)
			for _, namespace := range []string{"oil-a", "oil-b"} {
				if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "x"}, &corev1.ConfigMap{}); !apierrors.IsNotFound(err) {
					t.Errorf("an object is left in %s", namespace)
				}
			}
		})
	}
}

func TestStaleSubjectIsNotWritten(t *testing.T) {
	r := localSubject("oil-a", rawItems(rawItem("x"))...)
	c := newCluster(t, append(oil(), r)...)
	stale := r.DeepCopy()
	c.refresh(t, stale)
	c.reconcile(t, r)
	own := c.local.Client
	c.local.Client = interceptor.NewClient(own.(client.WithWatch), interceptor.Funcs{ //nolint:forcetypeassert // the fixture's is one
		Get: func(ctx context.Context, underlying client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			if object, ok := object.(*capsulev1beta2.TenantResource); ok {
				stale.DeepCopyInto(object)
				return nil
			}
			return underlying.Get(ctx, key, object, options...)
		},
	})
	version := r.ResourceVersion
	result := c.reconcile(t, r)
	compare(t, "delay", conflictDelay, result.RequeueAfter)
	compare(t, "version", version, r.ResourceVersion)
}

func TestWithoutPruning(t *testing.T) {
	r := localSubject("oil-a", rawItems(rawItem("x", "k", "v"))...)
	r.Spec.PruningOnDelete = new(false)
	c := newCluster(t, append(oil(), r)...)
	c.reconcile(t, r)
	c.takeWrites()
	if err := c.Delete(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	c.reconcile(t, r)
	compare(t, "writes", []string{"oil-a/sa: patch oil-a/x", "oil-a/sa: patch oil-b/x"}, c.takeWrites())
	var left corev1.ConfigMap
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "oil-b", Name: "x"}, &left); err != nil {
		t.Fatal(err)
	}
	compare(t, "labels", nil, left.Labels)
	compare(t, "data", map[string]string{"k": "v"}, left.Data)
	compare(t, "own part", nil, ownEntry(&left, "tr/oil-a/r/r-uid"))
}

func TestRefusedRequests(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "x", errors.New("no"))
	terminating := apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "x", errors.New("no"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	for name, test := range map[string]struct {
		verb, object string
		err          error
		wantReady    string
		wantEntries  []string
	}{
		"to look": {
			verb: "get", object: "oil-a/x", err: forbidden,
			wantReady:   `False Failed: ConfigMap oil-a/x (resources[0].rawItems[0]): configmaps "x" is forbidden: no: give the service account oil-a/sa that right, or name another`,
			wantEntries: []string{"oil-a/x False", "oil-b/x True created 03:04:05"},
		},
		"to make": {
			verb: "make", object: "oil-b/x", err: forbidden,
			wantReady:   `False Failed: ConfigMap oil-b/x (resources[0].rawItems[0]): configmaps "x" is forbidden: no: give the service account oil-a/sa that right, or name another`,
			wantEntries: []string{"oil-a/x True created 03:04:05", "oil-b/x False"},
		},
		"in a namespace that ends": {
			verb: "make", object: "oil-b/x", err: terminating,
			wantReady:   "True Succeeded: 1 objects are as they should be",
			wantEntries: []string{"oil-a/x True created 03:04:05"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := localSubject("oil-a", rawItems(rawItem("x"))...)
			c := newCluster(t, append(oil(), r)...)
			c.refuse = func(verb, object string) error {
				if verb == test.verb && object == test.object {
					return test.err
				}
				return nil
			}
			result := c.reconcile(t, r)
			compare(t, "ready", test.wantReady, ready(r))
			compare(t, "entries", test.wantEntries, entries(r.Status.ReplicationStatus))
			if result.RequeueAfter < 54*time.Second || result.RequeueAfter > 66*time.Second {
				t.Errorf("want to look again after about a minute, got %v", result.RequeueAfter)
			}
		})
	}
}

func TestRefusedDeletion(t *testing.T) {
	r := localSubject("oil-a", rawItems(rawItem("x"))...)
	c := newCluster(t, append(oil(), r)...)
	c.reconcile(t, r)
	c.refuse = func(verb, object string) error {
		if verb == "delete" && object == "oil-b/x" {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "x", errors.New("no"))
		}
		return nil
	}
	if err := c.Delete(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	c.reconcile(t, r)
	compare(t, "finalizers", []string{capsulev1beta2.Finalizer}, r.Finalizers)
	compare(t, "entries", []string{"oil-b/x False created 03:04:05"}, entries(r.Status.ReplicationStatus))
	if !strings.HasPrefix(ready(r), "False Failed: remove ConfigMap oil-b/x: ") {
		t.Errorf("ready: %s", ready(r))
	}
	// When the namespace is being deleted there is nothing to do.
	edit(t, c, namespaceOf("oil", "oil-b"), func(n *corev1.Namespace) { n.Finalizers = []string{"x/y"} })
	if err := c.Delete(t.Context(), namespaceOf("oil", "oil-b")); err != nil {
		t.Fatal(err)
	}
	c.reconcile(t, r)
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(r), r); !apierrors.IsNotFound(err) {
		t.Errorf("want no subject, got %v", err)
	}
}

func TestWithoutAccountOrTenant(t *testing.T) {
	for name, test := range map[string]struct {
		subject       client.Object
		impersonation *capsulev1beta2.ImpersonationConfiguration
		want          string
	}{
		"no account":        {subject: localSubject("oil-a", rawItems(rawItem("x"))...), want: "False NoServiceAccount: no service account to act as: set spec.serviceAccount.name, or have an administrator set spec.impersonation.tenantDefaultServiceAccount of the CapsuleConfiguration"},
		"no global account": {subject: globalSubject(rawItems(rawItem("x"))...), want: "False NoServiceAccount: no service account to act as: set spec.serviceAccount.name and namespace, or spec.impersonation.globalDefaultServiceAccount and globalDefaultServiceAccountNamespace of the CapsuleConfiguration"},
		"not the other's":   {subject: globalSubject(rawItems(rawItem("x"))...), impersonation: &capsulev1beta2.ImpersonationConfiguration{TenantDefaultServiceAccount: "sa"}, want: "False NoServiceAccount: no service account to act as: set spec.serviceAccount.name and namespace, or spec.impersonation.globalDefaultServiceAccount and globalDefaultServiceAccountNamespace of the CapsuleConfiguration"},
		"another endpoint":  {subject: localSubject("oil-a", rawItems(rawItem("x"))...), impersonation: &capsulev1beta2.ImpersonationConfiguration{TenantDefaultServiceAccount: "sa", Endpoint: "https://x"}, want: "False Failed: spec.impersonation.endpoint of the CapsuleConfiguration is not supported: objects are written to the API server that the controller uses"},
		"no tenant":         {subject: localSubject("free", rawItems(rawItem("x"))...), impersonation: &capsulev1beta2.ImpersonationConfiguration{TenantDefaultServiceAccount: "sa"}, want: "False NoTenant: the namespace free belongs to no tenant: a TenantResource makes objects in the namespaces of its own namespace's tenant"},
	} {
		t.Run(name, func(t *testing.T) {
			given := append(oil()[1:], test.subject, &capsulev1beta2.CapsuleConfiguration{
				ObjectMeta: metav1.ObjectMeta{Name: capsulev1beta2.DefaultConfigurationName},
				Spec:       capsulev1beta2.CapsuleConfigurationSpec{Impersonation: test.impersonation},
			})
			c := newCluster(t, given...)
			c.reconcile(t, test.subject)
			compare(t, "ready", test.want, ready(test.subject))
			compare(t, "writes", nil, c.takeWrites())
			compare(t, "writes of the subject", []string{"status " + test.subject.GetName()}, c.takeSubjects())
		})
	}
}

func TestScopes(t *testing.T) {
	placed := func(name, namespace string) runtime.RawExtension {
		return runtime.RawExtension{Raw: fmt.Appendf(nil, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q,"namespace":%q}}`, name, namespace)}
	}
	for name, test := range map[string]struct {
		scope     capsulev1beta2.ReplicationScope
		selector  *metav1.LabelSelector
		resources []capsulev1beta2.ReplicatedResources
		want      []string
		wantReady string
		tenants   []string
	}{
		"namespaces": {
			resources: rawItems(placed("x", "kube-system")),
			want:      []string{"gas-a/x True created 03:04:05", "oil-a/x True created 03:04:05", "oil-b/x True created 03:04:05"},
			tenants:   []string{"gas", "oil"},
		},
		"namespaces of some": {
			scope: capsulev1beta2.ReplicationScopeNamespace, selector: &metav1.LabelSelector{MatchLabels: map[string]string{"size": "big"}},
			resources: []capsulev1beta2.ReplicatedResources{
				{RawItems: []runtime.RawExtension{rawItem("x")}, NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"env": "prod"}}},
				{RawItems: []runtime.RawExtension{rawItem("y")}},
			},
			want:    []string{"oil-a/y True created 03:04:05", "oil-b/x True created 03:04:05", "oil-b/y True created 03:04:05"},
			tenants: []string{"oil"},
		},
		"tenants": {
			scope: capsulev1beta2.ReplicationScopeTenant, resources: rawItems(placed("{{tenant.name}}", "free")),
			want: []string{"free/gas True created 03:04:05", "free/oil True created 03:04:05"}, tenants: []string{"gas", "oil"},
		},
		"none": {
			scope: capsulev1beta2.ReplicationScopeNone, resources: rawItems(placed("x", "free")),
			want: []string{"free/x True created 03:04:05"}, tenants: []string{"gas", "oil"},
		},
		"nowhere": {
			scope: capsulev1beta2.ReplicationScopeNone, resources: rawItems(rawItem("x")), want: []string{}, tenants: []string{"gas", "oil"},
			wantReady: "False Failed: resources[0].rawItems[0]: ConfigMap x: metadata.namespace is missing: in this scope it says where the object is to be",
		},
		"no such placeholder": {
			scope: capsulev1beta2.ReplicationScopeTenant, resources: rawItems(placed("{{namespace}}", "free")), want: []string{}, tenants: []string{"gas", "oil"},
			wantReady: "False Failed: resources[0].rawItems[0]: {{ namespace }} stands for nothing in this scope",
		},
		"copies need namespaces": {
			scope: capsulev1beta2.ReplicationScopeNone, want: []string{}, tenants: []string{"gas", "oil"},
			resources: []capsulev1beta2.ReplicatedResources{{NamespacedItems: []capsulev1beta2.ObjectSelector{{APIVersion: "v1", Kind: "ConfigMap", Namespace: "free", Name: "x"}}}},
			wantReady: "False Failed: resources[0].namespacedItems[0]: copies are made in the namespaces of tenants: they need spec.scope Namespace",
		},
		"no selector": {
			selector:  &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "x", Operator: "Is"}}},
			resources: rawItems(rawItem("x")), want: []string{},
			wantReady: `False Failed: spec.tenantSelector: Invalid value: "<error>": "Is" is not a valid label selector operator`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := globalSubject(test.resources...)
			g.Spec.Scope, g.Spec.TenantSelector = test.scope, test.selector
			c := newCluster(t, append(oil(), g)...)
			c.reconcile(t, g)
			if test.wantReady == "" {
				test.wantReady = fmt.Sprintf("True Succeeded: %d objects are as they should be", len(test.want))
			}
			if got := ready(g); !strings.HasPrefix(got, test.wantReady) {
				t.Errorf("ready: want %q, got %q", test.wantReady, got)
			}
			compare(t, "entries", test.want, entries(g.Status.ReplicationStatus))
			compare(t, "tenants", test.tenants, g.Status.SelectedTenants)
		})
	}
}

// TestBlindPlanPrunesNothing holds that what cannot be known is not taken for not
// wanted.
func TestBlindPlanPrunesNothing(t *testing.T) {
	r := localSubject("oil-a", capsulev1beta2.ReplicatedResources{
		NamespacedItems: []capsulev1beta2.ObjectSelector{{APIVersion: "v1", Kind: "ConfigMap", Name: "source", Optional: new(false)}},
		RawItems:        []runtime.RawExtension{rawItem("x")},
	})
	c := newCluster(t, append(oil(), r, configMap("oil-a", "source", map[string]string{"k": "v"}))...)
	c.reconcile(t, r)
	all := []string{"oil-a/x True created 03:04:05", "oil-b/source True created 03:04:05", "oil-b/x True created 03:04:05"}
	compare(t, "entries", all, entries(r.Status.ReplicationStatus))
	c.takeWrites()

	c.refuse = func(verb, object string) error {
		if verb == "get" && object == "oil-a/source" {
			return errors.New("cut off")
		}
		return nil
	}
	c.reconcile(t, r)
	compare(t, "ready", "False Failed: resources[0].namespacedItems[0]: read ConfigMap: cut off", ready(r))
	compare(t, "entries", all, entries(r.Status.ReplicationStatus))
	compare(t, "writes", nil, c.takeWrites())
	c.refuse = nil

	if err := c.Delete(t.Context(), configMap("oil-a", "source", nil)); err != nil {
		t.Fatal(err)
	}
	c.reconcile(t, r)
	compare(t, "ready", `False Failed: resources[0].namespacedItems[0]: there is no such ConfigMap in the namespace "oil-a": make one, or set optional`, ready(r))
	compare(t, "entries", all, entries(r.Status.ReplicationStatus))

	// It is no failure, so it is known that there is none.
	edit(t, c, r, func(r *capsulev1beta2.TenantResource) { r.Spec.Resources[0].NamespacedItems[0].Optional = new(true) })
	c.reconcile(t, r)
	compare(t, "entries", []string{"oil-a/x True created 03:04:05", "oil-b/x True created 03:04:05"}, entries(r.Status.ReplicationStatus))
	compare(t, "writes", []string{"oil-a/sa: delete oil-b/source"}, c.takeWrites())
}

func TestCordonedIsLeftAlone(t *testing.T) {
	r := localSubject("oil-a", rawItems(rawItem("x"))...)
	c := newCluster(t, append(oil(), r)...)
	c.reconcile(t, r)
	c.takeWrites()
	edit(t, c, r, func(r *capsulev1beta2.TenantResource) { r.Spec.Cordoned, r.Spec.Resources = true, nil })
	c.reconcile(t, r)
	compare(t, "writes", nil, c.takeWrites())
	if !meta.IsStatusConditionTrue(r.Status.Conditions, capsulev1beta2.CordonedCondition) {
		t.Error("want the condition Cordoned")
	}
	edit(t, c, r, func(r *capsulev1beta2.TenantResource) { r.Spec.Cordoned = false })
	c.reconcile(t, r)
	compare(t, "writes", []string{"oil-a/sa: delete oil-a/x", "oil-a/sa: delete oil-b/x"}, c.takeWrites())
	if !meta.IsStatusConditionFalse(r.Status.Conditions, capsulev1beta2.CordonedCondition) {
		t.Error("want no condition Cordoned")
	}
}

func TestDependencies(t *testing.T) {
	first, second := localSubject("oil-a", rawItems(rawItem("x"))...), localSubject("oil-a", rawItems(rawItem("y"))...)
	second.Name, second.UID = "second", "second-uid"
	second.Spec.DependsOn = []capsulev1beta2.ReplicationDependency{{Name: "r"}, {Name: "absent"}}
	c := newCluster(t, append(oil(), first, second)...)
	c.reconcile(t, second)
	compare(t, "ready", "False DependencyNotReady: spec.dependsOn: waiting until ready: r, absent", ready(second))
	c.reconcile(t, first)
	c.takeWrites()
	c.reconcile(t, second)
	compare(t, "ready", "False DependencyNotReady: spec.dependsOn: waiting until ready: absent", ready(second))
	compare(t, "writes", nil, c.takeWrites())
	edit(t, c, second, func(r *capsulev1beta2.TenantResource) { r.Spec.DependsOn = r.Spec.DependsOn[:1] })
	c.reconcile(t, second)
	compare(t, "ready", "True Succeeded: 2 objects are as they should be", ready(second))
	// One whose present spec is not in effect yet is not ready.
	edit(t, c, first, func(r *capsulev1beta2.TenantResource) { r.Spec.Resources = nil })
	c.reconcile(t, second)
	compare(t, "ready", "False DependencyNotReady: spec.dependsOn: waiting until ready: r", ready(second))
}

func TestLegacyFinalizer(t *testing.T) {
	r := localSubject("oil-a")
	r.Finalizers = []string{capsulev1beta2.LegacyResourcesFinalizer, "others/one"}
	c := newCluster(t, append(oil(), r)...)
	c.reconcile(t, r)
	compare(t, "finalizers", []string{"others/one"}, r.Finalizers)
}

// TestReplicasAreLabelled holds that what is made for a GlobalTenantResource is what
// the policy guards, and nothing else.
func TestReplicasAreLabelled(t *testing.T) {
	made := map[string]string{
		capsulev1beta2.ManagedByLabel: "replications", capsulev1beta2.CreatedByLabel: "replications", replicatedByLabel: "GlobalTenantResource",
	}
	labelsOf := func(c *cluster, namespace string) map[string]string {
		m := configMap(namespace, "x", nil)
		c.refresh(t, m)
		return m.Labels
	}
	g := globalSubject(rawItems(rawItem("x", "ours", "1"))...)
	g.Spec.Settings = &capsulev1beta2.ReplicationSettings{Adopt: true}
	g.Spec.PruningOnDelete = new(false)
	c := newCluster(t, append(oil(), g, configMap("oil-a", "x", nil))...)
	c.reconcile(t, g)
	compare(t, "labels of what was made", made, labelsOf(c, "oil-b"))
	compare(t, "labels of what was there", map[string]string{capsulev1beta2.ManagedByLabel: "replications"}, labelsOf(c, "oil-a"))
	if err := c.Delete(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	c.reconcile(t, g)
	compare(t, "labels of what is left", nil, labelsOf(c, "oil-b"))

	r := localSubject("oil-a", rawItems(rawItem("y"))...)
	c = newCluster(t, append(oil(), r)...)
	c.reconcile(t, r)
	y := configMap("oil-a", "y", nil)
	c.refresh(t, y)
	delete(made, replicatedByLabel)
	compare(t, "labels of what is the tenant's", made, y.Labels)
}

func TestTooManyItems(t *testing.T) {
	given := []client.Object{oil()[0], tenantNamed("oil")}
	for i := range 5 {
		given = append(given, namespaceOf("oil", fmt.Sprintf("oil-%d", i)))
	}
	g := globalSubject(capsulev1beta2.ReplicatedResources{Generators: []capsulev1beta2.ResourceGenerator{{
		Template: "{{ range $i := until 1000 }}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x-{{ $i }}}\n{{ end }}",
	}}})
	c := newCluster(t, append(given, g)...)
	c.reconcile(t, g)
	compare(t, "ready", "False Failed: these are more than 3000 objects: spread the spec over several objects of this kind", ready(g))
	compare(t, "writes", nil, c.takeWrites())
}

func TestResync(t *testing.T) {
	for name, test := range map[string]struct {
		period            *metav1.Duration
		wantFrom, wantToo time.Duration
	}{
		"none":    {wantFrom: 54 * time.Second, wantToo: 66 * time.Second},
		"an hour": {period: &metav1.Duration{Duration: time.Hour}, wantFrom: 54 * time.Minute, wantToo: 66 * time.Minute},
		"nothing": {period: &metav1.Duration{}, wantFrom: minResync * 9 / 10, wantToo: minResync * 11 / 10},
	} {
		t.Run(name, func(t *testing.T) {
			r := localSubject("oil-a")
			r.Spec.ResyncPeriod = test.period
			s := localKind().subject(r)
			for range 100 {
				if got := s.resync(); got < test.wantFrom || got > test.wantToo {
					t.Fatalf("want %v to %v, got %v", test.wantFrom, test.wantToo, got)
				}
			}
		})
	}
}
