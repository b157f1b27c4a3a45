// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	"pgregory.net/rapid"
)

var (
	getNamespaces = Question{Verb: "get", Resource: schema.GroupResource{Resource: "namespaces"}}
	getNodes      = Question{Verb: "get", Resource: schema.GroupResource{Resource: "nodes"}}
	listViews     = Question{Verb: "list", Resource: schema.GroupResource{Group: "tenancy.capsule.io", Resource: "tenantnodes"}}
	questions     = []Question{getNamespaces, getNodes, listViews}

	objectNames = []string{"a", "b", "c", "d"}
	roleNames   = []string{"r", "s", "a"}
	users       = []*user.DefaultInfo{
		{Name: "alice", Groups: []string{"dev"}},
		{Name: "bob", Groups: []string{"dev", "ops", "alice"}},
		{Name: "dev"},
		{Name: "system:serviceaccount:a:default", Groups: []string{"system:serviceaccounts:a"}},
		{Name: "system:serviceaccount:b:default", Groups: []string{"ops"}},
		{Name: "root", Groups: []string{"system:masters"}},
	}
)

// rbacObjects is the naive state of a cluster's RBAC.
type rbacObjects struct {
	roles               map[objectKey]*rbacv1.Role
	clusterRoles        map[objectKey]*rbacv1.ClusterRole
	roleBindings        map[objectKey]*rbacv1.RoleBinding
	clusterRoleBindings map[objectKey]*rbacv1.ClusterRoleBinding
}

// allowed evaluates one request the way the RBAC authorizer does: every binding,
// then its role, then every rule.
func (o *rbacObjects) allowed(u user.Info, question Question, name string) bool {
	if slices.Contains(u.GetGroups(), "system:masters") {
		return true
	}
	for _, b := range o.clusterRoleBindings {
		if appliesTo(u, b.Subjects, "") && permits(o.rulesOf(b.RoleRef, ""), question, name) {
			return true
		}
	}
	for _, b := range o.roleBindings {
		if question == getNamespaces && b.Namespace == name && appliesTo(u, b.Subjects, b.Namespace) &&
			permits(o.rulesOf(b.RoleRef, b.Namespace), question, name) {
			return true
		}
	}
	return false
}

func (o *rbacObjects) rulesOf(ref rbacv1.RoleRef, namespace string) []rbacv1.PolicyRule {
	switch ref.Kind {
	case "ClusterRole":
		if r, ok := o.clusterRoles[objectKey{name: ref.Name}]; ok {
			return r.Rules
		}
	case "Role":
		if r, ok := o.roles[objectKey{namespace: namespace, name: ref.Name}]; ok {
			return r.Rules
		}
	}
	return nil
}

func appliesTo(u user.Info, subjects []rbacv1.Subject, namespace string) bool {
	return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
		switch s.Kind {
		case "User":
			return s.Name == u.GetName()
		case "Group":
			return slices.Contains(u.GetGroups(), s.Name)
		case "ServiceAccount":
			in := s.Namespace
			if in == "" {
				in = namespace
			}
			return in != "" && u.GetName() == "system:serviceaccount:"+in+":"+s.Name
		}
		return false
	})
}

func permits(rules []rbacv1.PolicyRule, question Question, name string) bool {
	has := func(list []string, want string) bool {
		return slices.Contains(list, want) || slices.Contains(list, "*")
	}
	return slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool {
		return has(r.Verbs, question.Verb) && has(r.APIGroups, question.Resource.Group) && has(r.Resources, question.Resource.Resource) &&
			(len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, name))
	})
}

// audience is the answer of an index or an oracle: user, by name, to names.
type audience map[string][]string

func (o *rbacObjects) audience(question Question) audience {
	result := audience{}
	for _, u := range users {
		for _, name := range objectNames {
			if o.allowed(u, question, name) {
				result[u.Name] = append(result[u.Name], name)
			}
		}
	}
	return result
}

// audienceOf asks the snapshot in each of its ways, which have to agree.
func audienceOf(t *rapid.T, s *Snapshot) audience {
	result := audience{}
	for _, u := range users {
		subjects := SubjectsOf(u)
		names := slices.Collect(s.Names(subjects, ""))
		if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Fatalf("names of %s are not sorted and distinct: %q", u.Name, names)
		}
		for i, name := range names {
			if diff := cmp.Diff(names[i:], slices.Collect(s.Names(subjects, name))); diff != "" {
				t.Fatalf("names of %s from %q (-want +got):\n%s", u.Name, name, diff)
			}
		}
		for _, name := range objectNames {
			allowed := s.Allowed(subjects, name)
			listed := s.Every(subjects) || slices.Contains(names, name)
			heard := slices.ContainsFunc(slices.Collect(s.Audience(name)), func(subject Subject) bool { return slices.Contains(subjects, subject) })
			if allowed != listed || allowed != heard {
				t.Fatalf("%s of %s: Allowed %t, Names %t, Audience %t", name, u.Name, allowed, listed, heard)
			}
			if allowed {
				result[u.Name] = append(result[u.Name], name)
			}
		}
	}
	return result
}

