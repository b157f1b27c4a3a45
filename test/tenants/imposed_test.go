// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// imposing is a Tenant's spec with everything that the API server completes.
func imposing(user string) capsulev1beta2.TenantSpec {
	http := intstr.FromInt32(80)
	return capsulev1beta2.TenantSpec{
		Owners: []capsulev1beta2.OwnerSpec{owner(user)},
		NetworkPolicies: &capsulev1beta2.NetworkPolicies{Items: []networkingv1.NetworkPolicySpec{
			{
				Ingress: []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{{Port: &http}}}},
				Egress:  []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0"}}}}},
			},
			{PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}},
		}},
		LimitRanges: &capsulev1beta2.LimitRanges{Items: []corev1.LimitRangeSpec{{Limits: []corev1.LimitRangeItem{
			{
				Type: corev1.LimitTypeContainer,
				Max:  corev1.ResourceList{"cpu": resource.MustParse("2")}, Min: corev1.ResourceList{"memory": resource.MustParse("1Mi")},
			},
			{Type: corev1.LimitTypePersistentVolumeClaim, Max: corev1.ResourceList{"storage": resource.MustParse("1024Mi")}},
		}}}},
		ResourceQuotas: &capsulev1beta2.ResourceQuotas{Scope: capsulev1beta2.ResourceQuotaScopeNamespace, Items: []corev1.ResourceQuotaSpec{
			{Hard: corev1.ResourceList{"limits.cpu": resource.MustParse("8000m"), "pods": resource.MustParse("10")}},
			{Hard: corev1.ResourceList{"pods": resource.MustParse("5")}, Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}},
		}},
	}
}

// imposedIn returns what is imposed on a namespace, as "kind/name".
func imposedIn(ctx context.Context, c client.Client, namespace string) ([]string, error) {
	var names []string
	for kind, list := range map[string]client.ObjectList{
		"policy": &networkingv1.NetworkPolicyList{}, "limits": &corev1.LimitRangeList{}, "quota": &corev1.ResourceQuotaList{},
	} {
		if err := c.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return nil, err
		}
		objects, err := itemsOf(list)
		if err != nil {
			return nil, err
		}
		for _, object := range objects {
			names = append(names, kind+"/"+object.GetName())
		}
	}
	slices.Sort(names)
	return names, nil
}

func awaitImposed(t *testing.T, namespace string, want ...string) {
	t.Helper()
	c := admin(t)
	await(t, "what is imposed on "+namespace, want, func(ctx context.Context) ([]string, error) { return imposedIn(ctx, c, namespace) })
}

// versionsIn returns the resourceVersions of what is imposed on a namespace.
func versionsIn(t *testing.T, namespace string) map[string]string {
	t.Helper()
	versions := map[string]string{}
	for _, list := range []client.ObjectList{&networkingv1.NetworkPolicyList{}, &corev1.LimitRangeList{}, &corev1.ResourceQuotaList{}} {
		require.NoError(t, admin(t).List(t.Context(), list, client.InNamespace(namespace)))
		objects, err := itemsOf(list)
		require.NoError(t, err)
		for _, object := range objects {
			versions[fmt.Sprintf("%T/%s", object, object.GetName())] = object.GetResourceVersion()
		}
	}
	return versions
}

