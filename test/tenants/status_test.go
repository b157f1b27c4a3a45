// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
	"tenancy.capsule.io/test/framework"
)

// timeless returns a condition as type, status and reason.
func timeless(conditions []metav1.Condition) []string {
	var lines []string
	for _, c := range conditions {
		lines = append(lines, c.Type+"="+string(c.Status)+" "+c.Reason)
	}
	return lines
}

// TestTenantStatus reads what the controller says of a Tenant.
func TestTenantStatus(t *testing.T) {
	t.Parallel()
	c := admin(t)
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "status-fast"}, Provisioner: "example.com/a"}
	require.NoError(t, c.Create(t.Context(), class))
	t.Cleanup(func() { _ = c.Delete(context.WithoutCancel(t.Context()), class) })
	named := func(names ...string) *capsulev1beta2.DefaultAllowedList {
		return &capsulev1beta2.DefaultAllowedList{SelectorAllowedList: capsulev1beta2.SelectorAllowedList{AllowedList: capsulev1beta2.AllowedList{Allowed: names}}}
	}
	ben := owner("status-ben")
	ben.ClusterRoles = []string{"view"}
	ours := createTenant(t, "status", capsulev1beta2.TenantSpec{
		Owners:          []capsulev1beta2.OwnerSpec{owner("status-ann"), ben},
		StorageClasses:  named("status-fast", "status-absent"),
		PriorityClasses: named("system-node-critical"),
		RuntimeClasses:  named("status-absent"),
	})
	first := createNamespace(t, "status-ann", "status-1")
	second := createNamespace(t, "status-ann", "status-2")

	type space struct {
		Name       string
		UID        types.UID
		Conditions []string
	}
	type summary struct {
		State      capsulev1beta2.TenantState
		Size       uint32
		Namespaces []string
		Spaces     []space
		Owners     []capsulev1beta2.CoreOwnerSpec
		Classes    *capsulev1beta2.ClassStatus
		Generation int64
		Conditions []string
	}
	read := func(ctx context.Context) (summary, error) {
		var is capsulev1beta2.Tenant
		if err := c.Get(ctx, client.ObjectKeyFromObject(ours), &is); err != nil {
			return summary{}, err
		}
		s := summary{
			State: is.Status.State, Size: is.Status.Size, Namespaces: is.Status.Namespaces, Owners: is.Status.Owners, Classes: is.Status.Classes,
			Generation: is.Status.ObservedGeneration - is.Generation, Conditions: timeless(is.Status.Conditions),
		}
		for _, each := range is.Status.Spaces {
			s.Spaces = append(s.Spaces, space{each.Name, each.UID, timeless(each.Conditions)})
		}
		return s, nil
	}
	who := func(name string) capsulev1beta2.UserSpec {
		return capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: name}
	}
	want := summary{
		State: "Active", Size: 2, Namespaces: []string{"status-1", "status-2"},
		Spaces: []space{{"status-1", first.UID, []string{"Ready=True Succeeded"}}, {"status-2", second.UID, []string{"Ready=True Succeeded"}}},
		Owners: []capsulev1beta2.CoreOwnerSpec{
			{UserSpec: who("status-ann"), ClusterRoles: []string{"admin", "capsule-namespace-deleter"}},
			{UserSpec: who("status-ben"), ClusterRoles: []string{"view"}},
		},
		Classes:    &capsulev1beta2.ClassStatus{Storage: []string{"status-fast"}, Priority: []string{"system-node-critical"}},
		Conditions: []string{"Ready=True Succeeded", "Cordoned=False Active", "Accepted=True Accepted"},
	}
	await(t, "status", want, read)
	for _, namespace := range want.Namespaces {
		e := awaitEvent(t, "status", "TenantAssigned", `"`+namespace+`"`)
		compare(t, "type of the event", corev1.EventTypeNormal, e.Type)
		require.NotNil(t, e.Related)
		compare(t, "what it is about, too", namespace, e.Related.Name)
	}

	absent := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "status-absent"}, Provisioner: "example.com/a"}
	require.NoError(t, c.Create(t.Context(), absent))
	t.Cleanup(func() { _ = c.Delete(context.WithoutCancel(t.Context()), absent) })
	require.NoError(t, c.Delete(t.Context(), class))
	want.Classes.Storage = []string{"status-absent"}
	await(t, "status with another class", want, read)

	updateTenant(t, "status", func(spec *capsulev1beta2.TenantSpec) { spec.Cordoned = true })
	want.State, want.Conditions[1] = "Cordoned", "Cordoned=True Cordoned"
	await(t, "status of a frozen tenant", want, read)
	updateTenant(t, "status", func(spec *capsulev1beta2.TenantSpec) { spec.Cordoned = false })
	want.State, want.Conditions[1] = "Active", "Cordoned=False Active"
	await(t, "status of a tenant that was frozen", want, read)

	// A namespace that is on its way out counts until it is gone.
	require.NoError(t, as(t, "status-ann").Delete(t.Context(), second))
	want.Spaces[1].Conditions = []string{"Ready=False Terminating"}
	await(t, "status with a namespace on its way", want, read)
	want.Size, want.Namespaces, want.Spaces = 1, want.Namespaces[:1], want.Spaces[:1]
	awaitWithin(t, gone, "status without the namespace", want, read)
}

