// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var getClasses = Question{Verb: "get", Resource: schema.GroupResource{Group: "storage.k8s.io", Resource: "storageclasses"}}

func TestMatches(t *testing.T) {
	t.Parallel()
	rule := func(verbs, groups, resources []string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: verbs, APIGroups: groups, Resources: resources}
	}
	type list = []string
	tests := map[string]struct {
		question Question
		given    rbacv1.PolicyRule
		want     bool
	}{
		"exact":               {getNamespaces, rule(list{"get"}, list{""}, list{"namespaces"}), true},
		"among others":        {getNamespaces, rule(list{"list", "get"}, list{"apps", ""}, list{"pods", "namespaces"}), true},
		"all wildcards":       {getNamespaces, rule(list{"*"}, list{"*"}, list{"*"}), true},
		"any verb":            {getNamespaces, rule(list{"*"}, list{""}, list{"namespaces"}), true},
		"any group":           {getNamespaces, rule(list{"get"}, list{"*"}, list{"namespaces"}), true},
		"any resource":        {getNamespaces, rule(list{"get"}, list{""}, list{"*"}), true},
		"named group":         {getClasses, rule(list{"get"}, list{"storage.k8s.io"}, list{"storageclasses"}), true},
		"other verb":          {getNamespaces, rule(list{"list", "watch"}, list{""}, list{"namespaces"}), false},
		"verb in upper case":  {getNamespaces, rule(list{"GET"}, list{""}, list{"namespaces"}), false},
		"other group":         {getNamespaces, rule(list{"get"}, list{"apps"}, list{"namespaces"}), false},
		"core for a group":    {getClasses, rule(list{"get"}, list{""}, list{"storageclasses"}), false},
		"no group":            {getNamespaces, rule(list{"get"}, nil, list{"namespaces"}), false},
		"no verb":             {getNamespaces, rule(nil, list{""}, list{"namespaces"}), false},
		"no resource":         {getNamespaces, rule(list{"get"}, list{""}, nil), false},
		"other resource":      {getNamespaces, rule(list{"get"}, list{""}, list{"nodes"}), false},
		"singular":            {getNamespaces, rule(list{"get"}, list{""}, list{"namespace"}), false},
		"subresource":         {getNamespaces, rule(list{"get"}, list{""}, list{"namespaces/status"}), false},
		"any subresource":     {getNamespaces, rule(list{"get"}, list{""}, list{"namespaces/*"}), false},
		"subresource of any":  {getNamespaces, rule(list{"get"}, list{""}, list{"*/status"}), false},
		"any of any":          {getNamespaces, rule(list{"get"}, list{""}, list{"*/*"}), false},
		"glob":                {getNamespaces, rule(list{"get"}, list{""}, list{"name*"}), false},
		"across rules' parts": {getClasses, rule(list{"get"}, list{"storage.k8s.io"}, list{"namespaces"}), false},
		"non-resource":        {getNamespaces, rbacv1.PolicyRule{Verbs: list{"get"}, NonResourceURLs: list{"*"}}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tt.question.matches(&tt.given); got != tt.want {
				t.Errorf("matches: %t", got)
			}
		})
	}
}

func TestReduce(t *testing.T) {
	t.Parallel()
	all := rbacv1.PolicyRule{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}
	tests := map[string]struct {
		given []rbacv1.PolicyRule
		want  []grant
	}{
		"no rules":   {},
		"no match":   {given: []rbacv1.PolicyRule{getRule("pods"), getRule("namespaces/status", "a")}},
		"every name": {given: []rbacv1.PolicyRule{getRule("nodes")}, want: []grant{{question: 1, every: true}}},
		"names, sorted and once": {
			given: []rbacv1.PolicyRule{getRule("namespaces", "c", "a"), getRule("namespaces", "b", "a", "a")},
			want:  []grant{{question: 0, names: []string{"a", "b", "c"}}},
		},
		"names before every name": {
			given: []rbacv1.PolicyRule{getRule("namespaces", "c"), getRule("namespaces")},
			want:  []grant{{question: 0, every: true}},
		},
		"names after every name": {
			given: []rbacv1.PolicyRule{getRule("namespaces"), getRule("namespaces", "c")},
			want:  []grant{{question: 0, every: true}},
		},
		"names of another verb": {given: []rbacv1.PolicyRule{{
			Verbs: []string{"delete"}, APIGroups: []string{""}, Resources: []string{"namespaces"}, ResourceNames: []string{"a"},
		}}},
		"in the order of the questions": {
			given: []rbacv1.PolicyRule{getRule("nodes", "n"), getRule("namespaces", "a")},
			want:  []grant{{question: 0, names: []string{"a"}}, {question: 1, names: []string{"n"}}},
		},
		"everything": {
			given: []rbacv1.PolicyRule{all},
			want:  []grant{{question: 0, every: true}, {question: 1, every: true}, {question: 2, every: true}},
		},
		"the names of everything": {
			given: []rbacv1.PolicyRule{{Verbs: all.Verbs, APIGroups: all.APIGroups, Resources: all.Resources, ResourceNames: []string{"x"}}},
			want:  []grant{{question: 0, names: []string{"x"}}, {question: 1, names: []string{"x"}}, {question: 2, names: []string{"x"}}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, reduce(questions, tt.given), cmp.AllowUnexported(grant{})); diff != "" {
				t.Errorf("grants (-want +got):\n%s", diff)
			}
		})
	}
}