func TestImposed(t *testing.T) {
	const user = "imogen"
	createTenant(t, "imposed", imposing(user))
	createNamespace(t, user, "imposed-a")
	all := []string{
		"limits/capsule-imposed-0", "policy/capsule-imposed-0", "policy/capsule-imposed-1", "quota/capsule-imposed-0", "quota/capsule-imposed-1",
	}
	awaitImposed(t, "imposed-a", all...)
	c := admin(t)

	t.Run("drift is put back, and nothing else is written", func(t *testing.T) {
		// The quota controller is done when it has said what is used.
		await(t, "status of the quota", "10", func(ctx context.Context) (string, error) {
			quota := &corev1.ResourceQuota{}
			err := c.Get(ctx, client.ObjectKey{Namespace: "imposed-a", Name: "capsule-imposed-0"}, quota)
			pods := quota.Status.Hard["pods"]
			return pods.String(), err
		})
		before := versionsIn(t, "imposed-a")
		policy := &networkingv1.NetworkPolicy{}
		require.NoError(t, c.Get(t.Context(), client.ObjectKey{Namespace: "imposed-a", Name: "capsule-imposed-0"}, policy))
		spec := policy.Spec.DeepCopy()
		policy.Spec.Ingress[0].Ports = nil
		require.NoError(t, c.Update(t.Context(), policy))
		await(t, "policy", *spec, func(ctx context.Context) (networkingv1.NetworkPolicySpec, error) {
			err := c.Get(ctx, client.ObjectKeyFromObject(policy), policy)
			return policy.Spec, err
		})
		require.NoError(t, c.Delete(t.Context(), &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: "imposed-a", Name: "capsule-imposed-0"}}))
		awaitImposed(t, "imposed-a", all...)
		// The next namespace is settled after everything before it.
		createNamespace(t, user, "imposed-b")
		awaitImposed(t, "imposed-b", all...)
		after := versionsIn(t, "imposed-a")
		for name, version := range before {
			if !strings.Contains(name, "NetworkPolicy/capsule-imposed-0") && !strings.Contains(name, "LimitRange") {
				assert.Equal(t, version, after[name], "%s was written", name)
			}
		}
	})

	t.Run("owners cannot touch it", func(t *testing.T) {
		alice := as(t, user)
		const forbidden = `this is what tenant "imposed" imposes on its namespaces`
		policy := &networkingv1.NetworkPolicy{}
		require.NoError(t, alice.Get(t.Context(), client.ObjectKey{Namespace: "imposed-a", Name: "capsule-imposed-0"}, policy))
		edited := policy.DeepCopy()
		edited.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
		requireForbidden(t, alice.Update(t.Context(), edited), forbidden)
		edited = policy.DeepCopy()
		edited.Labels = nil
		requireForbidden(t, alice.Update(t.Context(), edited), forbidden)
		requireForbidden(t, alice.Delete(t.Context(), policy), forbidden)
		requireForbidden(t, alice.DeleteAllOf(t.Context(), &networkingv1.NetworkPolicy{}, client.InNamespace("imposed-a")), forbidden)
		var bindings rbacv1.RoleBindingList
		require.NoError(t, alice.List(t.Context(), &bindings, client.InNamespace("imposed-a")))
		require.GreaterOrEqual(t, len(bindings.Items), 3)
		for i := range bindings.Items {
			requireForbidden(t, alice.Delete(t.Context(), &bindings.Items[i]), forbidden)
		}
		requireForbidden(t, alice.Create(t.Context(), &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{
			Namespace: "imposed-a", Name: "mine", Labels: map[string]string{"projectcapsule.dev/managed-by": "controller"},
		}}), forbidden)
		requireForbidden(t, alice.Create(t.Context(), &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{
			Namespace: "imposed-a", Name: "capsule-imposed-7",
		}}), "choose another one")
		mine := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "imposed-a", Name: "capsule-other"}}
		require.NoError(t, alice.Create(t.Context(), mine))
		mine.Labels = map[string]string{"capsule.clastix.io/network-policy": "0"}
		requireForbidden(t, alice.Update(t.Context(), mine), forbidden)
		require.NoError(t, alice.Delete(t.Context(), mine))
	})

	t.Run("what is no longer wanted goes", func(t *testing.T) {
		updateTenant(t, "imposed", func(spec *capsulev1beta2.TenantSpec) {
			spec.NetworkPolicies.Items = spec.NetworkPolicies.Items[1:]
			spec.LimitRanges = nil
			spec.ResourceQuotas.Items[0].Hard = corev1.ResourceList{"services": resource.MustParse("3")}
			spec.ResourceQuotas.Items[1].Scopes = nil
		})
		for _, namespace := range []string{"imposed-a", "imposed-b"} {
			awaitImposed(t, namespace, "policy/capsule-imposed-0", "quota/capsule-imposed-0", "quota/capsule-imposed-1")
			await(t, "the first quota", "map[services:3]", func(ctx context.Context) (string, error) {
				quota := &corev1.ResourceQuota{}
				err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "capsule-imposed-0"}, quota)
				return hardOf(quota), err
			})
		}
	})
}

// itemsOf returns the objects in a list.
func itemsOf(list client.ObjectList) ([]client.Object, error) {
	var objects []client.Object
	err := meta.EachListItem(list, func(item runtime.Object) error {
		object, ok := item.(client.Object)
		if !ok {
			return fmt.Errorf("%T has no metadata", item)
		}
		objects = append(objects, object)
		return nil
	})
	return objects, err
}

func hardOf(quota *corev1.ResourceQuota) string {
	hard := map[string]string{}
	for name, quantity := range quota.Spec.Hard {
		hard[string(name)] = quantity.String()
	}
	return fmt.Sprint(hard)
}

