// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	policyv1alpha1 "tenancy.capsule.io/apis/policy/v1alpha1"
)

func additional(labels, annotations values) *capsulev1beta2.AdditionalMetadata {
	return &capsulev1beta2.AdditionalMetadata{Labels: labels, Annotations: annotations}
}

// policiesIn returns what is compiled for a namespace, by name.
func policiesIn(ctx context.Context, c client.Client, namespace string) (map[string]policyv1alpha1.NamespacePolicySpec, error) {
	var list policyv1alpha1.NamespacePolicyList
	err := c.List(ctx, &list, client.InNamespace(namespace))
	specs := map[string]policyv1alpha1.NamespacePolicySpec{}
	for i := range list.Items {
		specs[list.Items[i].Name] = list.Items[i].Spec
	}
	return specs, err
}

func awaitPolicies(t *testing.T, namespace string, want map[string]policyv1alpha1.NamespacePolicySpec) {
	t.Helper()
	c := admin(t)
	await(t, "what is compiled for "+namespace, want, func(ctx context.Context) (map[string]policyv1alpha1.NamespacePolicySpec, error) {
		return policiesIn(ctx, c, namespace)
	})
}

// newPod returns a pod that nobody runs, and that has an address once it has a status.
func newPod(namespace, name string, labels values) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/none"}}},
	}
}

// awaitMarking waits until the API server gives new pods in a namespace a label.
func awaitMarking(t *testing.T, c client.Client, namespace, label, value string) {
	t.Helper()
	await(t, "label of new pods in "+namespace, value, func(ctx context.Context) (string, error) {
		pod := newPod(namespace, "probe", nil)
		err := c.Create(ctx, pod, client.DryRunAll)
		return pod.Labels[label], err
	})
}

func mergePatch(content string) client.Patch {
	return client.RawPatch("application/merge-patch+json", []byte(content))
}

