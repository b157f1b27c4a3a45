// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/test/framework"
)

// bindings returns who is bound to what in a namespace by RoleBindings that Tenants
// give, in order: what a reader of the reference would look for.
func bindings(ctx context.Context, c client.Client, namespace string) ([]string, error) {
	var list rbacv1.RoleBindingList
	if err := c.List(ctx, &list, client.InNamespace(namespace), client.HasLabels{capsulev1beta2.RoleBindingLabel}); err != nil {
		return nil, err
	}
	lines := []string{}
	for i := range list.Items {
		b := &list.Items[i]
		hash := b.Labels[capsulev1beta2.RoleBindingLabel]
		controller := metav1.GetControllerOf(b)
		if b.Name != "capsule:managed:"+hash || b.Labels[capsulev1beta2.ManagedByLabel] != "controller" || controller == nil || controller.Kind != "Tenant" ||
			b.Labels[capsulev1beta2.ManagedTenantLabel] != controller.Name {
			return nil, fmt.Errorf("not as it should be: %+v", b.ObjectMeta)
		}
		var subjects []string
		for _, s := range b.Subjects {
			subjects = append(subjects, strings.Trim(s.Kind+" "+s.Namespace+"/"+s.Name, "/"))
		}
		lines = append(lines, b.RoleRef.Kind+" "+b.RoleRef.Name+": "+strings.Join(subjects, ", "))
	}
	slices.Sort(lines)
	return lines, nil
}

func awaitBindings(t testing.TB, namespace string, want ...string) {
	t.Helper()
	c := admin(t)
	if want == nil {
		want = []string{}
	}
	await(t, "managed RoleBindings of "+namespace, want, func(ctx context.Context) ([]string, error) { return bindings(ctx, c, namespace) })
}

// TestOwnersAreBound follows owners and other subjects of a Tenant through its edits,
// in a namespace that is there and in a new one.
func TestOwnersAreBound(t *testing.T) {
	t.Parallel()
	team := subject(rbacv1.GroupKind, "bound-team")
	createTenant(t, "bound", capsulev1beta2.TenantSpec{
		Owners:                 []capsulev1beta2.OwnerSpec{owner("bound-ann")},
		AdditionalRoleBindings: []capsulev1beta2.AdditionalRoleBinding{{ClusterRoleName: "view", Subjects: []rbacv1.Subject{team}}},
	})
	createNamespace(t, "bound-ann", "bound-1")
	ann := []string{"ClusterRole admin: User /bound-ann", "ClusterRole capsule-namespace-deleter: User /bound-ann"}
	view := "ClusterRole view: Group /bound-team"
	awaitBindings(t, "bound-1", append(slices.Clone(ann), view)...)
	awaitView(t, "bound-ann", "bound-1")
	awaitView(t, "bound-ben")

	// Another owner, with other roles, and a service account among the others.
	robot := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "bound-1", Name: "robot"}
	updateTenant(t, "bound", func(spec *capsulev1beta2.TenantSpec) {
		ben := owner("bound-ben")
		ben.ClusterRoles = []string{"edit"}
		spec.Owners = append(spec.Owners, ben)
		spec.AdditionalRoleBindings[0].Subjects = append(spec.AdditionalRoleBindings[0].Subjects, robot)
	})
	both := []string{ann[0], ann[1], "ClusterRole edit: User /bound-ben", view + ", ServiceAccount bound-1/robot"}
	awaitBindings(t, "bound-1", both...)
	createNamespace(t, "bound-ben", "bound-2")
	awaitBindings(t, "bound-2", both...)
	awaitView(t, "bound-ben", "bound-1", "bound-2")
	deleting := authorizationv1.ResourceAttributes{Verb: "delete", Resource: "namespaces", Namespace: "bound-2", Name: "bound-2"}
	awaitAccess(t, "bound-ann", true, deleting)
	awaitAccess(t, "bound-ben", false, deleting)

	// Who owns nothing any more loses everything.
	updateTenant(t, "bound", func(spec *capsulev1beta2.TenantSpec) {
		spec.Owners, spec.AdditionalRoleBindings = spec.Owners[1:], nil
	})
	for _, namespace := range []string{"bound-1", "bound-2"} {
		awaitBindings(t, namespace, "ClusterRole edit: User /bound-ben")
		for _, attributes := range []authorizationv1.ResourceAttributes{
			{Verb: "get", Resource: "namespaces", Namespace: namespace, Name: namespace},
			{Verb: "create", Resource: "configmaps", Namespace: namespace},
		} {
			awaitAccess(t, "bound-ann", false, attributes)
			awaitAccess(t, "bound-ben", true, attributes)
		}
	}
	awaitView(t, "bound-ann")
	awaitView(t, "bound-ben", "bound-1", "bound-2")
	requireForbidden(t, as(t, "bound-ann").Create(t.Context(), newNamespace("bound-3")), "you own no Tenant")
	require.NoError(t, client.IgnoreNotFound(admin(t).Delete(t.Context(), newNamespace("bound-2"))))
	awaitView(t, "bound-ben", "bound-1")
}

