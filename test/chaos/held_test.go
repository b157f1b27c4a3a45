// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// held is what RBAC gives to the subjects of the test, to whom nobody else gives
// anything.
type held struct {
	objects state
	// by is what each binding gives.
	by map[id][]grant
	// count is how many times something is given, with and without its giver.
	count map[grant]int
}

func newHeld() *held {
	return &held{objects: state{}, by: map[id][]grant{}, count: map[grant]int{}}
}

// heldIn returns what RBAC gives in a state.
func heldIn(s state) grants {
	h := newHeld()
	for i, object := range s {
		if slices.Contains(rbac, i.kind) {
			h.objects[i] = object
		}
	}
	all := grants{}
	for i := range h.objects {
		for _, g := range h.given(i) {
			all[g] = struct{}{}
		}
	}
	return all
}

// apply takes a change, and returns what is given by somebody that was not before,
// and what nobody gives any more, whoever did.
func (h *held) apply(e event) (gained, lost []grant) {
	h.objects.apply(e)
	before := map[grant]int{}
	add := func(g grant, n int) {
		for _, g := range []grant{g, g.byWhomever()} {
			if _, known := before[g]; !known {
				before[g] = h.count[g]
			}
			h.count[g] += n
		}
	}
	for _, binding := range h.concerned(e.id) {
		for _, g := range h.by[binding] {
			add(g, -1)
		}
		h.by[binding] = h.given(binding)
		for _, g := range h.by[binding] {
			add(g, 1)
		}
	}
	was := func(g grant) bool {
		n, changed := before[g]
		return n > 0 || !changed && h.count[g] > 0
	}
	is := func(g grant) bool { return h.count[g] > 0 }
	// A part of everything is neither gained nor lost.
	for g := range before {
		switch whoever := g == g.byWhomever(); {
		case !whoever && is(g) && !was(g) && !was(g.everything()):
			gained = append(gained, g)
		case whoever && was(g) && !is(g) && !is(g.everything()):
			lost = append(lost, g)
		}
	}
	for g := range before {
		if !is(g) {
			delete(h.count, g)
		}
	}
	return gained, lost
}

// concerned returns the bindings by which an object of RBAC gives something: itself,
// or those that name the role.
func (h *held) concerned(i id) []id {
	if i.isBinding() {
		return []id{i}
	}
	var bindings []id
	for candidate, object := range h.objects {
		// RoleBindings to ClusterRoles do not depend on what these allow.
		if candidate.isBinding() && roleOf(candidate, object) == i {
			bindings = append(bindings, candidate)
		}
	}
	return bindings
}

func (i id) isBinding() bool { return i.kind == clusterRoleBindings || i.kind == roleBindings }

// roleOf returns the role that a binding names.
func roleOf(i id, object client.Object) id {
	_, ref := binding(object)
	if ref.Kind == "Role" {
		return id{roles, client.ObjectKey{Namespace: i.key.Namespace, Name: ref.Name}}
	}
	return id{clusterRoles, client.ObjectKey{Name: ref.Name}}
}

// given returns what a binding gives, which may not be there.
func (h *held) given(i id) []grant {
	object := h.objects[i]
	if object == nil {
		return nil
	}
	subjects, ref := binding(object)
	rules := []rbacv1.PolicyRule{{Verbs: []string{bound}, APIGroups: []string{rbacv1.GroupName}, Resources: []string{clusterRoles.resource}, ResourceNames: []string{ref.Name}}}
	if i.kind == clusterRoleBindings || ref.Kind == "Role" {
		rules = rulesOf(h.objects[roleOf(i, object)])
	}
	found := sets.New[grant]()
	for _, subject := range subjects {
		if !everybody.Has(subject) {
			continue
		}
		for _, rule := range rules {
			names := rule.ResourceNames
			if len(names) == 0 {
				names = []string{everyName}
			}
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						for _, name := range names {
							found.Insert(grant{giverOf(object), subject, i.key.Namespace, verb, group, resource, name})
						}
					}
				}
			}
		}
	}
	return found.UnsortedList()
}

func binding(object client.Object) ([]rbacv1.Subject, rbacv1.RoleRef) {
	switch object := object.(type) {
	case *rbacv1.ClusterRoleBinding:
		return object.Subjects, object.RoleRef
	case *rbacv1.RoleBinding:
		return object.Subjects, object.RoleRef
	default:
		return nil, rbacv1.RoleRef{}
	}
}

func rulesOf(object client.Object) []rbacv1.PolicyRule {
	switch object := object.(type) {
	case *rbacv1.ClusterRole:
		return object.Rules
	case *rbacv1.Role:
		return object.Rules
	default:
		return nil
	}
}