// TestObjectMetadata holds pods and Services to what their Tenant says about their
// metadata, and the owner to leave it alone.
func TestObjectMetadata(t *testing.T) {
	const user = "otis"
	createTenant(t, "tagged", capsulev1beta2.TenantSpec{
		Owners:         []capsulev1beta2.OwnerSpec{owner(user)},
		PodOptions:     &capsulev1beta2.PodOptions{AdditionalMetadata: additional(values{"team": "tagged"}, values{"example.com/note": "{{ tenant.name }}"})},
		ServiceOptions: &capsulev1beta2.ServiceOptions{AdditionalMetadata: additional(nil, values{"example.com/pool": "tagged"})},
	})
	createTenant(t, "plain", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner(user)}})
	createNamespace(t, user, "tagged-a")
	createNamespace(t, user, "plain-a")
	wantPolicy := map[string]policyv1alpha1.NamespacePolicySpec{"capsule-tenancy": {
		PodMetadata:     policyv1alpha1.ObjectMetadata{Labels: values{"team": "tagged"}, Annotations: values{"example.com/note": "{{ tenant.name }}"}},
		ServiceMetadata: policyv1alpha1.ObjectMetadata{Annotations: values{"example.com/pool": "tagged"}},
	}}
	awaitPolicies(t, "tagged-a", wantPolicy)
	awaitPolicies(t, "plain-a", map[string]policyv1alpha1.NamespacePolicySpec{})
	otis, c := as(t, user), admin(t)
	awaitMarking(t, otis, "tagged-a", "team", "tagged")

	t.Run("pods", func(t *testing.T) {
		pod := newPod("tagged-a", "one", values{"app": "one", "team": "mine"})
		require.NoError(t, otis.Create(t.Context(), pod))
		check := func(what string) {
			t.Helper()
			compare(t, what, [2]values{{"app": "one", "team": "tagged"}, {"example.com/note": "{{ tenant.name }}"}}, [2]values{pod.Labels, pod.Annotations})
		}
		check("created")
		require.NoError(t, otis.Patch(t.Context(), pod, mergePatch(`{"metadata":{"labels":{"team":null},"annotations":{"example.com/note":"x"}}}`)))
		check("patched")
		pod.Labels, pod.Annotations = values{"app": "one"}, nil
		require.NoError(t, otis.Update(t.Context(), pod))
		check("updated")

		pod = newPod("plain-a", "one", values{"team": "mine"})
		require.NoError(t, otis.Create(t.Context(), pod))
		compare(t, "labels of another tenant's pod", values{"team": "mine"}, pod.Labels)
	})

	t.Run("pods of a workload", func(t *testing.T) {
		selector := values{"app": "set"}
		require.NoError(t, otis.Create(t.Context(), &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "tagged-a", Name: "set"},
			Spec: appsv1.ReplicaSetSpec{
				Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: selector},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: selector}, Spec: newPod("", "", nil).Spec},
			},
		}))
		await(t, "pods", []string{"tagged", "tagged"}, func(ctx context.Context) ([]string, error) {
			var pods corev1.PodList
			err := c.List(ctx, &pods, client.InNamespace("tagged-a"), client.MatchingLabels(selector))
			var teams []string
			for i := range pods.Items {
				teams = append(teams, pods.Items[i].Labels["team"])
			}
			return teams, err
		})
	})

	t.Run("owners may read what is compiled, and no more", func(t *testing.T) {
		var policy policyv1alpha1.NamespacePolicy
		await(t, "right to read", true, func(ctx context.Context) (bool, error) {
			err := otis.Get(ctx, client.ObjectKey{Namespace: "tagged-a", Name: "capsule-tenancy"}, &policy)
			return err == nil, err
		})
		refused := func(messages ...string) {
			t.Helper()
			requireForbidden(t, otis.Patch(t.Context(), policy.DeepCopy(), mergePatch(`{"spec":{"podMetadata":null}}`)), messages...)
			requireForbidden(t, otis.Delete(t.Context(), policy.DeepCopy()), messages...)
			requireForbidden(t, otis.DeleteAllOf(t.Context(), &policyv1alpha1.NamespacePolicy{}, client.InNamespace("tagged-a")), messages...)
			requireForbidden(t, otis.Create(t.Context(), &policyv1alpha1.NamespacePolicy{
				ObjectMeta: metav1.ObjectMeta{Namespace: "plain-a", Name: "capsule-tenancy"},
			}), messages...)
		}
		refused("cannot")
		// Not even with a role that allows everything in the namespace.
		for _, namespace := range []string{"tagged-a", "plain-a"} {
			require.NoError(t, c.Create(t.Context(), &rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "everything"},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
				Subjects:   []rbacv1.Subject{subject(rbacv1.UserKind, user)},
			}))
			await(t, "refusal by the policy", true, func(ctx context.Context) (bool, error) {
				err := otis.Create(ctx, &policyv1alpha1.NamespacePolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "x"}}, client.DryRunAll)
				return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "imposes on its namespaces"), nil
			})
		}
		refused("imposes on its namespaces")
	})

	t.Run("drift is put back", func(t *testing.T) {
		policy := &policyv1alpha1.NamespacePolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "tagged-a", Name: "capsule-tenancy"}}
		require.NoError(t, c.Patch(t.Context(), policy, mergePatch(`{"spec":{"podMetadata":{"labels":{"team":null,"more":"x"}}}}`)))
		awaitPolicies(t, "tagged-a", wantPolicy)
		require.NoError(t, c.Delete(t.Context(), policy))
		awaitPolicies(t, "tagged-a", wantPolicy)
	})

	t.Run("a Tenant that changes", func(t *testing.T) {
		updateTenant(t, "tagged", func(spec *capsulev1beta2.TenantSpec) {
			spec.PodOptions.AdditionalMetadata = additional(values{"team": "renamed"}, nil)
		})
		awaitMarking(t, otis, "tagged-a", "team", "renamed")
		// Those that are there get it when they are written next; what they had stays.
		pod := &corev1.Pod{}
		require.NoError(t, c.Get(t.Context(), client.ObjectKey{Namespace: "tagged-a", Name: "one"}, pod))
		require.Equal(t, "tagged", pod.Labels["team"])
		require.NoError(t, otis.Patch(t.Context(), pod, mergePatch(`{"metadata":{"labels":{"mine":"1"}}}`)))
		compare(t, "metadata", [2]values{{"app": "one", "mine": "1", "team": "renamed"}, {"example.com/note": "{{ tenant.name }}"}}, [2]values{pod.Labels, pod.Annotations})

		updateTenant(t, "tagged", func(spec *capsulev1beta2.TenantSpec) { spec.PodOptions, spec.ServiceOptions = nil, nil })
		awaitPolicies(t, "tagged-a", map[string]policyv1alpha1.NamespacePolicySpec{})
	})

	t.Run("what no pod can carry is refused", func(t *testing.T) {
		tenant := &capsulev1beta2.Tenant{}
		require.NoError(t, c.Get(t.Context(), client.ObjectKey{Name: "plain"}, tenant))
		tenant.Spec.PodOptions = &capsulev1beta2.PodOptions{AdditionalMetadata: additional(values{"pod-template-hash": "x", "a": "no value"}, nil)}
		err := c.Update(t.Context(), tenant)
		require.ErrorContains(t, err, "spec.podOptions.additionalMetadata.labels[pod-template-hash]")
		require.ErrorContains(t, err, "no value")
	})
}

// sliceWrites counts the requests that wrote EndpointSlices in a namespace, those that
// changed nothing included.
func sliceWrites(t *testing.T, namespace string) int {
	t.Helper()
	file, err := os.Open(system.ControlPlane.AuditLog())
	require.NoError(t, err)
	defer file.Close() //nolint:errcheck // it was read
	count := 0
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return count
		}
		if !strings.Contains(string(line), `"endpointslices"`) || !strings.Contains(string(line), namespace) {
			continue
		}
		var event auditv1.Event
		require.NoError(t, json.Unmarshal(line, &event))
		if event.ObjectRef != nil && event.ObjectRef.Namespace == namespace && slices.Contains([]string{"create", "update", "patch"}, event.Verb) {
			count++
		}
	}
}