var (
	anySubject = rapid.Custom(func(t *rapid.T) rbacv1.Subject {
		s := rbacv1.Subject{
			Kind: rapid.SampledFrom([]string{"User", "Group", "ServiceAccount", "Robot"}).Draw(t, "kind"),
			Name: rapid.SampledFrom([]string{"alice", "dev", "ops", "default", "system:serviceaccount:a:default", "system:masters"}).Draw(t, "name"),
		}
		if s.Kind == "ServiceAccount" {
			s.Namespace = rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "namespace")
		}
		return s
	})
	anyRule = rapid.Custom(func(t *rapid.T) rbacv1.PolicyRule {
		some := func(label string, least int, from ...string) []string {
			return rapid.SliceOfN(rapid.SampledFrom(from), least, 2).Draw(t, label)
		}
		return rbacv1.PolicyRule{
			Verbs:         some("verbs", 1, "get", "list", "*"),
			APIGroups:     some("groups", 1, "", "tenancy.capsule.io", "*", "apps"),
			Resources:     some("resources", 1, "namespaces", "nodes", "tenantnodes", "*", "namespaces/status", "*/status"),
			ResourceNames: some("resourceNames", 0, objectNames...),
		}
	})
	anyRules    = rapid.SliceOfN(anyRule, 0, 3)
	anySubjects = rapid.SliceOfN(anySubject, 0, 3)
	anyRef      = rapid.Custom(func(t *rapid.T) rbacv1.RoleRef {
		return rbacv1.RoleRef{
			Kind: rapid.SampledFrom([]string{"Role", "ClusterRole", "ClusterRole", "Other"}).Draw(t, "kind"),
			Name: rapid.SampledFrom(roleNames).Draw(t, "role"),
		}
	})
)

// edit puts a random object into, or takes one out of, the naive state and the
// index, or replaces all objects of the kind as a relist does.
func edit[T metav1.Object](t *rapid.T, namespaced bool, objects map[objectKey]T, create func(metav1.ObjectMeta) T, sink interface {
	Upsert(T)
	Delete(T)
	Replace([]T, string)
}) {
	draw := func() metav1.ObjectMeta {
		meta := metav1.ObjectMeta{Name: rapid.SampledFrom(roleNames).Draw(t, "name")}
		if namespaced {
			meta.Namespace = rapid.SampledFrom(objectNames).Draw(t, "in")
		}
		return meta
	}
	switch rapid.SampledFrom([]string{"upsert", "upsert", "upsert", "delete", "replace"}).Draw(t, "edit") {
	case "upsert":
		object := create(draw())
		objects[keyOf(object)] = object
		sink.Upsert(object)
	case "delete":
		object := create(draw())
		delete(objects, keyOf(object))
		sink.Delete(object)
	case "replace":
		clear(objects)
		for range rapid.IntRange(0, 3).Draw(t, "count") {
			object := create(draw())
			objects[keyOf(object)] = object
		}
		sink.Replace(slices.Collect(maps.Values(objects)), "1")
	}
}

