// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

var roleBindingKind = rbacv1.SchemeGroupVersion.WithKind("RoleBinding")

const (
	clusterRole = "ClusterRole"
	// namePrefix begins the names of what Capsule has managed since 0.13, and
	// legacyNamePrefix of what it managed before.
	namePrefix, legacyNamePrefix = "capsule:managed:", "capsule-"
	// parallel is how many requests are made at once for one namespace.
	parallel = 8
)

// RoleBindings returns what each namespace of a Tenant with these owners should have,
// without the namespace, in order of name: one for each owner and ClusterRole, and one
// for each additional one. Those with the same ClusterRole and subjects are one, with
// the metadata of all; where they disagree the last one counts. Those of an owner have
// the metadata that the Tenant's spec gives it. Owners whose names cannot be
// understood have none.
func RoleBindings(t *capsulev1beta2.Tenant, owners []capsulev1beta2.CoreOwnerSpec) []rbacv1.RoleBinding {
	byName := map[string]*rbacv1.RoleBinding{}
	add := func(role string, subjects []rbacv1.Subject, labels, annotations map[string]string) {
		hash := tenant.RoleBindingHash(role, subjects)
		name := tenant.RoleBindingName(hash)
		binding := byName[name]
		if binding == nil {
			binding = &rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{
					Name:            name,
					Labels:          map[string]string{},
					OwnerReferences: []metav1.OwnerReference{reference(t)},
				},
				RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: clusterRole, Name: role},
				Subjects: withDefaults(subjects),
			}
			byName[name] = binding
		}
		maps.Copy(binding.Labels, labels)
		maps.Copy(binding.Labels, map[string]string{
			capsulev1beta2.ManagedByLabel:     capsulev1beta2.ManagedByController,
			capsulev1beta2.ManagedTenantLabel: t.Name,
			capsulev1beta2.RoleBindingLabel:   hash,
		})
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
	bindings := make([]rbacv1.RoleBinding, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		bindings = append(bindings, *byName[name])
	}
	return bindings
}

// reference makes an object the Tenant's. It does not block the Tenant's deletion:
// there is nothing to wait for, and to set blockOwnerDeletion takes the right to
// update the finalizers of Tenants where the API server checks that.
func reference(t *capsulev1beta2.Tenant) metav1.OwnerReference {
	isController := true
	return metav1.OwnerReference{
		APIVersion: capsulev1beta2.SchemeGroupVersion.String(),
		Kind:       tenant.Kind,
		Name:       t.Name,
		UID:        t.UID,
		Controller: &isController,
	}
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

// isManaged reports whether a RoleBinding is one that this controller, or Capsule in
// its place, has made. Others may carry the label of its hash, too.
func isManaged(binding *rbacv1.RoleBinding) bool {
	labels := binding.Labels
	if _, ok := labels[capsulev1beta2.RoleBindingLabel]; !ok {
		return false
	}
	if !strings.HasPrefix(binding.Name, namePrefix) && !strings.HasPrefix(binding.Name, legacyNamePrefix) {
		return false
	}
	if labels[capsulev1beta2.ManagedTenantLabel] != "" {
		return true
	}
	controller := metav1.GetControllerOfNoCopy(binding)
	return controller != nil && tenant.IsTenant(*controller)
}

// change is a RoleBinding as it is and as it should be. Either may be nil.
type change struct{ is, want *rbacv1.RoleBinding }

// changes returns what is to be written and what is to be deleted, in order of name.
func changes(present, wanted map[string]*rbacv1.RoleBinding) (missing, leftovers []change) {
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if is, want := present[name], wanted[name]; is == nil || !isRight(is, want) {
			missing = append(missing, change{is, want})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(present)) {
		if wanted[name] == nil {
			leftovers = append(leftovers, change{is: present[name]})
		}
	}
	return missing, leftovers
}

// isRight reports whether there is nothing to write.
func isRight(is, want *rbacv1.RoleBinding) bool {
	return canBecome(is, want) &&
		slices.Equal(is.Subjects, want.Subjects) &&
		objects.HasMetadata(is, want.Labels, want.Annotations) &&
		metav1.IsControlledBy(is, &metav1.ObjectMeta{UID: want.OwnerReferences[0].UID})
}

// canBecome reports whether a RoleBinding can be changed into another one. What it
// binds cannot; and the one of an earlier life of the Tenant is about to be
// collected as garbage, for good or after it was changed.
func canBecome(is, want *rbacv1.RoleBinding) bool {
	if is.RoleRef != want.RoleRef {
		return false
	}
	controller := metav1.GetControllerOfNoCopy(is)
	return controller == nil || controller.UID == want.OwnerReferences[0].UID
}

// applyConfiguration returns what is applied for a wanted RoleBinding.
func applyConfiguration(want *rbacv1.RoleBinding, namespace string) *rbacv1ac.RoleBindingApplyConfiguration {
	owner := want.OwnerReferences[0]
	configuration := rbacv1ac.RoleBinding(want.Name, namespace).
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

// refusal is an error that stays until somebody else does something about it.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// explain says what an error means for a RoleBinding. It says the same in each
// namespace where the reason is the same.
func explain(err error, want *rbacv1.RoleBinding) error {
	if err == nil {
		return nil
	}
	role := want.RoleRef.Name
	if _, ok := errors.AsType[*objects.ForeignError](err); ok {
		return &refusal{err}
	}
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

// inParallel calls a function for each change, and returns all errors that there
// are, in order of the changes.
func inParallel(changes []change, do func(change) error) []error {
	errs := make([]error, len(changes))
	tokens := make(chan struct{}, parallel)
	var group sync.WaitGroup
	for i, c := range changes {
		tokens <- struct{}{}
		group.Go(func() {
			defer func() { <-tokens }()
			errs[i] = do(c)
		})
	}
	group.Wait()
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}