// The rules belong to the object that was fed: reduce must not change them.
func TestReduceLeavesRulesAlone(t *testing.T) {
	t.Parallel()
	rules := []rbacv1.PolicyRule{getRule("namespaces", "c", "a", "b"), getRule("namespaces", "b", "a")}
	before := clusterRole("r", rules...).DeepCopy().Rules
	reduce(questions, rules)
	if diff := cmp.Diff(before, rules); diff != "" {
		t.Errorf("rules (-before +after):\n%s", diff)
	}
}

func TestWithout(t *testing.T) {
	t.Parallel()
	type list = []string
	for _, tt := range []struct{ a, b, want list }{
		{nil, nil, nil},
		{list{"a"}, nil, list{"a"}},
		{nil, list{"a"}, nil},
		{list{"a", "b", "c"}, list{"b"}, list{"a", "c"}},
		{list{"a", "b", "c"}, list{"a", "b", "c"}, nil},
		{list{"b", "d"}, list{"a", "b", "c", "e"}, list{"d"}},
		{list{"d"}, list{"a", "b"}, list{"d"}},
		{list{"a", "z"}, list{"b"}, list{"a", "z"}},
	} {
		if diff := cmp.Diff(tt.want, without(tt.a, tt.b)); diff != "" {
			t.Errorf("%v without %v (-want +got):\n%s", tt.a, tt.b, diff)
		}
	}
}

func TestSubjectsOfBinding(t *testing.T) {
	t.Parallel()
	account := func(namespace, name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: "ServiceAccount", Namespace: namespace, Name: name}
	}
	tests := map[string]struct {
		namespace string
		given     []rbacv1.Subject
		want      []string
	}{
		"none":                     {},
		"users before groups":      {given: []rbacv1.Subject{groupSubject("a"), userSubject("z"), userSubject("b")}, want: []string{"User b", "User z", "Group a"}},
		"each once":                {given: []rbacv1.Subject{userSubject("a"), groupSubject("a"), userSubject("a"), groupSubject("a")}, want: []string{"User a", "Group a"}},
		"account":                  {given: []rbacv1.Subject{account("ns", "sa")}, want: []string{"User system:serviceaccount:ns:sa"}},
		"account of the binding's": {namespace: "in", given: []rbacv1.Subject{account("", "sa")}, want: []string{"User system:serviceaccount:in:sa"}},
		"account of another":       {namespace: "in", given: []rbacv1.Subject{account("ns", "sa")}, want: []string{"User system:serviceaccount:ns:sa"}},
		"account of nowhere":       {given: []rbacv1.Subject{account("", "sa")}},
		"account and its user":     {given: []rbacv1.Subject{userSubject("system:serviceaccount:ns:sa"), account("ns", "sa")}, want: []string{"User system:serviceaccount:ns:sa"}},
		"unknown kinds":            {namespace: "in", given: []rbacv1.Subject{{Kind: "Robot", Name: "a"}, {Kind: "", Name: "a"}, {Kind: "user", Name: "a"}}},
		"namespace of a user":      {given: []rbacv1.Subject{{Kind: "User", Namespace: "ns", Name: "a"}}, want: []string{"User a"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, texts(subjectsOf(tt.namespace, tt.given))); diff != "" {
				t.Errorf("subjects (-want +got):\n%s", diff)
			}
		})
	}
}