// TestEndpointSliceMetadata holds that the control plane and the policy agree about
// EndpointSlices, or at least come to rest.
func TestEndpointSliceMetadata(t *testing.T) {
	const user, namespace = "silke", "sliced-a"
	createTenant(t, "sliced", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner(user)}})
	createNamespace(t, user, namespace)
	silke, c := as(t, user), admin(t)
	addresses := 0
	// ready makes a pod with an address.
	ready := func(name string) {
		t.Helper()
		pod := newPod(namespace, name, values{"app": "a"})
		require.NoError(t, silke.Create(t.Context(), pod))
		addresses++
		pod.Status.Phase, pod.Status.PodIP = corev1.PodRunning, fmt.Sprintf("10.1.2.%d", addresses)
		pod.Status.PodIPs = []corev1.PodIP{{IP: pod.Status.PodIP}}
		require.NoError(t, c.Status().Update(t.Context(), pod))
	}
	serve := func(name string, selector values) {
		t.Helper()
		require.NoError(t, silke.Create(t.Context(), &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: values{"pool": "own"}},
			Spec:       corev1.ServiceSpec{Selector: selector, Ports: []corev1.ServicePort{{Port: 80}}, PublishNotReadyAddresses: true},
		}))
	}
	sliceOf := func(ctx context.Context, service string) (*discoveryv1.EndpointSlice, error) {
		var list discoveryv1.EndpointSliceList
		err := c.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service})
		if err != nil || len(list.Items) != 1 {
			return nil, fmt.Errorf("%d slices: %w", len(list.Items), err)
		}
		return &list.Items[0], nil
	}
	type state struct {
		Endpoints int
		Pool, At  string
	}
	awaitSlice := func(service string, want state) {
		t.Helper()
		await(t, "slice of "+service, want, func(ctx context.Context) (state, error) {
			slice, err := sliceOf(ctx, service)
			if err != nil {
				return state{}, err
			}
			return state{len(slice.Endpoints), slice.Labels["pool"], slice.Annotations["example.com/at"]}, nil
		})
	}
	endpoints := &corev1.Endpoints{ //nolint:staticcheck // there are such objects, and they are mirrored
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "mirrored"},
		Subsets:    []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "10.9.9.9"}}, Ports: []corev1.EndpointPort{{Port: 80}}}}, //nolint:staticcheck // see above
	}

	ready("one")
	serve("selecting", values{"app": "a"})
	serve("empty", values{"app": "none"})
	serve("mirrored", nil)
	require.NoError(t, c.Create(t.Context(), endpoints))
	awaitSlice("selecting", state{1, "own", ""})
	awaitSlice("empty", state{0, "own", ""})
	awaitSlice("mirrored", state{1, "", ""})

	updateTenant(t, "sliced", func(spec *capsulev1beta2.TenantSpec) {
		spec.PodOptions = &capsulev1beta2.PodOptions{AdditionalMetadata: additional(values{"probe": "x"}, nil)}
		spec.ServiceOptions = &capsulev1beta2.ServiceOptions{AdditionalMetadata: additional(values{"pool": "theirs", "more": "x"}, values{"example.com/at": "sliced"})}
	})
	awaitMarking(t, silke, namespace, "probe", "x")

	// The Services are as they were, without what the Tenant wants. Their slices are
	// written since a pod, or an address, is new.
	ready("two")
	endpoints.Subsets[0].Addresses = append(endpoints.Subsets[0].Addresses, corev1.EndpointAddress{IP: "10.9.9.8"})
	require.NoError(t, c.Update(t.Context(), endpoints))
	awaitSlice("selecting", state{2, "theirs", "sliced"})
	awaitSlice("mirrored", state{2, "theirs", "sliced"})
	// settled waits until the control plane has done other things since.
	settled := 0
	settle := func() {
		t.Helper()
		for range 3 {
			settled++
			name := fmt.Sprint("later-", settled)
			serve(name, values{"app": "none"})
			awaitSlice(name, state{0, "theirs", "sliced"})
		}
	}
	versions := func() map[string]string {
		t.Helper()
		got := map[string]string{}
		for _, service := range []string{"selecting", "empty", "mirrored"} {
			slice, err := sliceOf(t.Context(), service)
			require.NoError(t, err)
			got[service] = slice.ResourceVersion
		}
		return got
	}
	rest := func(what string) {
		t.Helper()
		settle()
		before, writes := versions(), sliceWrites(t, namespace)
		settle()
		compare(t, what+": versions", before, versions())
		// The three Services that were made have one each.
		require.LessOrEqual(t, sliceWrites(t, namespace)-writes, 3+1, what)
	}
	rest("Services that lack it")

	// Now they get it, and the control plane has nothing to take off any more.
	for _, service := range []string{"selecting", "empty", "mirrored"} {
		object := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: service}}
		require.NoError(t, silke.Patch(t.Context(), object, mergePatch(`{"metadata":{"annotations":{"mine":"1"}}}`)))
		compare(t, "labels of Service "+service, values{"pool": "theirs", "more": "x"}, object.Labels)
	}
	awaitSlice("empty", state{0, "theirs", "sliced"})
	rest("Services that have it")
}