// TestSharedQuota has the namespaces of a tenant share a quota.
func TestSharedQuota(t *testing.T) {
	const user = "shari"
	createTenant(t, "shared", capsulev1beta2.TenantSpec{
		Owners: []capsulev1beta2.OwnerSpec{owner(user)},
		ResourceQuotas: &capsulev1beta2.ResourceQuotas{Items: []corev1.ResourceQuotaSpec{
			{Hard: corev1.ResourceList{"count/configmaps": resource.MustParse("10")}},
		}},
	})
	for _, namespace := range []string{"shared-a", "shared-b"} {
		createNamespace(t, user, namespace)
	}
	c := admin(t)
	// Each has the ConfigMap of the cluster's CA.
	awaitHard := func(want string) {
		t.Helper()
		await(t, "quotas", want, func(ctx context.Context) (string, error) {
			var all []string
			for _, namespace := range []string{"shared-a", "shared-b"} {
				quota := &corev1.ResourceQuota{}
				if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "capsule-shared-0"}, quota); err != nil {
					return "", err
				}
				all = append(all, hardOf(quota)+" of "+quota.Annotations["quota.capsule.clastix.io/hard-count_configmaps"]+
					", used "+quota.Annotations["quota.capsule.clastix.io/used-count_configmaps"])
			}
			return strings.Join(all, "; "), nil
		})
	}
	awaitHard("map[count/configmaps:9] of 10, used 2; map[count/configmaps:9] of 10, used 2")
	shari := as(t, user)
	create := func(namespace, name string) error {
		return shari.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
	}
	for i := range 5 {
		require.NoError(t, create("shared-a", fmt.Sprint("a-", i)))
	}
	awaitHard("map[count/configmaps:9] of 10, used 7; map[count/configmaps:4] of 10, used 7")
	for i := range 3 {
		require.NoError(t, create("shared-b", fmt.Sprint("b-", i)))
	}
	awaitHard("map[count/configmaps:6] of 10, used 10; map[count/configmaps:4] of 10, used 10")
	require.Eventually(t, func() bool { return create("shared-b", fmt.Sprint("late-", time.Now().UnixNano())) != nil }, eventually, 50*time.Millisecond)
	requireForbidden(t, create("shared-a", "one-more"), "exceeded quota: capsule-shared-0")
	require.NoError(t, shari.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shared-a", Name: "a-0"}}))
	awaitHard("map[count/configmaps:6] of 10, used 9; map[count/configmaps:5] of 10, used 9")

	await(t, "metrics", true, func(ctx context.Context) (bool, error) {
		text, err := metrics(ctx, system.Controller)
		const of = `{resource="count/configmaps",resourcequotaindex="0",tenant="shared"} `
		return strings.Contains(text, "capsule_tenant_resource_usage"+of+"9\n") && strings.Contains(text, "capsule_tenant_resource_limit"+of+"10\n"), err
	})
}

// TestExampleNetworkPolicy holds that a policy is in every namespace of a tenant,
// present and future, and that who is admin there cannot do without.
func TestExampleNetworkPolicy(t *testing.T) {
	forEachLogin(t, func(t *testing.T, login login) {
		admin := login.kubectl(t, clusterAdmin)
		apply(t, admin, "capsuleconfiguration-aks.yaml", "tenant-aks.yaml")
		dev := login.kubectl(t, "capsule-user-dev@example.com", aksUsers, aksDev)
		awaitCan(t, dev, "create", "namespaces")
		require.Equal(t, "namespace/dev-present created\n", dev.Output(t, "create", "ns", "dev-present"))
		admin.Output(t, "apply", "-f", example(t, "tenant-networkpolicy.yaml"))
		require.Equal(t, "namespace/dev-future created\n", dev.Output(t, "create", "ns", "dev-future"))
		awaitTable(t, admin, [][]string{
			{"NAMESPACE", "NAME", "POD-SELECTOR"},
			{"dev-future", "capsule-dev-0", "<none>"},
			{"dev-present", "capsule-dev-0", "<none>"},
		}, "get", "netpol", "-A")
		awaitCan(t, dev, "delete", "networkpolicies", "--namespace=dev-present")
		for _, attempt := range [][]string{
			{"delete", "netpol", "capsule-dev-0"},
			{"delete", "netpol", "--all"},
			{"patch", "netpol", "capsule-dev-0", "--type=merge", "--patch", `{"spec":{"ingress":[{}]}}`},
			{"label", "netpol", "capsule-dev-0", "capsule.clastix.io/network-policy-"},
			{"annotate", "netpol", "capsule-dev-0", "a=b"},
		} {
			refusal := requireRefused(t, dev, forbidden, append(attempt, "--namespace=dev-present")...)
			require.Contains(t, refusal, `ask a cluster administrator to change the Tenant`)
		}
	})
}