// TestOwnersWithoutRoles see their namespaces all the same.
func TestOwnersWithoutRoles(t *testing.T) {
	t.Parallel()
	ann := owner("unroled-ann")
	ann.ClusterRoles = []string{}
	createTenant(t, "unroled", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{ann}})
	require.NoError(t, as(t, "unroled-ann").Create(t.Context(), newNamespace("unroled-1")))
	awaitView(t, "unroled-ann", "unroled-1")
	awaitBindings(t, "unroled-1")
	awaitAccess(t, "unroled-ann", true, authorizationv1.ResourceAttributes{Verb: "get", Resource: "namespaces", Namespace: "unroled-1", Name: "unroled-1"})
	awaitAccess(t, "unroled-ann", false, authorizationv1.ResourceAttributes{Verb: "get", Resource: "pods", Namespace: "unroled-1"})
	awaitAccess(t, "unroled-ann", true, authorizationv1.ResourceAttributes{Verb: "get", Group: "capsule.clastix.io", Resource: "tenants", Name: "unroled"})
	awaitAccess(t, "unroled-ann", false, authorizationv1.ResourceAttributes{Verb: "update", Group: "capsule.clastix.io", Resource: "tenants", Name: "unroled"})
}

// TestDriftIsRepaired has somebody else write what the controller wrote.
func TestDriftIsRepaired(t *testing.T) {
	t.Parallel()
	createTenant(t, "drift", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("drift-ann")}})
	createNamespace(t, "drift-ann", "drift-1")
	want := []string{"ClusterRole admin: User /drift-ann", "ClusterRole capsule-namespace-deleter: User /drift-ann"}
	awaitBindings(t, "drift-1", want...)
	c := admin(t)
	foreign := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "drift-1", Name: "capsule:managed:foreign", Labels: map[string]string{"mine": "true"}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects:   []rbacv1.Subject{subject(rbacv1.UserKind, "drift-guest")},
	}
	require.NoError(t, c.Create(t.Context(), foreign))
	managed := func() (list rbacv1.RoleBindingList) {
		require.NoError(t, c.List(t.Context(), &list, client.InNamespace("drift-1"), client.HasLabels{capsulev1beta2.RoleBindingLabel}))
		require.Len(t, list.Items, len(want))
		return list
	}
	for name, change := range map[string]func(binding *rbacv1.RoleBinding) error{
		"deleted": func(binding *rbacv1.RoleBinding) error { return c.Delete(t.Context(), binding) },
		"another subject": func(binding *rbacv1.RoleBinding) error {
			binding.Subjects = append(binding.Subjects, subject(rbacv1.UserKind, "drift-eve"))
			return c.Update(t.Context(), binding)
		},
		"no subjects": func(binding *rbacv1.RoleBinding) error {
			binding.Subjects = nil
			return c.Update(t.Context(), binding)
		},
		"no labels": func(binding *rbacv1.RoleBinding) error {
			binding.Labels = nil
			return c.Update(t.Context(), binding)
		},
		"another role": func(binding *rbacv1.RoleBinding) error {
			if err := c.Delete(t.Context(), binding); err != nil {
				return err
			}
			binding.ResourceVersion, binding.UID, binding.RoleRef.Name = "", "", "view"
			return client.IgnoreAlreadyExists(c.Create(t.Context(), binding))
		},
	} {
		// One after the other: they are about the same two objects.
		list := managed()
		for i := range list.Items {
			require.NoError(t, change(&list.Items[i]), name)
		}
		awaitBindings(t, "drift-1", want...)
	}
	// What tenants write among themselves is theirs.
	is := &rbacv1.RoleBinding{}
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(foreign), is))
	compare(t, "the binding of somebody else", foreign.ResourceVersion, is.ResourceVersion)

	// And the compiled role.
	awaitAccess(t, "drift-ann", true, authorizationv1.ResourceAttributes{Verb: "get", Group: "capsule.clastix.io", Resource: "tenants", Name: "drift"})
	names, err := framework.CompiledFor(t.Context(), c, "drift")
	require.NoError(t, err)
	require.Len(t, names, 2)
	of := client.MatchingLabels{capsulev1beta2.TenantLabel: "drift"}
	for _, kind := range []client.Object{&rbacv1.ClusterRole{}, &rbacv1.ClusterRoleBinding{}} {
		require.NoError(t, c.DeleteAllOf(t.Context(), kind, of))
		await(t, "compiled access", names, func(ctx context.Context) ([]string, error) { return framework.CompiledFor(ctx, c, "drift") })
	}
	var role rbacv1.ClusterRoleList
	require.NoError(t, c.List(t.Context(), &role, of))
	require.Len(t, role.Items, 1)
	right := role.Items[0].DeepCopy()
	role.Items[0].Rules = append(role.Items[0].Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}})
	require.NoError(t, c.Update(t.Context(), &role.Items[0]))
	awaitAccess(t, "drift-ann", false, authorizationv1.ResourceAttributes{Verb: "get", Resource: "secrets", Namespace: "kube-system"})
	await(t, "rules", right.Rules, func(ctx context.Context) ([]rbacv1.PolicyRule, error) {
		err := c.Get(ctx, client.ObjectKeyFromObject(right), right)
		return right.Rules, err
	})
}