// TestIndexEqualsEvaluation applies random edits of RBAC and compares, after
// each, every answer of the index with an evaluation from scratch, and the
// reported change with the difference of both evaluations.
func TestIndexEqualsEvaluation(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		index := NewIndex(questions...)
		objects := &rbacObjects{
			roles:               map[objectKey]*rbacv1.Role{},
			clusterRoles:        map[objectKey]*rbacv1.ClusterRole{},
			roleBindings:        map[objectKey]*rbacv1.RoleBinding{},
			clusterRoleBindings: map[objectKey]*rbacv1.ClusterRoleBinding{},
		}
		changes := map[Question][]Change{}
		for _, question := range questions {
			index.Subscribe(question, func(c Change) { changes[question] = append(changes[question], c) })
		}
		t.Repeat(map[string]func(*rapid.T){
			"role": func(t *rapid.T) {
				edit(t, true, objects.roles, func(m metav1.ObjectMeta) *rbacv1.Role {
					return &rbacv1.Role{ObjectMeta: m, Rules: anyRules.Draw(t, "rules")}
				}, index.roleSink())
			},
			"clusterRole": func(t *rapid.T) {
				edit(t, false, objects.clusterRoles, func(m metav1.ObjectMeta) *rbacv1.ClusterRole {
					return &rbacv1.ClusterRole{ObjectMeta: m, Rules: anyRules.Draw(t, "rules")}
				}, index.clusterRoleSink())
			},
			"roleBinding": func(t *rapid.T) {
				edit(t, true, objects.roleBindings, func(m metav1.ObjectMeta) *rbacv1.RoleBinding {
					return &rbacv1.RoleBinding{ObjectMeta: m, Subjects: anySubjects.Draw(t, "subjects"), RoleRef: anyRef.Draw(t, "ref")}
				}, index.roleBindingSink())
			},
			"clusterRoleBinding": func(t *rapid.T) {
				edit(t, false, objects.clusterRoleBindings, func(m metav1.ObjectMeta) *rbacv1.ClusterRoleBinding {
					return &rbacv1.ClusterRoleBinding{ObjectMeta: m, Subjects: anySubjects.Draw(t, "subjects"), RoleRef: anyRef.Draw(t, "ref")}
				}, index.clusterRoleBindingSink())
			},
			"": func(t *rapid.T) {
				for _, question := range questions {
					snapshot := index.Snapshot(question)
					if diff := cmp.Diff(objects.audience(question), audienceOf(t, snapshot)); diff != "" {
						t.Fatalf("%s of %s (-evaluation +index):\n%s", question.Verb, question.Resource, diff)
					}
					checkChanges(t, changes[question], snapshot)
				}
				clear(changes)
				checkNothingLeft(t, index, objects)
			},
		})
	})
}

// checkChanges holds that an edit made at most one change, that it ends in the
// present snapshot and that it names exactly what differs.
func checkChanges(t *rapid.T, changes []Change, present *Snapshot) {
	if len(changes) == 0 {
		return
	}
	if len(changes) > 1 {
		t.Fatalf("one edit made %d changes", len(changes))
	}
	change := changes[0]
	if change.After != present {
		t.Fatal("the change does not end in the present snapshot")
	}
	var names []string
	for _, name := range objectNames {
		before, _ := change.Before.names.Get(nameEntry{name: name})
		after, _ := change.After.names.Get(nameEntry{name: name})
		if !slices.Equal(slices.Collect(before.subjects.All()), slices.Collect(after.subjects.All())) {
			names = append(names, name)
		}
	}
	if diff := cmp.Diff(names, change.Names); diff != "" {
		t.Fatalf("names (-differ +reported):\n%s", diff)
	}
	differ := sets.New[Subject]()
	for _, pair := range [][2]*Snapshot{{change.Before, change.After}, {change.After, change.Before}} {
		for subject := range pair[0].every.All() {
			if !pair[1].every.Has(subject) {
				differ.Insert(subject)
			}
		}
		pair[0].names.Ascend(func(entry nameEntry) bool {
			other, _ := pair[1].names.Get(entry)
			for subject := range entry.subjects.All() {
				if !other.subjects.Has(subject) {
					differ.Insert(subject)
				}
			}
			return true
		})
	}
	if reported := sets.New(change.Subjects...); !differ.Equal(reported) || len(reported) != len(change.Subjects) {
		t.Fatalf("subjects: %v differ, %v reported", differ.UnsortedList(), change.Subjects)
	}
	if len(change.Subjects) == 0 {
		t.Fatal("a change without a difference")
	}
}

// checkNothingLeft holds that the index keeps nothing of what is gone.
func checkNothingLeft(t *rapid.T, index *Index, objects *rbacObjects) {
	if len(objects.roleBindings) == 0 && len(objects.clusterRoleBindings) == 0 {
		for i, a := range index.answers {
			if a.current.names.Len() != 0 || a.current.subjects.Len() != 0 || a.current.every.Len() != 1 || len(a.surplus) > 0 {
				t.Fatalf("question %d keeps grants of bindings that are gone", i)
			}
		}
		for key, r := range index.clusterRoles {
			if len(r.grants) == 0 {
				t.Fatalf("keeps the cluster role %v that grants nothing", key)
			}
		}
	}
	if len(index.roleBindings) > len(objects.roleBindings) || len(index.clusterBindings) > len(objects.clusterRoleBindings) {
		t.Fatal("keeps bindings that are gone")
	}
}
