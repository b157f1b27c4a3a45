// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"cmp"
	"maps"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// permission is one verb on one resource.
type permission struct{ group, resource, verb string }

func (p permission) compare(o permission) int {
	return cmp.Or(cmp.Compare(p.group, o.group), cmp.Compare(p.resource, o.resource), cmp.Compare(p.verb, o.verb))
}

// names are the objects that a permission is for: some by name, or all.
type names struct {
	all bool
	set sets.Set[string]
}

func (n names) empty() bool { return !n.all && n.set.Len() == 0 }

func (n names) equal(o names) bool { return n.all == o.all && (n.all || n.set.Equal(o.set)) }

func (n names) union(o names) names {
	switch {
	case n.empty() || o.all:
		return o
	case o.empty() || n.all:
		return n
	default:
		return names{set: n.set.Union(o.set)}
	}
}

func (n names) intersect(o names) names {
	switch {
	case n.all:
		return o
	case o.all:
		return n
	default:
		return names{set: n.set.Intersection(o.set)}
	}
}

// grants are what the rules of one role allow. A permission for no name is not in
// it. The sets are shared and must not be modified.
type grants map[permission]names

// add allows the verbs on the resource for the names. No names allow nothing: in
// RBAC, an empty list of names would mean all of them.
func (g grants) add(group, resource string, verbs []string, n names) {
	if n.empty() {
		return
	}
	for _, verb := range verbs {
		p := permission{group, resource, verb}
		g[p] = g[p].union(n)
	}
}

// rules returns the rules that allow g and nothing else, always the same for the
// same grants. They may be none, but not nil.
func (g grants) rules() []rbacv1.PolicyRule {
	rules := []rbacv1.PolicyRule{}
	// The permissions that a rule stands for, as an index of the rules made so far.
	var represents []permission
next:
	for _, p := range slices.SortedFunc(maps.Keys(g), permission.compare) {
		for i, r := range represents {
			if r.group == p.group && r.resource == p.resource && g[r].equal(g[p]) {
				rules[i].Verbs = append(rules[i].Verbs, p.verb)
				continue next
			}
		}
		rule := rbacv1.PolicyRule{APIGroups: []string{p.group}, Resources: []string{p.resource}, Verbs: []string{p.verb}}
		if n := g[p]; !n.all {
			rule.ResourceNames = sets.List(n.set)
		}
		rules, represents = append(rules, rule), append(represents, p)
	}
	return rules
}

// grantsOf returns what rules allow. Wildcards stand for themselves: they are not
// ours and equal nothing that is.
func grantsOf(rules []rbacv1.PolicyRule) grants {
	g := grants{}
	for i := range rules {
		rule := &rules[i]
		n := names{all: len(rule.ResourceNames) == 0, set: sets.New(rule.ResourceNames...)}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					p := permission{group, resource, verb}
					g[p] = g[p].union(n)
				}
			}
		}
	}
	return g
}

func (g grants) equal(o grants) bool { return maps.EqualFunc(g, o, names.equal) }

// intersect returns what both allow.
func (g grants) intersect(o grants) grants {
	both := grants{}
	for p, n := range g {
		if common := n.intersect(o[p]); !common.empty() {
			both[p] = common
		}
	}
	return both
}