// TestRefusalsAreEvents holds that administrators learn of what users tried.
func TestRefusalsAreEvents(t *testing.T) {
	t.Parallel()
	force := true
	createTenant(t, "told", capsulev1beta2.TenantSpec{
		Owners:            []capsulev1beta2.OwnerSpec{owner("told-ann")},
		ForceTenantPrefix: &force,
		NamespaceOptions:  &capsulev1beta2.NamespaceOptions{Quota: new(int32(1))},
	})
	ann := as(t, "told-ann")
	requireForbidden(t, ann.Create(t.Context(), newNamespace("untold")))
	require.NoError(t, ann.Create(t.Context(), newNamespace("told-1")))
	requireForbidden(t, ann.Create(t.Context(), newNamespace("told-2")))
	for reason, note := range map[string]string{"InvalidTenantPrefix": `"untold"`, "Overprovisioned": `"told-2"`} {
		e := awaitEvent(t, "told", reason, note)
		compare(t, "type of "+reason, corev1.EventTypeWarning, e.Type)
		require.Contains(t, e.Note, `"told-ann"`)
	}
}

// TestRolesThatMayNotBeGiven has a Tenant promise more than the controller may give.
func TestRolesThatMayNotBeGiven(t *testing.T) {
	t.Parallel()
	// In these namespaces the controller is refused something: see checkRights.
	ann := owner("escalate-ann")
	ann.ClusterRoles = []string{"cluster-admin", "view"}
	ours := createTenant(t, "escalate", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{ann}})
	require.NoError(t, as(t, "escalate-ann").Create(t.Context(), newNamespace("escalate-1")))
	awaitBindings(t, "escalate-1", "ClusterRole view: User /escalate-ann")
	c := admin(t)
	ready := func(ctx context.Context) (string, error) {
		var is capsulev1beta2.Tenant
		err := c.Get(ctx, client.ObjectKeyFromObject(ours), &is)
		condition := meta.FindStatusCondition(is.Status.Conditions, "Ready")
		if err != nil || condition == nil {
			return "", err
		}
		return timeless([]metav1.Condition{*condition})[0], nil
	}
	await(t, "condition", "Ready=False Failed", ready)
	kubectl := system.Kubectl(t, clusterAdmin)
	message := kubectl.Output(t, "get", "tenant", "escalate", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].message}`)
	require.Contains(t, message, "cluster-admin")
	require.Contains(t, message, "escalate-1")
	awaitEvent(t, "escalate", "Failed", "cluster-admin")

	// An administrator allows another role, which the Tenant gets instead.
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "escalate-logs"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"example.com"}, Resources: []string{"logs"}, Verbs: []string{"get"}}}}
	may := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "escalate-may-bind", Labels: map[string]string{"projectcapsule.dev/aggregate-to-controller": "true"}},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"clusterroles"}, ResourceNames: []string{"escalate-logs"}, Verbs: []string{"bind"}}},
	}
	for _, object := range []client.Object{role, may} {
		require.NoError(t, c.Create(t.Context(), object))
		t.Cleanup(func() { require.NoError(t, c.Delete(context.WithoutCancel(t.Context()), object)) })
	}
	updateTenant(t, "escalate", func(spec *capsulev1beta2.TenantSpec) {
		spec.Owners[0].ClusterRoles = []string{"escalate-logs", "view"}
	})
	awaitBindings(t, "escalate-1", "ClusterRole escalate-logs: User /escalate-ann", "ClusterRole view: User /escalate-ann")
	await(t, "condition", "Ready=True Succeeded", ready)
	awaitAccess(t, "escalate-ann", true, authorizationv1.ResourceAttributes{Verb: "get", Group: "example.com", Resource: "logs", Namespace: "escalate-1"})
}

// TestConfigurationIsMade deletes the configuration.
func TestConfigurationIsMade(t *testing.T) {
	c := admin(t)
	awaitDefaultConfiguration(t)
	createTenant(t, "configured", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("configured-ann")}})
	key := client.ObjectKey{Name: capsulev1beta2.DefaultConfigurationName}
	was := &capsulev1beta2.CapsuleConfiguration{}
	require.NoError(t, c.Get(t.Context(), key, was))
	require.NoError(t, c.Delete(t.Context(), was))
	is := &capsulev1beta2.CapsuleConfiguration{}
	await(t, "another configuration", true, func(ctx context.Context) (bool, error) {
		err := c.Get(ctx, key, is)
		return err == nil && is.UID != was.UID, client.IgnoreNotFound(err)
	})
	compare(t, "spec", was.Spec, is.Spec)
	type summary struct {
		Users      []capsulev1beta2.UserSpec
		Tenants    []string
		Conditions []string
		Generation int64
	}
	await(t, "status", summary{
		Users: tenant.Users(tenant.DefaultConfiguration()), Tenants: []string{"configured"}, Conditions: []string{"Ready=True Succeeded"}, Generation: 1,
	}, func(ctx context.Context) (summary, error) {
		err := c.Get(ctx, key, is)
		return summary{is.Status.Users, is.Status.Tenants, timeless(is.Status.Conditions), is.Status.ObservedGeneration}, err
	})
	kubectl := system.Kubectl(t, clusterAdmin)
	compare(t, "columns", [][]string{{"NAME"}, {"default"}}, table(kubectl.Output(t, "get", "capsuleconfigurations")))
}

// TestRolesOfUsersAreMade deletes and edits the roles that users create and delete
// namespaces by.
func TestRolesOfUsersAreMade(t *testing.T) {
	awaitDefaultConfiguration(t)
	c := admin(t)
	objects := func() []client.Object {
		return []client.Object{
			&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "capsule-namespace-provisioner"}},
			&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "capsule-namespace-deleter"}},
			&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "capsule-namespace-provisioner"}},
		}
	}
	type summary struct {
		Verbs    [2][]string
		Subjects []rbacv1.Subject
	}
	read := func(ctx context.Context) (summary, error) {
		var s summary
		for i, object := range objects() {
			if err := c.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
				return s, err
			}
			switch object := object.(type) {
			case *rbacv1.ClusterRole:
				for _, rule := range object.Rules {
					if !cmp.Equal(rule.Resources, []string{"namespaces"}) {
						return s, nil
					}
					s.Verbs[i] = append(s.Verbs[i], rule.Verbs...)
				}
			case *rbacv1.ClusterRoleBinding:
				s.Subjects = object.Subjects
			}
		}
		return s, nil
	}
	want := summary{
		Verbs:    [2][]string{{"create", "patch"}, {"delete"}},
		Subjects: []rbacv1.Subject{subject(rbacv1.GroupKind, "capsule.clastix.io"), subject(rbacv1.GroupKind, "projectcapsule.dev")},
	}
	await(t, "roles", want, read)
	for _, object := range objects() {
		require.NoError(t, c.Delete(t.Context(), object))
		await(t, "roles after a deletion", want, read)
	}
	for _, object := range objects() {
		require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(object), object))
		switch object := object.(type) {
		case *rbacv1.ClusterRole:
			object.Rules = append(object.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"update"}})
		case *rbacv1.ClusterRoleBinding:
			object.Subjects = object.Subjects[:1]
		}
		require.NoError(t, c.Update(t.Context(), object))
		await(t, "roles after an edit", want, read)
	}
}

// configure changes the configuration for the time of a test.
func configure(t *testing.T, change func(spec *capsulev1beta2.CapsuleConfigurationSpec)) {
	t.Helper()
	awaitDefaultConfiguration(t)
	c := admin(t)
	configuration := &capsulev1beta2.CapsuleConfiguration{}
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Name: capsulev1beta2.DefaultConfigurationName}, configuration))
	before := configuration.DeepCopy()
	change(&configuration.Spec)
	require.NoError(t, c.Patch(t.Context(), configuration, client.MergeFrom(before)))
	t.Cleanup(func() {
		require.NoError(t, c.Delete(context.WithoutCancel(t.Context()), configuration))
		awaitDefaultConfiguration(t)
	})
	await(t, "configuration", configuration.Generation, func(ctx context.Context) (int64, error) {
		err := c.Get(ctx, client.ObjectKeyFromObject(configuration), configuration)
		return configuration.Status.ObservedGeneration, err
	})
}

// TestConfigurationOfUsers says who is a user of tenants, and who administers them.
func TestConfigurationOfUsers(t *testing.T) {
	configure(t, func(spec *capsulev1beta2.CapsuleConfigurationSpec) {
		spec.Users = append(spec.Users, capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: "named-ann"})
		spec.Administrators = []capsulev1beta2.UserSpec{{Kind: capsulev1beta2.GroupOwner, Name: "named-bosses"}}
		spec.IgnoreUserWithGroups = []string{"named-operators"}
		spec.ProtectedNamespaceRegex = "^kube|secret"
	})
	createTenant(t, "named", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("named-ann"), owner("named-ben")}})
	createTenant(t, "named-other", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("named-carol")}})

	// By name, without the group.
	ann := framework.ClientOf(t, system.Config(t, "named-ann"))
	require.NoError(t, ann.Create(t.Context(), newNamespace("named-1")))
	awaitBindings(t, "named-1",
		"ClusterRole admin: User /named-ann", "ClusterRole admin: User /named-ben",
		"ClusterRole capsule-namespace-deleter: Group /named-bosses",
		"ClusterRole capsule-namespace-deleter: User /named-ann", "ClusterRole capsule-namespace-deleter: User /named-ben")
	// An owner who is no user of tenants cannot create namespaces.
	ben := framework.ClientOf(t, system.Config(t, "named-ben"))
	requireForbidden(t, ben.Create(t.Context(), newNamespace("named-2")), "cannot create resource")
	// Whoever is in an ignored group is none, whatever else it is in.
	operator := framework.ClientOf(t, system.Config(t, "named-ben", users, "named-operators"))
	require.NoError(t, operator.Create(t.Context(), newNamespace("named-free")))
	t.Cleanup(func() {
		require.NoError(t, client.IgnoreNotFound(admin(t).Delete(context.WithoutCancel(t.Context()), newNamespace("named-free"))))
	})
	is := &corev1.Namespace{}
	require.NoError(t, admin(t).Get(t.Context(), client.ObjectKey{Name: "named-free"}, is))
	require.NotContains(t, is.Labels, capsulev1beta2.TenantLabel)

	// Protected names, for administrators as well.
	boss := framework.ClientOf(t, system.Config(t, "named-boss", "named-bosses", users))
	for _, name := range []string{"kube-named", "named-secrets"} {
		requireForbidden(t, ann.Create(t.Context(), newNamespace(name)), "protected", "^kube|secret")
		requireForbidden(t, boss.Create(t.Context(), newNamespace(name, capsulev1beta2.TenantLabel, "named")), "protected")
	}
	require.NoError(t, boss.Create(t.Context(), newNamespace("named-3")), "without a label it is nobody's")
	t.Cleanup(func() {
		require.NoError(t, client.IgnoreNotFound(admin(t).Delete(context.WithoutCancel(t.Context()), newNamespace("named-3"))))
	})

	// They take namespaces in, move them and take them out: by the label, or by both.
	patch := func(name, patch string) {
		t.Helper()
		require.NoError(t, boss.Patch(t.Context(), newNamespace(name), client.RawPatch(types.MergePatchType, []byte(patch))))
	}
	belongs := func(name, want string) {
		t.Helper()
		c := admin(t)
		require.NoError(t, c.Get(t.Context(), client.ObjectKey{Name: name}, is))
		ref, _ := tenant.Of(is)
		compare(t, "tenant of "+name, want, ref.Name)
	}
	patch("named-3", `{"metadata":{"labels":{"capsule.clastix.io/tenant":"named"}}}`)
	belongs("named-3", "named")
	awaitView(t, "named-ann", "named-1", "named-3")
	patch("named-3", `{"metadata":{"labels":{"capsule.clastix.io/tenant":"named-other"}}}`)
	belongs("named-3", "named-other")
	awaitView(t, "named-ann", "named-1")
	awaitView(t, "named-carol", "named-3")
	awaitBindings(t, "named-3", "ClusterRole admin: User /named-carol",
		"ClusterRole capsule-namespace-deleter: Group /named-bosses", "ClusterRole capsule-namespace-deleter: User /named-carol")
	patch("named-3", `{"metadata":{"labels":{"capsule.clastix.io/tenant":null},"ownerReferences":null}}`)
	belongs("named-3", "")
	awaitView(t, "named-carol")
	awaitBindings(t, "named-3")
	err := boss.Patch(t.Context(), newNamespace("named-3"), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"capsule.clastix.io/tenant":"absent"}}}`)))
	require.True(t, apierrors.IsForbidden(err), "got %v", err)
}