// TestMembershipTakesBoth has namespaces whose label or owner alone speaks of a
// Tenant: who may write one of them puts nobody in.
func TestMembershipTakesBoth(t *testing.T) {
	t.Parallel()
	tenant := createTenant(t, "member", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("member-ann")}})
	reference := metav1.OwnerReference{APIVersion: capsulev1beta2.SchemeGroupVersion.String(), Kind: "Tenant", Name: tenant.Name, UID: tenant.UID}
	c := admin(t)
	labelled := newNamespace("member-labelled", capsulev1beta2.TenantLabel, "member")
	owned := newNamespace("member-owned")
	owned.OwnerReferences = []metav1.OwnerReference{reference}
	for _, namespace := range []*corev1.Namespace{labelled, owned} {
		require.NoError(t, c.Create(t.Context(), namespace))
		t.Cleanup(func() { _ = c.Delete(context.WithoutCancel(t.Context()), newNamespace(namespace.Name)) })
	}
	// By then the controller has dealt with those before it.
	createNamespace(t, "member-ann", "member-1")
	awaitView(t, "member-ann", "member-1")
	await(t, "namespaces in the status", []string{"member-1"}, func(ctx context.Context) ([]string, error) {
		var is capsulev1beta2.Tenant
		err := c.Get(ctx, client.ObjectKeyFromObject(tenant), &is)
		return is.Status.Namespaces, err
	})
	for _, namespace := range []string{"member-labelled", "member-owned"} {
		awaitBindings(t, namespace)
		awaitAccess(t, "member-ann", false, authorizationv1.ResourceAttributes{Verb: "get", Resource: "namespaces", Namespace: namespace, Name: namespace})
	}
	// Both together make it one.
	labelled.OwnerReferences = []metav1.OwnerReference{reference}
	require.NoError(t, c.Update(t.Context(), labelled))
	awaitView(t, "member-ann", "member-1", "member-labelled")
	labelled.OwnerReferences = []metav1.OwnerReference{}
	require.NoError(t, c.Update(t.Context(), labelled))
	awaitView(t, "member-ann", "member-1")
	awaitBindings(t, "member-labelled")
}

