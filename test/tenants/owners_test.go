// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/generated/clientset/versioned"
	"tenancy.capsule.io/pkg/tenant"
	"tenancy.capsule.io/test/framework"
)

// bare returns a client of a user who is in no group of capsule users.
func bare(t testing.TB, user string) client.WithWatch {
	t.Helper()
	return framework.ClientOf(t, system.Config(t, user))
}

// robot returns a client of a service account.
func robot(t testing.TB, namespace, name string) client.WithWatch {
	t.Helper()
	return framework.ClientOf(t, system.Config(t, "system:serviceaccount:"+namespace+":"+name, "system:serviceaccounts", "system:serviceaccounts:"+namespace))
}

// createTenantOwner makes a TenantOwner for the time of a test, with labels in pairs.
func createTenantOwner(t testing.TB, name string, spec capsulev1beta2.TenantOwnerSpec, labels ...string) *capsulev1beta2.TenantOwner {
	t.Helper()
	made := &capsulev1beta2.TenantOwner{ObjectMeta: newNamespace(name, labels...).ObjectMeta, Spec: spec}
	require.NoError(t, admin(t).Create(t.Context(), made))
	t.Cleanup(func() {
		require.NoError(t, client.IgnoreNotFound(admin(t).Delete(context.WithoutCancel(t.Context()), made)))
	})
	return made
}

// awaitCreation waits until somebody may create a namespace, which becomes a Tenant's.
func awaitCreation(t testing.TB, by client.Client, namespace *corev1.Namespace, want string) {
	t.Helper()
	await(t, "creation of "+namespace.Name, "", func(ctx context.Context) (string, error) {
		if err := by.Create(ctx, namespace.DeepCopy()); err != nil && !apierrors.IsAlreadyExists(err) {
			return err.Error(), nil
		}
		return "", nil
	})
	is := &corev1.Namespace{}
	require.NoError(t, admin(t).Get(t.Context(), client.ObjectKeyFromObject(namespace), is))
	ref, _ := tenant.Of(is)
	compare(t, "tenant of "+namespace.Name, want, ref.Name)
}

// awaitNoCreation waits until somebody may not create a namespace any more.
func awaitNoCreation(t testing.TB, by client.Client, namespace string) {
	t.Helper()
	await(t, "refusal of the creation of "+namespace, true, func(ctx context.Context) (bool, error) {
		err := by.Create(ctx, newNamespace(namespace), client.DryRunAll)
		return apierrors.IsForbidden(err), nil
	})
}

// awaitOwners waits until the status of a Tenant lists these owners, in order.
func awaitOwners(t testing.TB, name string, want ...string) {
	t.Helper()
	c := admin(t)
	await(t, "status.owners of "+name, want, func(ctx context.Context) ([]string, error) {
		var is capsulev1beta2.Tenant
		err := c.Get(ctx, client.ObjectKey{Name: name}, &is)
		var owners []string
		for _, o := range is.Status.Owners {
			owners = append(owners, string(o.Kind)+" "+o.Name+": "+strings.Join(o.ClusterRoles, " "))
		}
		return owners, err
	})
}

// awaitMyTenants waits until a user is shown exactly these Tenants, and may get them.
func awaitMyTenants(t testing.TB, user string, want ...string) {
	t.Helper()
	views, err := versioned.NewForConfig(system.Config(t, user))
	require.NoError(t, err)
	if want == nil {
		want = []string{}
	}
	await(t, "Tenants that "+user+" sees", want, func(ctx context.Context) ([]string, error) {
		list, err := views.TenancyV1alpha1().MyTenants().List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		names := make([]string, 0, len(list.Items))
		for i := range list.Items {
			names = append(names, list.Items[i].Name)
		}
		return names, nil
	})
	for _, name := range want {
		require.NoError(t, bare(t, user).Get(t.Context(), client.ObjectKey{Name: name}, &capsulev1beta2.Tenant{}))
	}
}

func userSpec(name string, roles ...string) capsulev1beta2.TenantOwnerSpec {
	return capsulev1beta2.TenantOwnerSpec{CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{
		UserSpec: capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: name}, ClusterRoles: roles,
	}}
}

