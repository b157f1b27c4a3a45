// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/test/framework"
)

type values = map[string]string

// awaitMetadata waits until a namespace carries exactly these, besides what makes it a
// tenant's.
func awaitMetadata(t *testing.T, name string, labels, annotations values) {
	t.Helper()
	c := admin(t)
	await(t, "metadata of "+name, [2]values{labels, annotations}, func(ctx context.Context) ([2]values, error) {
		namespace := &corev1.Namespace{}
		err := c.Get(ctx, client.ObjectKey{Name: name}, namespace)
		delete(namespace.Labels, "capsule.clastix.io/tenant")
		delete(namespace.Labels, "kubernetes.io/metadata.name")
		if len(namespace.Annotations) == 0 {
			namespace.Annotations = values{}
		}
		return [2]values{namespace.Labels, namespace.Annotations}, err
	})
}

// TestNamespaceMetadata holds namespaces to what their Tenant says about their metadata.
func TestNamespaceMetadata(t *testing.T) {
	const user, security = "mette", "pod-security.kubernetes.io/enforce"
	createTenant(t, "marked", capsulev1beta2.TenantSpec{
		Owners: []capsulev1beta2.OwnerSpec{owner(user)},
		NamespaceOptions: &capsulev1beta2.NamespaceOptions{
			AdditionalMetadata: &capsulev1beta2.AdditionalMetadata{Labels: values{security: "restricted"}},
			AdditionalMetadataList: []capsulev1beta2.AdditionalMetadataSelector{{
				NamespaceSelector:  &metav1.LabelSelector{MatchLabels: values{"stage": "prod"}},
				AdditionalMetadata: capsulev1beta2.AdditionalMetadata{Annotations: values{"who": "{{ tenant.name }}/{{ namespace }}"}},
			}},
			ForbiddenLabels:  &capsulev1beta2.ForbiddenList{DeniedRegex: "^team/"},
			RequiredMetadata: &capsulev1beta2.RequiredMetadata{Labels: values{"stage": "^(prod|dev)$"}},
		},
		NodeSelector: values{"pool": "marked"},
	})
	mette := as(t, user)
	requireForbidden(t, mette.Create(t.Context(), newNamespace("marked-a")), `needs the label "stage"`)
	requireForbidden(t, mette.Create(t.Context(), newNamespace("marked-a", "stage", "prod", "team/x", "1")), `does not let its users set the label "team/x"`)
	requireForbidden(t, mette.Create(t.Context(), newNamespace("marked-a", "stage", "prod", security, "privileged")), `is set by tenant "marked"`)
	require.NoError(t, mette.Create(t.Context(), newNamespace("marked-a", "stage", "prod")))
	require.NoError(t, mette.Create(t.Context(), newNamespace("marked-b", "stage", "dev")))
	selector := "scheduler.alpha.kubernetes.io/node-selector"
	awaitMetadata(t, "marked-a", values{"stage": "prod", security: "restricted"}, values{"who": "marked/marked-a", selector: "pool=marked"})
	awaitMetadata(t, "marked-b", values{"stage": "dev", security: "restricted"}, values{selector: "pool=marked"})

	patch := func(content string) error {
		return mette.Patch(t.Context(), newNamespace("marked-a"), client.RawPatch("application/merge-patch+json", []byte(content)))
	}
	requireForbidden(t, patch(`{"metadata":{"labels":{"`+security+`":"privileged"}}}`), `is set by tenant "marked", to "restricted"`)
	requireForbidden(t, patch(`{"metadata":{"labels":{"`+security+`":null}}}`), `is set by tenant`)
	requireForbidden(t, patch(`{"metadata":{"labels":{"stage":"test"}}}`), `needs the label "stage"`)
	require.NoError(t, patch(`{"metadata":{"labels":{"mine":"1","stage":"dev"}}}`))
	awaitMetadata(t, "marked-a", values{"mine": "1", "stage": "dev", security: "restricted"}, values{selector: "pool=marked"})

	// Nor do they blur what the Tenant gave, so that it would stay for ever.
	requireForbidden(t, patch(`{"metadata":{"managedFields":[{}]}}`), `the managedFields of the manager "tenancy-controller"`)
	forged := corev1ac.Namespace("marked-a").WithLabels(values{"stage": "dev", security: "restricted", "mine": "2"}).WithAnnotations(values{selector: "pool=marked"})
	asController := []client.ApplyOption{client.FieldOwner("tenancy-controller"), client.ForceOwnership}
	requireForbidden(t, mette.Apply(t.Context(), forged, asController...), "write by another field manager")

	// Whoever is no user of tenants may, and it is put back.
	require.NoError(t, admin(t).Patch(t.Context(), newNamespace("marked-a"),
		client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"`+security+`":"privileged"}}}`))))
	awaitMetadata(t, "marked-a", values{"mine": "1", "stage": "dev", security: "restricted"}, values{selector: "pool=marked"})

	tenant := updateTenant(t, "marked", func(spec *capsulev1beta2.TenantSpec) {
		spec.NamespaceOptions.AdditionalMetadata, spec.NodeSelector = nil, nil
	})
	awaitMetadata(t, "marked-a", values{"mine": "1", "stage": "dev"}, values{})
	c := admin(t)
	await(t, "spaces", 0, func(ctx context.Context) (int, error) {
		err := c.Get(ctx, client.ObjectKeyFromObject(tenant), tenant)
		told := 0
		for i := range tenant.Status.Spaces {
			if tenant.Status.Spaces[i].Metadata != nil {
				told++
			}
		}
		return told, err
	})
}

// TestCordoned holds that capsule users leave a cordoned namespace as it is, and others
// need not.
func TestCordonedContent(t *testing.T) {
	const user = "cora"
	createTenant(t, "icy", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner(user)}})
	createNamespace(t, user, "icy-a")
	createNamespace(t, user, "icy-b")
	cora := as(t, user)
	config := func(namespace, name string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	require.NoError(t, cora.Create(t.Context(), config("icy-a", "before")))
	awaitRefusal := func(namespace string, want bool) {
		t.Helper()
		await(t, "refusal in "+namespace, want, func(ctx context.Context) (bool, error) {
			return cora.Create(ctx, config(namespace, "probe"), client.DryRunAll) != nil, nil
		})
	}

	// One namespace, by its owner.
	label := func(value string) error {
		return cora.Patch(t.Context(), newNamespace("icy-b"), client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"projectcapsule.dev/cordoned":`+value+`}}}`)))
	}
	require.NoError(t, label(`"true"`))
	awaitRefusal("icy-b", true)
	awaitRefusal("icy-a", false)
	require.NoError(t, label("null"))
	awaitRefusal("icy-b", false)

	updateTenant(t, "icy", func(spec *capsulev1beta2.TenantSpec) { spec.Cordoned = true })
	awaitRefusal("icy-a", true)
	const cordoned = `namespace "icy-a" is cordoned`
	requireForbidden(t, cora.Create(t.Context(), config("icy-a", "after")), cordoned)
	requireForbidden(t, cora.Delete(t.Context(), config("icy-a", "before")), cordoned)
	requireForbidden(t, cora.Patch(t.Context(), config("icy-a", "before"), client.RawPatch("application/merge-patch+json", []byte(`{"data":{"a":"b"}}`))), cordoned)
	requireForbidden(t, label("null"), "is cordoned")
	require.NoError(t, framework.ClientOf(t, system.Config(t, clusterAdmin)).Create(t.Context(), config("icy-a", "admins")))

	updateTenant(t, "icy", func(spec *capsulev1beta2.TenantSpec) { spec.Cordoned = false })
	awaitRefusal("icy-a", false)
}