// TestNamespaceFindsItsTenant is about owners of several.
func TestNamespaceFindsItsTenant(t *testing.T) {
	t.Parallel()
	spec := capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("find-ann")}}
	for _, name := range []string{"find", "find-long", "seek"} {
		createTenant(t, name, spec)
	}
	createTenant(t, "find-secret", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("find-eve")}})
	// Before anything is created, all of them have to be known to be ann's.
	ann := system.Kubectl(t, "find-ann", users)
	awaitOwned(t, ann, "find", "find-long", "seek")
	for name, test := range map[string]struct {
		namespace *corev1.Namespace
		want      string
		refusal   []string
	}{
		"by prefix":             {namespace: newNamespace("find-1"), want: "find"},
		"by the longest prefix": {namespace: newNamespace("find-long-1"), want: "find-long"},
		"not another's prefix":  {namespace: newNamespace("find-secret-1"), want: "find"},
		"by label":              {namespace: newNamespace("anything-find", capsulev1beta2.TenantLabel, "seek"), want: "seek"},
		"label before prefix":   {namespace: newNamespace("find-2", capsulev1beta2.TenantLabel, "seek"), want: "seek"},
		"neither":               {namespace: newNamespace("elsewhere-find"), refusal: []string{"find", "find-long", "seek", capsulev1beta2.TenantLabel}},
		"prefix without a dash": {namespace: newNamespace("findings"), refusal: []string{"find-long", "seek"}},
		"another's label":       {namespace: newNamespace("find-3", capsulev1beta2.TenantLabel, "find-secret"), refusal: []string{`you own no Tenant "find-secret"`}},
		"label of no Tenant":    {namespace: newNamespace("find-3", capsulev1beta2.TenantLabel, "find-absent"), refusal: []string{`you own no Tenant "find-absent"`}},
		"generated":             {namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "find-long-"}}, want: "find-long"},
		"generated, neither":    {namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "elsewhere-"}}, refusal: []string{"find-long", "seek"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := as(t, "find-ann").Create(t.Context(), test.namespace)
			if test.refusal != nil {
				requireForbidden(t, err, test.refusal...)
				if test.namespace.Labels == nil {
					require.NotContains(t, err.Error(), "secret", "a refusal names no Tenant of others")
				}
				return
			}
			require.NoError(t, err)
			compare(t, "label", test.want, test.namespace.Labels[capsulev1beta2.TenantLabel])
			require.Len(t, test.namespace.OwnerReferences, 1)
			tenant := &capsulev1beta2.Tenant{}
			require.NoError(t, admin(t).Get(t.Context(), client.ObjectKey{Name: test.want}, tenant))
			compare(t, "owner", metav1.OwnerReference{APIVersion: "capsule.clastix.io/v1beta2", Kind: "Tenant", Name: tenant.Name, UID: tenant.UID}, test.namespace.OwnerReferences[0])
		})
	}
	// Whoever is no user of tenants makes namespaces as ever, but none of a Tenant.
	outsider := framework.ClientOf(t, system.Config(t, clusterAdmin))
	require.NoError(t, outsider.Create(t.Context(), newNamespace("find-free")))
	t.Cleanup(func() { _ = outsider.Delete(context.WithoutCancel(t.Context()), newNamespace("find-free")) })
	requireForbidden(t, outsider.Create(t.Context(), newNamespace("find-free-2", capsulev1beta2.TenantLabel, "find")), "refers to a Tenant")
}

