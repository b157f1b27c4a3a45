// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"maps"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// state is what there is at a place. Role and binding may each be missing.
type state struct {
	role    *grants
	binding sets.Set[rbacv1.Subject]
	// roleDrifted and bindingDrifted say that the object differs from what would be
	// written in more than what it grants, and to whom.
	roleDrifted, bindingDrifted bool
}

// step is one write. One of its fields besides the place is set.
type step struct {
	at place
	// grants are what the role is to allow from then on.
	grants grants
	// subjects are those to be bound from then on.
	subjects sets.Set[rbacv1.Subject]
	// removeBinding and removeRole delete.
	removeBinding, removeRole bool
}

// plan returns the writes that turn present into wanted, in an order in which
// whatever a subject is allowed after each of them
//
//   - is allowed by present or by wanted: nobody holds, not even for an instant
//     and not if the writer dies there, what neither gives;
//   - holds what both give, if the roles of present agree on what they select:
//     nobody loses what it is to keep.
//
// Therefore roles first lose what they are to lose, while their old subjects are
// bound; then come who is to come. A role gains when nobody is bound to it that
// is to go: at once, or after those went. Roles and bindings that are not wanted
// go last: who moved holds the same elsewhere by then. A change that only gains,
// or only loses, is one write.
func plan(present map[place]state, wanted map[place]unit) []step {
	var steps []step
	kept := slices.SortedFunc(maps.Keys(wanted), place.compare)
	unwanted := slices.DeleteFunc(slices.SortedFunc(maps.Keys(present), place.compare), func(at place) bool {
		_, keep := wanted[at]
		return keep
	})

	roles := map[place]grants{}
	bound := map[place]sets.Set[rbacv1.Subject]{}
	for _, at := range kept {
		was, want := present[at], wanted[at]
		bound[at] = was.binding
		if was.role == nil {
			// A role that nobody is bound to may be made whole at once.
			if was.binding != nil {
				steps, bound[at] = append(steps, step{at: at, removeBinding: true}), nil
			}
			steps, roles[at] = append(steps, step{at: at, grants: want.grants}), want.grants
			continue
		}
		roles[at] = was.role.intersect(want.grants)
		if was.roleDrifted || !roles[at].equal(*was.role) {
			steps = append(steps, step{at: at, grants: roles[at]})
		}
	}
	bind := func(at place, subjects sets.Set[rbacv1.Subject]) {
		steps, bound[at] = append(steps, step{at: at, subjects: subjects}), subjects
	}
	gain := func() {
		for _, at := range kept {
			if want := wanted[at]; !roles[at].equal(want.grants) && want.subjects.IsSuperset(bound[at]) {
				steps, roles[at] = append(steps, step{at: at, grants: want.grants}), want.grants
			}
		}
	}
	for _, at := range kept {
		all := bound[at].Union(wanted[at].subjects)
		if bound[at] == nil || present[at].bindingDrifted || !all.Equal(bound[at]) {
			bind(at, all)
		}
	}
	gain()
	for _, at := range kept {
		if want := wanted[at]; !bound[at].Equal(want.subjects) {
			bind(at, want.subjects)
		}
	}
	gain()
	for _, at := range unwanted {
		if present[at].binding != nil {
			steps = append(steps, step{at: at, removeBinding: true})
		}
	}
	for _, at := range unwanted {
		if present[at].role != nil {
			steps = append(steps, step{at: at, removeRole: true})
		}
	}
	return steps
}

// losses returns the writes that take away from present what is not wanted, and
// give nothing: each of them by itself, whatever becomes of the others. Who moved
// loses what is not given in the new place yet.
func losses(present map[place]state, wanted map[place]unit) []step {
	bound, remaining := maps.Clone(present), map[place]unit{}
	for at, want := range wanted {
		was := present[at]
		if was.binding == nil {
			// A role that nobody is bound to gives nothing.
			delete(bound, at)
			continue
		}
		if subjects := was.binding.Intersection(want.subjects); was.role != nil && subjects.Len() > 0 {
			remaining[at] = unit{grants: was.role.intersect(want.grants), subjects: subjects}
		}
	}
	return plan(bound, remaining)
}
