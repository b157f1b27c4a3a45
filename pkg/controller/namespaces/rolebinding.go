// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

const clusterRole = "ClusterRole"

// roleBindings returns the kind of RoleBindings. They are applied, not patched as the
// other kinds: Tenants name labels and annotations for them, and managedFields say
// which they have named before.
func roleBindings() *kind {
	gvk := rbacv1.SchemeGroupVersion.WithKind("RoleBinding")
	return kindOf(typed[*rbacv1.RoleBinding]{
		gvk: gvk, label: capsulev1beta2.RoleBindingLabel,
		object: &rbacv1.RoleBinding{}, list: func() client.ObjectList { return &rbacv1.RoleBindingList{} },
		wanted: RoleBindings,
		says:   func(is, want *rbacv1.RoleBinding) bool { return slices.Equal(is.Subjects, want.Subjects) },
		canSay: func(is, want *rbacv1.RoleBinding) bool { return is.RoleRef == want.RoleRef },
		create: func(ctx context.Context, a objects.Applier, want *rbacv1.RoleBinding) error {
			return a.Make(ctx, want, applyConfiguration(want), gvk)
		},
		change: func(ctx context.Context, a objects.Applier, is, want *rbacv1.RoleBinding) error {
			return a.ApplyKnown(ctx, applyConfiguration(want), gvk, is)
		},
		explain: explainRoleBinding,
	})
}

// RoleBindings returns what each namespace of a Tenant with these owners should have,
// without the namespace, in order of name: one for each owner and ClusterRole, and one
// for each additional one. Those with the same ClusterRole and subjects are one, with
// the metadata of all; where they disagree the last one counts. Those of an owner have
// the metadata that the Tenant's spec gives it. Owners whose names cannot be
// understood have none.
func RoleBindings(t *capsulev1beta2.Tenant, owners []capsulev1beta2.CoreOwnerSpec) []*rbacv1.RoleBinding {
	byName := map[string]*rbacv1.RoleBinding{}
	add := func(role string, subjects []rbacv1.Subject, labels, annotations map[string]string) {
		hash := tenant.RoleBindingHash(role, subjects)
		metadata := managed(t, tenant.RoleBindingName(hash), capsulev1beta2.RoleBindingLabel, hash)
		ours := maps.Clone(metadata.Labels)
		binding := byName[metadata.Name]
		if binding == nil {
			binding = &rbacv1.RoleBinding{
				ObjectMeta: metadata,
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: clusterRole, Name: role},
				Subjects:   withDefaults(subjects),
			}
			byName[metadata.Name] = binding
		}
		maps.Copy(binding.Labels, labels)
		maps.Copy(binding.Labels, ours)
		if len(annotations) > 0 && binding.Annotations == nil {
			binding.Annotations = map[string]string{}
		}
		maps.Copy(binding.Annotations, annotations)
	}
	metadata := map[capsulev1beta2.UserSpec]*capsulev1beta2.OwnerSpec{}
	for i := range t.Spec.Owners {
		metadata[t.Spec.Owners[i].UserSpec] = &t.Spec.Owners[i]
	}
	for _, owner := range owners {
		subject, err := tenant.Subject(owner.UserSpec)
		if err != nil {
			// The status of the Tenant says so.
			continue
		}
		var labels, annotations map[string]string
		if spec := metadata[owner.UserSpec]; spec != nil {
			labels, annotations = spec.Labels, spec.Annotations
		}
		for _, role := range owner.ClusterRoles {
			add(role, []rbacv1.Subject{subject}, labels, annotations)
		}
	}
	for i := range t.Spec.AdditionalRoleBindings {
		item := &t.Spec.AdditionalRoleBindings[i]
		add(item.ClusterRoleName, item.Subjects, item.Labels, item.Annotations)
	}
	bindings := make([]*rbacv1.RoleBinding, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		bindings = append(bindings, byName[name])
	}
	return bindings
}

// withDefaults returns subjects as the API server completes them.
func withDefaults(subjects []rbacv1.Subject) []rbacv1.Subject {
	subjects = slices.Clone(subjects)
	for i := range subjects {
		if subjects[i].Kind != rbacv1.ServiceAccountKind {
			subjects[i].APIGroup = cmp.Or(subjects[i].APIGroup, rbacv1.GroupName)
		}
	}
	return subjects
}

// applyConfiguration returns what is applied for a wanted RoleBinding.
func applyConfiguration(want *rbacv1.RoleBinding) *rbacv1ac.RoleBindingApplyConfiguration {
	owner := want.OwnerReferences[0]
	configuration := rbacv1ac.RoleBinding(want.Name, want.Namespace).
		WithLabels(want.Labels).
		WithAnnotations(want.Annotations).
		WithOwnerReferences(metav1ac.OwnerReference().WithAPIVersion(owner.APIVersion).WithKind(owner.Kind).
			WithName(owner.Name).WithUID(owner.UID).WithController(true)).
		WithRoleRef(rbacv1ac.RoleRef().WithAPIGroup(want.RoleRef.APIGroup).WithKind(want.RoleRef.Kind).WithName(want.RoleRef.Name))
	for _, subject := range want.Subjects {
		ac := rbacv1ac.Subject().WithKind(subject.Kind).WithName(subject.Name)
		if subject.APIGroup != "" {
			ac.WithAPIGroup(subject.APIGroup)
		}
		if subject.Namespace != "" {
			ac.WithNamespace(subject.Namespace)
		}
		configuration.WithSubjects(ac)
	}
	return configuration
}

// explainRoleBinding says what an error means for a RoleBinding.
func explainRoleBinding(err error, want *rbacv1.RoleBinding) error {
	role := want.RoleRef.Name
	switch {
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "not currently held"):
		return &refusal{fmt.Errorf("ClusterRole %q may not be bound by the controller: to allow it, give the verb bind on clusterroles "+
			"with this resourceName in a ClusterRole that is labelled %s=true", role, aggregateLabel)}
	case apierrors.IsNotFound(err):
		return &refusal{fmt.Errorf("ClusterRole %q does not exist, and the controller may only bind what exists: create it", role)}
	case apierrors.IsInvalid(err):
		return &refusal{fmt.Errorf("RoleBinding of ClusterRole %q: %w", role, err)}
	default:
		return fmt.Errorf("write RoleBinding %s of ClusterRole %q: %w", want.Name, role, err)
	}
}