// TestCordonedForOthers holds that a cordoned namespace stays as it is for all capsule
// users: TenantOwners, who are in no group, and service accounts of any tenant; and that
// accounts of nobody's namespace, such as a platform's operators, go on.
func TestCordonedForOthers(t *testing.T) {
	const user = "frieda"
	createTenant(t, "frozen", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner(user)}})
	createTenant(t, "molten", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("mo")}})
	createTenantOwner(t, "frozen-tom", userSpec("frozen-tom", "admin"), capsulev1beta2.ManagedTenantLabel, "frozen")
	for _, namespace := range []string{"frozen-prod", "frozen-ci"} {
		createNamespace(t, user, namespace)
	}
	createNamespace(t, "mo", "molten-ci")
	createFree(t, "frozen-platform")
	allowed := func(who client.Client) func(ctx context.Context) (bool, error) {
		return func(ctx context.Context) (bool, error) {
			config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "frozen-prod", Name: "probe"}}
			err := who.Create(ctx, config, client.DryRunAll)
			if err != nil && !apierrors.IsForbidden(err) {
				return false, err
			}
			return err == nil, nil
		}
	}
	own, sibling, stranger, platform := robot(t, "frozen-prod", "deployer"), robot(t, "frozen-ci", "deployer"),
		robot(t, "molten-ci", "deployer"), robot(t, "frozen-platform", "operator")
	for _, namespace := range []string{"frozen-prod", "frozen-ci", "molten-ci", "frozen-platform"} {
		name := "deployer"
		if namespace == "frozen-platform" {
			name = "operator"
		}
		require.NoError(t, admin(t).Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "frozen-prod", Name: namespace},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}},
		}))
	}
	tom := bare(t, "frozen-tom")
	everybody := map[string]client.Client{
		"an account of the namespace": own, "an account of another namespace of the tenant": sibling,
		"an account of another tenant": stranger, "a TenantOwner": tom, "an account of nobody's namespace": platform,
	}
	for who, c := range everybody {
		await(t, who+" may write", true, allowed(c))
	}

	updateTenant(t, "frozen", func(spec *capsulev1beta2.TenantSpec) { spec.Cordoned = true })
	await(t, "an account of the namespace may write", false, allowed(own))
	for who, c := range everybody {
		if c == platform {
			continue
		}
		await(t, who+" may write", false, allowed(c))
		err := c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "frozen-prod", Name: "after"}})
		requireForbidden(t, err, `namespace "frozen-prod" is cordoned`)
	}
	await(t, "an account of nobody's namespace may write", true, allowed(platform))
	// An owner who is admin may impersonate accounts of the tenant, and gains nothing.
	impersonating := system.Config(t, user, users)
	impersonating.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:frozen-ci:deployer"}
	requireForbidden(t, framework.ClientOf(t, impersonating).Create(t.Context(),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "frozen-prod", Name: "after"}}), "is cordoned")
}