// TestOwnersByGroupAndServiceAccount create namespaces as owners by name do.
func TestOwnersByGroupAndServiceAccount(t *testing.T) {
	t.Parallel()
	const robot = "system:serviceaccount:machines-1:robot"
	createTenant(t, "machines", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{
		owner("machines-ann"),
		{CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{UserSpec: capsulev1beta2.UserSpec{Kind: capsulev1beta2.GroupOwner, Name: "machines-team"}}},
		{CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{UserSpec: capsulev1beta2.UserSpec{Kind: capsulev1beta2.ServiceAccountOwner, Name: robot}}},
	}})
	createNamespace(t, "machines-ann", "machines-1")
	member := framework.ClientOf(t, system.Config(t, "machines-ben", users, "machines-team"))
	require.NoError(t, member.Create(t.Context(), newNamespace("machines-2")))

	// A service account of a tenant counts as a user of it. That it may create
	// namespaces is up to the administrator, who lists its group in the configuration
	// or, as here, binds it.
	require.NoError(t, as(t, "machines-ann").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "machines-1", Name: "robot"}}))
	c := admin(t)
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "tests:machines"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: capsulev1beta2.ProvisionerRole},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "machines-1", Name: "robot"}},
	}
	require.NoError(t, c.Create(t.Context(), binding))
	t.Cleanup(func() { require.NoError(t, c.Delete(context.WithoutCancel(t.Context()), binding)) })
	kubectl := serviceAccount(t, login{kubectl: system.TokenKubectl, byToken: true}, "machines-1", "robot")
	awaitOwned(t, kubectl, "machines")
	kubectl.Output(t, "create", "namespace", "machines-3")
	awaitNames(t, kubectl, "tenantnamespaces", "machines-1", "machines-2", "machines-3")
	awaitView(t, "machines-ann", "machines-1", "machines-2", "machines-3")
	for _, namespace := range []string{"machines-1", "machines-2", "machines-3"} {
		awaitBindings(t, namespace,
			"ClusterRole admin: Group /machines-team", "ClusterRole admin: ServiceAccount machines-1/robot", "ClusterRole admin: User /machines-ann",
			"ClusterRole capsule-namespace-deleter: Group /machines-team", "ClusterRole capsule-namespace-deleter: ServiceAccount machines-1/robot",
			"ClusterRole capsule-namespace-deleter: User /machines-ann")
	}
}

