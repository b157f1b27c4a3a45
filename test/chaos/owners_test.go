// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// This file says who owns a Tenant, by brute force as well, and changes it otherwise
// than by the Tenant's list of owners.

const (
	teamLabel      = "team"
	promotionLabel = "owner.projectcapsule.dev/promote"
	// promotedForAnnotation is the UID of the Tenant that the label counts for.
	promotedForAnnotation = "tenancy.capsule.io/promoted-for"
	// robot is a service account, in whatever namespace.
	robot = "robot"
)

// robotUser returns the name of the user that the robot of a namespace is.
func robotUser(namespace string) string { return "system:serviceaccount:" + namespace + ":" + robot }

// owner is somebody who owns a Tenant, for one reason of possibly several.
type owner struct {
	subject rbacv1.Subject
	roles   []string
}

// ownersOf returns the owners of a Tenant.
func (in inputs) ownersOf(t *capsulev1beta2.Tenant) []owner {
	var owners []owner
	add := func(user capsulev1beta2.UserSpec, roles []string, unlessGiven ...string) {
		if roles == nil {
			roles = unlessGiven
		}
		if subject, ok := subjectOf(user); ok {
			owners = append(owners, owner{subject, roles})
		}
	}
	for i := range t.Spec.Owners {
		add(t.Spec.Owners[i].UserSpec, t.Spec.Owners[i].ClusterRoles, "admin", "capsule-namespace-deleter")
	}
	for _, object := range in[tenantOwners] {
		if spec := object.(*capsulev1beta2.TenantOwner).Spec; ownedBy(t, object) {
			add(spec.UserSpec, spec.ClusterRoles, "admin", "capsule-namespace-deleter")
		}
	}
	for _, object := range in[configurations] {
		config := object.(*capsulev1beta2.CapsuleConfiguration).Spec
		given := capsulev1beta2.RBACConfiguration{}
		if config.RBAC != nil {
			given = *config.RBAC
		}
		for _, administrator := range config.Administrators {
			add(administrator, given.AdministrationClusterRoles, "capsule-namespace-deleter")
		}
		if !config.AllowServiceAccountPromotion {
			continue
		}
		for _, name := range in.promoted(t) {
			add(capsulev1beta2.UserSpec{Kind: capsulev1beta2.ServiceAccountOwner, Name: name}, given.PromotionClusterRoles,
				"capsule-namespace-provisioner", "capsule-namespace-deleter")
		}
	}
	return owners
}

// ownedBy reports whether a TenantOwner names the Tenant, or is selected by it.
func ownedBy(t *capsulev1beta2.Tenant, object client.Object) bool {
	return object.GetLabels()[tenantMark] == t.Name ||
		t.Spec.Permissions != nil && slices.ContainsFunc(t.Spec.Permissions.MatchOwners, func(s metav1.LabelSelector) bool {
			return selects(&s, object)
		})
}

// promoted returns the service accounts that a Tenant, and the label, make its owners.
func (in inputs) promoted(t *capsulev1beta2.Tenant) []string {
	if p := t.Spec.Permissions; p != nil && p.AllowOwnerPromotion != nil && !*p.AllowOwnerPromotion {
		return nil
	}
	var names []string
	for _, account := range in[accounts] {
		if account.GetLabels()[promotionLabel] == "true" && account.GetAnnotations()[promotedForAnnotation] == string(t.UID) && slices.ContainsFunc(in[namespaces], func(namespace client.Object) bool {
			return namespace.GetName() == account.GetNamespace() && belongs(namespace, t)
		}) {
			names = append(names, robotUser(account.GetNamespace()))
		}
	}
	return names
}

// bindingsOf returns what is bound in each namespace of a Tenant, besides the right to
// get it: the labels that the Tenant has for it, by what the RoleBinding says.
func (in inputs) bindingsOf(t *capsulev1beta2.Tenant) map[string]map[string]string {
	bindings := map[string]map[string]string{}
	add := func(role string, subjects []rbacv1.Subject, labels map[string]string) {
		says := fmt.Sprint(bindingSaying{rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}, subjects})
		if bindings[says] == nil {
			bindings[says] = map[string]string{}
		}
		maps.Copy(bindings[says], labels)
	}
	for _, o := range in.ownersOf(t) {
		for _, role := range o.roles {
			add(role, []rbacv1.Subject{o.subject}, nil)
		}
	}
	for i := range t.Spec.AdditionalRoleBindings {
		add(t.Spec.AdditionalRoleBindings[i].ClusterRoleName, t.Spec.AdditionalRoleBindings[i].Subjects, t.Spec.AdditionalRoleBindings[i].Labels)
	}
	return bindings
}

func (r random) permissions() *capsulev1beta2.Permissions {
	var selectors []metav1.LabelSelector
	for _, team := range some(r, r.IntN(3), zones) {
		selectors = append(selectors, metav1.LabelSelector{MatchLabels: map[string]string{teamLabel: team}})
	}
	return pick(r, nil, &capsulev1beta2.Permissions{MatchOwners: selectors, AllowOwnerPromotion: pick(r, nil, new(true), new(false))})
}

// changeTenantOwner makes somebody an owner of whatever Tenants select, or names one.
func (e edit) changeTenantOwner(ctx context.Context, name string) error {
	owner := &capsulev1beta2.TenantOwner{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if e.oneIn(4) {
		return e.delete(ctx, owner)
	}
	return e.change(ctx, owner, func() {
		owner.Labels = map[string]string{teamLabel: pick(e.random, zones...)}
		if e.oneIn(3) {
			owner.Labels[tenantMark] = pick(e.random, tenantNames...)
		}
		owner.Spec.CoreOwnerSpec = e.owner(pick(e.random, users...)).CoreOwnerSpec
	})
}

// changeConfiguration has others own all Tenants, and service accounts own theirs. The
// controller makes one where there is none.
func (e edit) changeConfiguration(ctx context.Context) error {
	config := &capsulev1beta2.CapsuleConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if e.oneIn(6) {
		return e.delete(ctx, config)
	}
	return e.change(ctx, config, func() {
		config.Spec.Administrators = some(e.random, e.IntN(2), users)
		config.Spec.AllowServiceAccountPromotion = !e.oneIn(3)
		config.Spec.RBAC = &capsulev1beta2.RBACConfiguration{
			AdministrationClusterRoles: pick(e.random, nil, []string{}, []string{"view"}),
			PromotionClusterRoles:      pick(e.random, nil, []string{"edit"}),
		}
	})
}

// changeAccount has the robot of a namespace want to be an owner, or not.
func (e edit) changeAccount(ctx context.Context, namespace string) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: robot}}
	if e.oneIn(6) {
		return e.delete(ctx, account)
	}
	in := &corev1.Namespace{}
	if err := e.client.Get(ctx, client.ObjectKey{Name: namespace}, in); err != nil {
		return client.IgnoreNotFound(err)
	}
	return e.change(ctx, account, func() {
		account.Labels = map[string]string{promotionLabel: pick(e.random, "true", "true", "false")}
		// As the webhook writes it, which is not there. What it was written for may be
		// another Tenant's by now.
		if owners := in.OwnerReferences; len(owners) > 0 && !e.oneIn(6) {
			account.Annotations = map[string]string{promotedForAnnotation: string(owners[0].UID)}
		}
	})
}

// has reports whether there is a namespace: nothing is made in one that is not there.
func (e edit) has(ctx context.Context, namespace string) (bool, error) {
	err := e.client.Get(ctx, client.ObjectKey{Name: namespace}, &corev1.Namespace{})
	return err == nil, client.IgnoreNotFound(err)
}
