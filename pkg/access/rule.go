// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Question is what an index answers: who may use Verb on which objects of
// Resource? The resources are cluster-scoped, namespaces included.
type Question struct {
	Verb     string
	Resource schema.GroupResource
}

// perNamespace reports whether RoleBindings count: the API server authorizes a
// request for the namespace N inside N, so a RoleBinding there grants the name N.
// For every other cluster-scoped resource only ClusterRoleBindings count.
func (q Question) perNamespace() bool {
	return q.Resource == schema.GroupResource{Resource: "namespaces"}
}

// matches reports whether the rule answers the question for some name; which
// ones is left to its resourceNames.
func (q Question) matches(rule *rbacv1.PolicyRule) bool {
	return containsOrAll(rule.Verbs, q.Verb, rbacv1.VerbAll) &&
		containsOrAll(rule.APIGroups, q.Resource.Group, rbacv1.APIGroupAll) &&
		containsOrAll(rule.Resources, q.Resource.Resource, rbacv1.ResourceAll)
}

func containsOrAll(list []string, want, all string) bool {
	return slices.Contains(list, want) || slices.Contains(list, all)
}

// grant is what a role allows for one question: every name, or those in names,
// which are sorted and distinct.
type grant struct {
	question int
	every    bool
	names    []string
}

func (g grant) empty() bool { return !g.every && len(g.names) == 0 }

func (g grant) equal(o grant) bool {
	return g.question == o.question && g.every == o.every && slices.Equal(g.names, o.names)
}

func (g grant) allows(name string) bool {
	if g.every {
		return true
	}
	_, found := slices.BinarySearch(g.names, name)
	return found
}

// reduce returns what rules grant for the questions, without empty grants, in
// the order of the questions.
func reduce(questions []Question, rules []rbacv1.PolicyRule) []grant {
	var grants []grant
	for i, question := range questions {
		g := grant{question: i}
		for r := range rules {
			rule := &rules[r]
			switch {
			case !question.matches(rule):
			case len(rule.ResourceNames) == 0:
				g.every = true
			default:
				g.names = append(g.names, rule.ResourceNames...)
			}
		}
		if g.every {
			// The names say nothing more; without them grants compare equal.
			g.names = nil
		}
		slices.Sort(g.names)
		g.names = slices.Clip(slices.Compact(g.names))
		if !g.empty() {
			grants = append(grants, g)
		}
	}
	return grants
}

// find returns the grant for a question, which is empty where the role grants nothing.
func find(grants []grant, question int) grant {
	for _, g := range grants {
		if g.question == question {
			return g
		}
	}
	return grant{question: question}
}