// TestQuota is about one place.
func TestQuota(t *testing.T) {
	t.Parallel()
	createTenant(t, "place", capsulev1beta2.TenantSpec{
		Owners:           []capsulev1beta2.OwnerSpec{owner("place-ann")},
		NamespaceOptions: &capsulev1beta2.NamespaceOptions{Quota: new(int32(1))},
	})
	ann, c := as(t, "place-ann"), admin(t)
	for i := range 3 {
		require.NoError(t, ann.Create(t.Context(), newNamespace(fmt.Sprintf("place-dry-%d", i)), client.DryRunAll), "a dry run takes no place")
	}
	createNamespace(t, "place-ann", "place-1")
	full := []string{`"place" has all of the 1 namespaces`, "spec.namespaceOptions.quota"}
	requireForbidden(t, ann.Create(t.Context(), newNamespace("place-2")), full...)
	requireForbidden(t, ann.Create(t.Context(), newNamespace("place-2"), client.DryRunAll), full...)
	requireForbidden(t, ann.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "place-"}}), full...)
	require.True(t, apierrors.IsAlreadyExists(ann.Create(t.Context(), newNamespace("place-1"))), "one that is there is not refused for want of a place")

	// The place is free when the namespace is gone.
	require.NoError(t, ann.Delete(t.Context(), newNamespace("place-1")))
	awaitGone(t, newNamespace("place-1"))
	createNamespace(t, "place-ann", "place-2")
	awaitView(t, "place-ann", "place-2")
	// A greater quota counts at once, a smaller one deletes nothing.
	updateTenant(t, "place", func(spec *capsulev1beta2.TenantSpec) { *spec.NamespaceOptions.Quota = 2 })
	createNamespace(t, "place-ann", "place-3")
	updateTenant(t, "place", func(spec *capsulev1beta2.TenantSpec) { *spec.NamespaceOptions.Quota = 1 })
	requireForbidden(t, ann.Create(t.Context(), newNamespace("place-4")), full...)
	names, err := framework.NamespacesOf(t.Context(), c, "place")
	require.NoError(t, err)
	compare(t, "namespaces", []string{"place-2", "place-3"}, names)
	require.NoError(t, ann.Patch(t.Context(), newNamespace("place-2"), client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"a":"b"}}}`))),
		"what is there may be changed")
}

// TestCordoned freezes a tenant.
func TestCordoned(t *testing.T) {
	t.Parallel()
	createTenant(t, "frozen", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("frozen-ann")}})
	createNamespace(t, "frozen-ann", "frozen-1")
	awaitAccess(t, "frozen-ann", true, authorizationv1.ResourceAttributes{Verb: "delete", Resource: "namespaces", Namespace: "frozen-1", Name: "frozen-1"})
	ann := as(t, "frozen-ann")
	label := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"a":"b"}}}`))
	updateTenant(t, "frozen", func(spec *capsulev1beta2.TenantSpec) { spec.Cordoned = true })
	for what, try := range map[string]func() error{
		"create": func() error { return ann.Create(t.Context(), newNamespace("frozen-2")) },
		"patch":  func() error { return ann.Patch(t.Context(), newNamespace("frozen-1"), label) },
		"delete": func() error { return ann.Delete(t.Context(), newNamespace("frozen-1")) },
	} {
		err := try()
		require.Error(t, err, what)
		requireForbidden(t, err, `tenant "frozen" is cordoned`)
	}
	state := func(want string) {
		t.Helper()
		kubectl := system.Kubectl(t, clusterAdmin)
		awaitTable(t, kubectl, [][]string{{"NAME", "STATE", "NAMESPACE QUOTA", "NAMESPACE COUNT", "NODE SELECTOR"}, {"frozen", want, "", "1", ""}}, "get", "tenant", "frozen")
	}
	state("Cordoned")
	// Administrators are not frozen.
	require.NoError(t, framework.ClientOf(t, system.Config(t, clusterAdmin)).Patch(t.Context(), newNamespace("frozen-1"), label))
	updateTenant(t, "frozen", func(spec *capsulev1beta2.TenantSpec) { spec.Cordoned = false })
	state("Active")
	require.NoError(t, ann.Patch(t.Context(), newNamespace("frozen-1"), label))
	require.NoError(t, ann.Delete(t.Context(), newNamespace("frozen-1")))
}

// TestForcedPrefix is the Tenant's word against that of the configuration.
func TestForcedPrefix(t *testing.T) {
	t.Parallel()
	force := true
	createTenant(t, "forced", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("forced-ann")}, ForceTenantPrefix: &force})
	ann := as(t, "forced-ann")
	refusal := []string{`must begin with "forced-"`}
	requireForbidden(t, ann.Create(t.Context(), newNamespace("other")), refusal...)
	requireForbidden(t, ann.Create(t.Context(), newNamespace("forced")), refusal...)
	requireForbidden(t, ann.Create(t.Context(), newNamespace("other", capsulev1beta2.TenantLabel, "forced")), refusal...)
	requireForbidden(t, ann.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "other-"}}), refusal...)
	require.NoError(t, ann.Create(t.Context(), newNamespace("forced-1")))
	require.NoError(t, ann.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "forced-"}}))
}

