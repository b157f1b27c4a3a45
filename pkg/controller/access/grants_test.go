// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"pgregory.net/rapid"
)

var (
	drawNames = rapid.Custom(func(t *rapid.T) names {
		if rapid.IntRange(0, 4).Draw(t, "all") == 0 {
			return names{all: true}
		}
		return names{set: sets.New(rapid.SliceOfN(drawName, 0, 3).Draw(t, "names")...)}
	})
	drawGrants = rapid.Custom(func(t *rapid.T) grants {
		g := grants{}
		for range rapid.IntRange(0, 5).Draw(t, "permissions") {
			g.add(
				rapid.SampledFrom([]string{"", "storage.k8s.io"}).Draw(t, "group"),
				rapid.SampledFrom([]string{"nodes", "storageclasses"}).Draw(t, "resource"),
				rapid.SliceOfN(rapid.SampledFrom([]string{"get", "list", "watch", "delete"}), 1, 4).Draw(t, "verbs"),
				drawNames.Draw(t, "names"))
		}
		return g
	})
)

// allows reports whether rules allow a request, as the API server decides it.
func allows(rules []rbacv1.PolicyRule, p permission, name string) bool {
	for i := range rules {
		r := &rules[i]
		if has(r.APIGroups, p.group) && has(r.Resources, p.resource) && has(r.Verbs, p.verb) &&
			(len(r.ResourceNames) == 0 || sets.New(r.ResourceNames...).Has(name)) {
			return true
		}
	}
	return false
}

func has(list []string, s string) bool { return sets.New(list...).HasAny(s, "*") }

// allow reports whether grants say that a request is allowed.
func (g grants) allow(p permission, name string) bool { return g[p].all || g[p].set.Has(name) }

// everyRequest calls try for every request that drawGrants knows.
func everyRequest(try func(p permission, name string)) {
	for _, group := range []string{"", "storage.k8s.io"} {
		for _, resource := range []string{"nodes", "storageclasses"} {
			for _, verb := range []string{"get", "list", "watch", "delete"} {
				for _, name := range []string{"a", "b", "c", "d", "e", "f", "somethingelse"} {
					try(permission{group, resource, verb}, name)
				}
			}
		}
	}
}

func TestRulesAllowWhatGrantsSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawGrants.Draw(t, "grants")
		rules := g.rules()
		everyRequest(func(p permission, name string) {
			if allows(rules, p, name) != g.allow(p, name) {
				t.Fatalf("%v of %s: rules %v of %v", p, name, rules, g)
			}
		})
		if !grantsOf(rules).equal(g) {
			t.Fatalf("rules %v of %v are read as %v", rules, g, grantsOf(rules))
		}
		if rules == nil {
			t.Fatal("no rules have to be an empty list")
		}
	})
}

func TestIntersection(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawGrants.Draw(t, "a"), drawGrants.Draw(t, "b")
		both := a.intersect(b)
		rules := both.rules()
		everyRequest(func(p permission, name string) {
			if want := a.allow(p, name) && b.allow(p, name); both.allow(p, name) != want || allows(rules, p, name) != want {
				t.Fatalf("%v of %s: want %v, got %v, which is %v", p, name, want, both, rules)
			}
		})
	})
}

// TestNoNamesAllowNothing holds the one thing that must never go wrong.
func TestNoNamesAllowNothing(t *testing.T) {
	for name, given := range map[string]names{
		"zero": {}, "no names": {set: sets.New[string]()},
		"common to nothing": names{set: sets.New("a")}.intersect(names{set: sets.New("b")}),
	} {
		t.Run(name, func(t *testing.T) {
			g := grants{}
			g.add("", "nodes", readVerbs, given)
			if diff := cmp.Diff([]rbacv1.PolicyRule{}, g.rules()); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
			g.add("", "nodes", readVerbs, names{set: sets.New("a")})
			g.add("", "nodes", readVerbs, given)
			if diff := cmp.Diff([]string{"get,list,watch nodes: a"}, describeRules(g.rules())); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGrantsOfRulesOfOthers(t *testing.T) {
	wanted := grants{}
	wanted.add("", "nodes", readVerbs, names{set: sets.New("a")})
	for name, test := range map[string]struct {
		given []rbacv1.PolicyRule
		// want is what is left when a role is to lose what is not wanted.
		want []string
	}{
		"the same in several rules": {
			given: []rbacv1.PolicyRule{
				{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"watch", "list"}, ResourceNames: []string{"b", "a"}},
				{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get"}, ResourceNames: []string{"a"}},
			},
			want: []string{"get,list,watch nodes: a"},
		},
		"no names are all names": {
			given: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get"}}},
			want:  []string{"get nodes: a"},
		},
		"names and all names": {
			given: []rbacv1.PolicyRule{
				{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get"}, ResourceNames: []string{"b"}},
				{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get"}},
			},
			want: []string{"get nodes: a"},
		},
		"wildcards are not ours": {
			given: []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}},
			want:  []string{},
		},
		"paths are not ours": {
			given: []rbacv1.PolicyRule{{NonResourceURLs: []string{"*"}, Verbs: []string{"get"}}},
			want:  []string{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := grantsOf(test.given)
			if g.equal(wanted) {
				t.Error("it passes for what is wanted")
			}
			if diff := cmp.Diff(test.want, describeRules(g.intersect(wanted).rules())); diff != "" {
				t.Errorf("what is left (-want +got):\n%s", diff)
			}
		})
	}
}