// TestTenantOwners gives a Tenant to users by TenantOwners, and takes it away.
func TestTenantOwners(t *testing.T) {
	awaitDefaultConfiguration(t)
	createTenant(t, "owned", capsulev1beta2.TenantSpec{
		Owners: []capsulev1beta2.OwnerSpec{owner("owned-ann")},
		Permissions: &capsulev1beta2.Permissions{MatchOwners: []metav1.LabelSelector{
			{MatchLabels: map[string]string{"example.com/team": "none"}}, {MatchLabels: map[string]string{"example.com/team": "owned"}},
		}},
	})
	createTenant(t, "owned-other", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("owned-eve")}})
	createNamespace(t, "owned-ann", "owned-1")
	ben := createTenantOwner(t, "owned-ben", userSpec("owned-ben"), "example.com/team", "owned")
	carol := createTenantOwner(t, "owned-carol", userSpec("owned-carol", "view"), capsulev1beta2.ManagedTenantLabel, "owned")

	awaitBindings(t, "owned-1",
		"ClusterRole admin: User /owned-ann", "ClusterRole admin: User /owned-ben",
		"ClusterRole capsule-namespace-deleter: User /owned-ann", "ClusterRole capsule-namespace-deleter: User /owned-ben",
		"ClusterRole view: User /owned-carol")
	for _, name := range []string{"owned-ben", "owned-carol"} {
		awaitMyTenants(t, name, "owned")
		awaitView(t, name, "owned-1")
	}
	awaitOwners(t, "owned", "User owned-ann: admin capsule-namespace-deleter", "User owned-ben: admin capsule-namespace-deleter", "User owned-carol: view")
	// They are capsule users without being in the configuration.
	awaitCreation(t, bare(t, "owned-ben"), newNamespace("owned-2"), "owned")
	awaitCreation(t, bare(t, "owned-carol"), newNamespace("owned-3"), "owned")
	requireForbidden(t, bare(t, "owned-ben").Create(t.Context(), newNamespace("owned-4", capsulev1beta2.TenantLabel, "owned-other")), "you own no Tenant")
	c := admin(t)
	for _, of := range []*capsulev1beta2.TenantOwner{ben, carol} {
		await(t, "status of the TenantOwner "+of.Name, []string{"owned", "Ready=True Succeeded"}, func(ctx context.Context) ([]string, error) {
			var is capsulev1beta2.TenantOwner
			err := c.Get(ctx, client.ObjectKeyFromObject(of), &is)
			return append(slices.Clone(is.Status.Tenants), timeless(is.Status.Conditions)...), err
		})
	}

	// Another label, another Tenant.
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"projectcapsule.dev/tenant":"owned-other"}}}`))
	require.NoError(t, c.Patch(t.Context(), carol, patch))
	awaitMyTenants(t, "owned-carol", "owned-other")
	awaitView(t, "owned-carol")
	awaitOwners(t, "owned-other", "User owned-eve: admin capsule-namespace-deleter", "User owned-carol: view")

	require.NoError(t, c.Delete(t.Context(), ben))
	require.NoError(t, c.Delete(t.Context(), carol))
	for _, namespace := range []string{"owned-1", "owned-2", "owned-3"} {
		awaitBindings(t, namespace, "ClusterRole admin: User /owned-ann", "ClusterRole capsule-namespace-deleter: User /owned-ann")
	}
	for _, name := range []string{"owned-ben", "owned-carol"} {
		awaitMyTenants(t, name)
		awaitView(t, name)
		awaitNoCreation(t, bare(t, name), "owned-5")
	}
	awaitOwners(t, "owned", "User owned-ann: admin capsule-namespace-deleter")
}

// TestAdministratorsOwnEveryTenant has the configuration name administrators.
func TestAdministratorsOwnEveryTenant(t *testing.T) {
	createTenant(t, "ruled", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("ruled-ann")}})
	createNamespace(t, "ruled-ann", "ruled-1")
	configure(t, func(spec *capsulev1beta2.CapsuleConfigurationSpec) {
		spec.Administrators = []capsulev1beta2.UserSpec{{Kind: capsulev1beta2.UserOwner, Name: "ruled-boss"}}
		spec.RBAC = &capsulev1beta2.RBACConfiguration{AdministrationClusterRoles: []string{"view", "capsule-namespace-deleter"}}
	})
	awaitCreation(t, bare(t, "ruled-boss"), newNamespace("ruled-2", capsulev1beta2.TenantLabel, "ruled"), "ruled")
	for _, namespace := range []string{"ruled-1", "ruled-2"} {
		awaitBindings(t, namespace,
			"ClusterRole admin: User /ruled-ann", "ClusterRole capsule-namespace-deleter: User /ruled-ann",
			"ClusterRole capsule-namespace-deleter: User /ruled-boss", "ClusterRole view: User /ruled-boss")
	}
	awaitView(t, "ruled-boss", "ruled-1", "ruled-2")
	awaitMyTenants(t, "ruled-boss", "ruled")
	awaitOwners(t, "ruled", "User ruled-ann: admin capsule-namespace-deleter", "User ruled-boss: view capsule-namespace-deleter")
}

// labelled returns a service account that asks to be an owner.
func labelled(namespace, name string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, Labels: map[string]string{capsulev1beta2.OwnerPromotionLabel: "true"},
	}}
}

// bind has a user be something in a namespace.
func bind(t testing.TB, by client.Client, namespace, role string, who rbacv1.Subject) {
	t.Helper()
	require.NoError(t, by.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role + "-" + who.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{who},
	}))
}

// TestPromotedServiceAccounts makes service accounts owners by their label, and tries to
// where it is not allowed.
func TestPromotedServiceAccounts(t *testing.T) {
	// The configuration is the default one again before its Tenants are gone.
	no := false
	createTenant(t, "promoting", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("promoting-ann")}})
	createTenant(t, "unpromoting", capsulev1beta2.TenantSpec{
		Owners: []capsulev1beta2.OwnerSpec{owner("promoting-ann")}, Permissions: &capsulev1beta2.Permissions{AllowOwnerPromotion: &no},
	})
	createNamespace(t, "promoting-ann", "promoting-1")
	createNamespace(t, "promoting-ann", "unpromoting-1")
	ann, eve, machine := as(t, "promoting-ann"), bare(t, "promoting-eve"), robot(t, "promoting-1", "robot")
	bind(t, ann, "promoting-1", "edit", subject(rbacv1.UserKind, "promoting-eve"))
	bind(t, ann, "promoting-1", "admin", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "promoting-1", Name: "robot"})

	requireForbidden(t, ann.Create(t.Context(), labelled("promoting-1", "robot")), "spec.allowServiceAccountPromotion")
	configure(t, func(spec *capsulev1beta2.CapsuleConfigurationSpec) { spec.AllowServiceAccountPromotion = true })

	requireForbidden(t, ann.Create(t.Context(), labelled("unpromoting-1", "robot")), "spec.permissions.allowOwnerPromotion")
	awaitAccess(t, "promoting-eve", true, authorizationv1.ResourceAttributes{Verb: "create", Resource: "serviceaccounts", Namespace: "promoting-1"})
	requireForbidden(t, eve.Create(t.Context(), labelled("promoting-1", "robot")), "only the owners", "leave the label out")
	account := labelled("promoting-1", "robot")
	require.NoError(t, ann.Create(t.Context(), account))
	mine := []string{"ClusterRole admin: User /promoting-ann", "ClusterRole capsule-namespace-deleter: User /promoting-ann"}
	its := []string{
		"ClusterRole capsule-namespace-deleter: ServiceAccount promoting-1/robot", "ClusterRole capsule-namespace-provisioner: ServiceAccount promoting-1/robot",
	}
	both := slices.Sorted(slices.Values(slices.Concat(mine, its)))
	awaitBindings(t, "promoting-1", both...)
	awaitCreation(t, machine, newNamespace("promoting-2"), "promoting")
	awaitBindings(t, "promoting-2", both...)
	awaitOwners(t, "promoting", "User promoting-ann: admin capsule-namespace-deleter",
		"ServiceAccount system:serviceaccount:promoting-1:robot: capsule-namespace-provisioner capsule-namespace-deleter")
	awaitOwners(t, "unpromoting", "User promoting-ann: admin capsule-namespace-deleter")

	// It is an owner, and has the right to write service accounts, and promotes none.
	requireForbidden(t, machine.Create(t.Context(), labelled("promoting-1", "another")), "have this label themselves")
	// Nor does it keep its own label by a change, or anybody else who is no owner.
	annotate := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"example.com/note":"a"}}}`))
	requireForbidden(t, machine.Patch(t.Context(), account.DeepCopy(), annotate), "have this label themselves")
	requireForbidden(t, eve.Patch(t.Context(), account.DeepCopy(), annotate), "only the owners")
	require.NoError(t, ann.Patch(t.Context(), account.DeepCopy(), annotate))
	// Other values mean nothing.
	other := labelled("promoting-1", "other")
	other.Labels[capsulev1beta2.OwnerPromotionLabel] = "false"
	require.NoError(t, eve.Create(t.Context(), other))

	// Whoever may write it takes the label off.
	unlabel := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"owner.projectcapsule.dev/promote":null}}}`))
	require.NoError(t, eve.Patch(t.Context(), account.DeepCopy(), unlabel))
	awaitBindings(t, "promoting-1", mine...)
	awaitNoCreation(t, machine, "promoting-3")

	// What is not allowed any more ends at once, and the label is not kept.
	label := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"owner.projectcapsule.dev/promote":"true"}}}`))
	require.NoError(t, ann.Patch(t.Context(), account.DeepCopy(), label))
	awaitBindings(t, "promoting-2", both...)
	configuration := &capsulev1beta2.CapsuleConfiguration{ObjectMeta: metav1.ObjectMeta{Name: capsulev1beta2.DefaultConfigurationName}}
	forbid := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"allowServiceAccountPromotion":false}}`))
	require.NoError(t, admin(t).Patch(t.Context(), configuration, forbid))
	awaitBindings(t, "promoting-1", mine...)
	awaitBindings(t, "promoting-2", mine...)
	awaitNoCreation(t, machine, "promoting-3")
	awaitOwners(t, "promoting", "User promoting-ann: admin capsule-namespace-deleter")
	requireForbidden(t, ann.Patch(t.Context(), account.DeepCopy(), annotate), "spec.allowServiceAccountPromotion")
	require.NoError(t, ann.Patch(t.Context(), account.DeepCopy(), unlabel))
}

// TestPromotionIsForOneTenant has a namespace with promoted service accounts come to a
// Tenant, and go to another one: who holds their tokens owns neither by it.
func TestPromotionIsForOneTenant(t *testing.T) {
	createTenant(t, "adopting", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("adopting-ann")}})
	createTenant(t, "inheriting", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("inheriting-ben")}})
	createFree(t, "adopted-ci")
	configure(t, func(spec *capsulev1beta2.CapsuleConfigurationSpec) {
		spec.AllowServiceAccountPromotion = true
		spec.Administrators = []capsulev1beta2.UserSpec{{Kind: capsulev1beta2.UserOwner, Name: "adopting-boss"}}
	})
	c, ann, boss, eve := admin(t), as(t, "adopting-ann"), bare(t, "adopting-boss"), bare(t, "adopting-eve")
	bind(t, c, "adopted-ci", "edit", subject(rbacv1.UserKind, "adopting-eve"))
	awaitAccess(t, "adopting-eve", true, authorizationv1.ResourceAttributes{Verb: "create", Resource: "serviceaccounts", Namespace: "adopted-ci"})
	requireForbidden(t, eve.Create(t.Context(), labelled("adopted-ci", "robot")), "belongs to none")
	// Its label is older than the webhooks.
	account := labelled("adopted-ci", "robot")
	require.NoError(t, c.Create(t.Context(), account))

	owned := []string{"User adopting-ann: admin capsule-namespace-deleter", "User adopting-boss: capsule-namespace-deleter"}
	inherited := []string{"User inheriting-ben: admin capsule-namespace-deleter", "User adopting-boss: capsule-namespace-deleter"}
	move := func(to string) {
		t.Helper()
		patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"capsule.clastix.io/tenant":"`+to+`"},"ownerReferences":null}}`))
		await(t, "move to "+to, true, func(ctx context.Context) (bool, error) {
			err := boss.Patch(ctx, newNamespace("adopted-ci"), patch)
			return err == nil, err
		})
	}
	awaitTold := func(tenant string) {
		t.Helper()
		await(t, "condition Accepted of "+tenant, true, func(ctx context.Context) (bool, error) {
			var is capsulev1beta2.Tenant
			err := c.Get(ctx, client.ObjectKey{Name: tenant}, &is)
			condition := meta.FindStatusCondition(is.Status.Conditions, "Accepted")
			return condition != nil && strings.Contains(condition.Message, "no effect on system:serviceaccount:adopted-ci:robot"), err
		})
	}
	move("adopting")
	awaitBindings(t, "adopted-ci", "ClusterRole admin: User /adopting-ann",
		"ClusterRole capsule-namespace-deleter: User /adopting-ann", "ClusterRole capsule-namespace-deleter: User /adopting-boss")
	awaitTold("adopting")
	awaitOwners(t, "adopting", owned...)

	// One of its owners promotes it, by setting the label anew.
	annotate := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"example.com/note":"a"}}}`))
	require.NoError(t, ann.Patch(t.Context(), account.DeepCopy(), annotate))
	awaitTold("adopting")
	for _, value := range []string{"null", `"true"`} {
		label := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"owner.projectcapsule.dev/promote":`+value+`}}}`))
		require.NoError(t, ann.Patch(t.Context(), account.DeepCopy(), label))
	}
	awaitOwners(t, "adopting", owned[0],
		"ServiceAccount system:serviceaccount:adopted-ci:robot: capsule-namespace-provisioner capsule-namespace-deleter", owned[1])

	move("inheriting")
	awaitOwners(t, "adopting", owned...)
	awaitTold("inheriting")
	awaitOwners(t, "inheriting", inherited...)
	awaitBindings(t, "adopted-ci", "ClusterRole admin: User /inheriting-ben",
		"ClusterRole capsule-namespace-deleter: User /adopting-boss", "ClusterRole capsule-namespace-deleter: User /inheriting-ben")
}