// TestTenantDeletion deletes one with namespaces in it.
func TestTenantDeletion(t *testing.T) {
	t.Parallel()
	protected := createTenant(t, "ending", capsulev1beta2.TenantSpec{
		Owners:          []capsulev1beta2.OwnerSpec{owner("ending-ann", lists(capsulev1beta2.NodesProxy)...)},
		PreventDeletion: true,
	})
	createNamespace(t, "ending-ann", "ending-1")
	// This one takes its time.
	held := newNamespace("ending-2")
	require.NoError(t, as(t, "ending-ann").Create(t.Context(), held))
	awaitView(t, "ending-ann", "ending-1", "ending-2")
	c := admin(t)
	blocker := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ending-2", Name: "blocker", Finalizers: []string{"example.com/blocker"}}}
	require.NoError(t, c.Create(t.Context(), blocker))
	unblock := func() {
		_ = c.Patch(context.WithoutCancel(t.Context()), blocker, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))
	}
	t.Cleanup(unblock)

	requireForbidden(t, c.Delete(t.Context(), protected), `tenant "ending" is protected`)
	tenant := updateTenant(t, "ending", func(spec *capsulev1beta2.TenantSpec) { spec.PreventDeletion = false })
	require.NoError(t, c.Delete(t.Context(), tenant))
	awaitGone(t, newNamespace("ending-1"))
	awaitWithin(t, gone, "deletion of ending-2", true, func(ctx context.Context) (bool, error) {
		err := c.Get(ctx, client.ObjectKeyFromObject(held), held)
		return held.DeletionTimestamp != nil, err
	})
	err := as(t, "ending-ann").Create(t.Context(), newNamespace("ending-3"))
	requireForbidden(t, err)
	// The Tenant stays until its last namespace is gone, and says so.
	await(t, "state of the Tenant", "Terminating 1 [controller.projectcapsule.dev/finalize]", func(ctx context.Context) (string, error) {
		err := c.Get(ctx, client.ObjectKeyFromObject(tenant), tenant)
		return fmt.Sprint(tenant.Status.State, " ", tenant.Status.Size, " ", tenant.Finalizers), err
	})
	unblock()
	awaitGone(t, held)
	awaitGone(t, tenant)
	awaitWithin(t, gone, "compiled access", []string{}, func(ctx context.Context) ([]string, error) { return framework.CompiledFor(ctx, c, "ending") })
	awaitAccess(t, "ending-ann", false, authorizationv1.ResourceAttributes{Verb: "list", Resource: "nodes"})
	awaitView(t, "ending-ann")
}

// TestDeclared writes namespaces as GitOps tools do: whole, by server-side apply, and
// as a dry run before that.
func TestDeclared(t *testing.T) {
	t.Parallel()
	createTenant(t, "declared", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("declared-ann")}})
	ann, c := system.Kubectl(t, "declared-ann", users), admin(t)
	manifest := func(labels string) string {
		return writeFile(t, "{apiVersion: v1, kind: Namespace, metadata: {name: declared-1, labels: {"+labels+"}}}")
	}
	sideways := []string{"apply", "--server-side", "--field-manager=gitops", "-f"}
	ann.Output(t, append(sideways, manifest("a: b"), "--dry-run=server")...)
	require.True(t, apierrors.IsNotFound(c.Get(t.Context(), client.ObjectKey{Name: "declared-1"}, &corev1.Namespace{})))
	ann.Output(t, append(sideways, manifest("a: b"))...)
	awaitView(t, "declared-ann", "declared-1")
	namespace := &corev1.Namespace{}
	metadata := func() map[string]string {
		t.Helper()
		require.NoError(t, c.Get(t.Context(), client.ObjectKey{Name: "declared-1"}, namespace))
		require.Len(t, namespace.OwnerReferences, 1)
		return namespace.Labels
	}
	compare(t, "labels", map[string]string{"a": "b", "kubernetes.io/metadata.name": "declared-1", capsulev1beta2.TenantLabel: "declared"}, metadata())
	// The manifest does not have what the webhook added, and takes nothing of it away.
	for _, labels := range []string{"a: b", "a: c", "", capsulev1beta2.TenantLabel + ": declared"} {
		for _, flags := range [][]string{{"--dry-run=server"}, nil, nil} {
			ann.Output(t, append(append(slices.Clone(sideways), manifest(labels)), flags...)...)
		}
		compare(t, "tenant with labels "+labels, "declared", metadata()[capsulev1beta2.TenantLabel])
	}
	ann.Output(t, "apply", "-f", manifest("d: e"), "--dry-run=server")
	ann.Output(t, "apply", "-f", manifest("d: e"))
	compare(t, "labels", map[string]string{"d": "e", "kubernetes.io/metadata.name": "declared-1", capsulev1beta2.TenantLabel: "declared"}, metadata())
	require.Contains(t, ann.Output(t, "apply", "-f", manifest("d: e")), "unchanged")
	version := namespace.ResourceVersion
	metadata()
	compare(t, "what nobody changed", version, namespace.ResourceVersion)
}
