// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
)

// TestChange compares what one event changes for get of namespaces, and what
// alice and bob may get by name afterwards.
func TestChange(t *testing.T) {
	t.Parallel()
	alice, bob := userSubject("alice"), userSubject("bob")
	admin := clusterRole("admin", getRule("namespaces"))
	type want struct {
		Names, Subjects []string
		// None says that there must be no change and no other snapshot.
		None       bool
		Alice, Bob []string
	}
	tests := map[string]struct {
		given []any
		event func(*Index)
		want  want
	}{
		"grant": {
			given: []any{admin},
			event: func(x *Index) { apply(x, roleBinding("n", "b", "ClusterRole/admin", alice, alice)) },
			want:  want{Names: []string{"n"}, Subjects: []string{"User alice"}, Alice: []string{"n"}},
		},
		"revocation": {
			given: []any{admin, roleBinding("n", "b", "ClusterRole/admin", alice)},
			event: func(x *Index) { remove(x, roleBinding("n", "b", "ClusterRole/admin", alice)) },
			want:  want{Names: []string{"n"}, Subjects: []string{"User alice"}},
		},
		"one of two bindings goes": {
			given: []any{admin, roleBinding("n", "b", "ClusterRole/admin", alice), roleBinding("n", "c", "ClusterRole/admin", alice)},
			event: func(x *Index) { remove(x, roleBinding("n", "b", "ClusterRole/admin")) },
			want:  want{None: true, Alice: []string{"n"}},
		},
		"one of two kinds of bindings goes": {
			given: []any{
				admin, roleBinding("n", "b", "ClusterRole/admin", alice),
				clusterRole("named", getRule("namespaces", "n")), clusterRoleBinding("c", "ClusterRole/named", alice),
			},
			event: func(x *Index) { remove(x, clusterRoleBinding("c", "")) },
			want:  want{None: true, Alice: []string{"n"}},
		},
		"both bindings go at once": {
			given: []any{admin, roleBinding("n", "b", "ClusterRole/admin", alice), roleBinding("n", "c", "ClusterRole/admin", alice, bob)},
			event: func(x *Index) { x.roleBindingSink().Replace(nil, "1") },
			want:  want{Names: []string{"n"}, Subjects: []string{"User alice", "User bob"}},
		},
		"a binding takes another's place": {
			given: []any{admin, roleBinding("n", "b", "ClusterRole/admin", alice)},
			event: func(x *Index) {
				x.roleBindingSink().Replace([]*rbacv1.RoleBinding{roleBinding("n", "c", "ClusterRole/admin", alice)}, "1")
			},
			want: want{None: true, Alice: []string{"n"}},
		},
		"role appears after its bindings": {
			given: []any{roleBinding("n", "b", "ClusterRole/admin", alice), roleBinding("m", "b", "ClusterRole/admin", alice, bob)},
			event: func(x *Index) { apply(x, admin) },
			want:  want{Names: []string{"m", "n"}, Subjects: []string{"User alice", "User bob"}, Alice: []string{"m", "n"}, Bob: []string{"m"}},
		},
		"role goes before its bindings": {
			given: []any{admin, roleBinding("n", "b", "ClusterRole/admin", alice), roleBinding("m", "b", "ClusterRole/admin", alice, bob)},
			event: func(x *Index) { remove(x, admin) },
			want:  want{Names: []string{"m", "n"}, Subjects: []string{"User alice", "User bob"}},
		},
		"binding to a missing role": {
			event: func(x *Index) { apply(x, roleBinding("n", "b", "ClusterRole/admin", alice)) },
			want:  want{None: true},
		},
		"kind Role in a ClusterRoleBinding": {
			given: []any{roleIn("n", getRule("namespaces")), clusterRole("r", getRule("namespaces"))},
			event: func(x *Index) { apply(x, clusterRoleBinding("b", "Role/r", alice)) },
			want:  want{None: true},
		},
		"role of another namespace": {
			given: []any{roleIn("m", getRule("namespaces"))},
			event: func(x *Index) { apply(x, roleBinding("n", "b", "Role/r", alice)) },
			want:  want{None: true},
		},
		"role of unknown kind": {
			given: []any{admin},
			event: func(x *Index) { apply(x, roleBinding("n", "b", "Clusterrole/admin", alice)) },
			want:  want{None: true},
		},
		"role of its namespace": {
			given: []any{roleIn("n", getRule("namespaces"))},
			event: func(x *Index) { apply(x, roleBinding("n", "b", "Role/r", alice)) },
			want:  want{Names: []string{"n"}, Subjects: []string{"User alice"}, Alice: []string{"n"}},
		},
		"role changes and grants the same": {
			given: []any{admin, roleBinding("n", "b", "ClusterRole/admin", alice)},
			event: func(x *Index) {
				apply(x, clusterRole("admin", getRule("pods"), getRule("namespaces", "n"), getRule("namespaces")))
			},
			want: want{None: true, Alice: []string{"n"}},
		},
		"role changes and grants the same of the namespace": {
			given: []any{admin, roleBinding("n", "b", "ClusterRole/admin", alice)},
			event: func(x *Index) { apply(x, clusterRole("admin", getRule("namespaces", "m", "n"))) },
			want:  want{None: true, Alice: []string{"n"}},
		},
		"role changes for another question": {
			given: []any{admin, roleBinding("n", "b", "ClusterRole/admin", alice)},
			event: func(x *Index) { apply(x, clusterRole("admin", getRule("namespaces"), getRule("nodes"))) },
			want:  want{None: true, Alice: []string{"n"}},
		},
		"resourceNames that hold the namespace": {
			given: []any{roleIn("n", getRule("namespaces", "m", "n"))},
			event: func(x *Index) { apply(x, roleBinding("n", "b", "Role/r", alice)) },
			want:  want{Names: []string{"n"}, Subjects: []string{"User alice"}, Alice: []string{"n"}},
		},
		"resourceNames without the namespace": {
			given: []any{roleIn("n", getRule("namespaces", "m", "o"))},
			event: func(x *Index) { apply(x, roleBinding("n", "b", "Role/r", alice)) },
			want:  want{None: true},
		},
		"resourceNames come to hold the namespace": {
			given: []any{roleIn("n", getRule("namespaces", "m")), roleBinding("n", "b", "Role/r", alice)},
			event: func(x *Index) { apply(x, roleIn("n", getRule("namespaces", "n"))) },
			want:  want{Names: []string{"n"}, Subjects: []string{"User alice"}, Alice: []string{"n"}},
		},
		"names of a ClusterRoleBinding": {
			given: []any{clusterRole("r", getRule("namespaces", "a", "b")), clusterRoleBinding("b", "ClusterRole/r", alice)},
			event: func(x *Index) { apply(x, clusterRole("r", getRule("namespaces", "b", "c"))) },
			want:  want{Names: []string{"a", "c"}, Subjects: []string{"User alice"}, Alice: []string{"b", "c"}},
		},
		"names become every": {
			given: []any{clusterRole("r", getRule("namespaces", "a", "b")), clusterRoleBinding("b", "ClusterRole/r", bob, alice)},
			event: func(x *Index) { apply(x, clusterRole("r", getRule("namespaces"))) },
			want:  want{Names: []string{"a", "b"}, Subjects: []string{"User alice", "User bob"}},
		},
		"every becomes names": {
			given: []any{clusterRole("r", getRule("namespaces")), clusterRoleBinding("b", "ClusterRole/r", alice)},
			event: func(x *Index) { apply(x, clusterRole("r", getRule("namespaces", "a"))) },
			want:  want{Names: []string{"a"}, Subjects: []string{"User alice"}, Alice: []string{"a"}},
		},
		"every, from two bindings": {
			given: []any{admin, clusterRoleBinding("b", "ClusterRole/admin", alice), clusterRoleBinding("c", "ClusterRole/admin", alice)},
			event: func(x *Index) { remove(x, clusterRoleBinding("b", "")) },
			want:  want{None: true},
		},
		"system:masters keeps what it has": {
			given: []any{admin, clusterRoleBinding("b", "ClusterRole/admin", groupSubject("system:masters"))},
			event: func(x *Index) { remove(x, clusterRoleBinding("b", "")) },
			want:  want{None: true},
		},
		"subject renamed": {
			given: []any{admin, roleBinding("n", "b", "ClusterRole/admin", alice)},
			event: func(x *Index) { apply(x, roleBinding("n", "b", "ClusterRole/admin", bob)) },
			want:  want{Names: []string{"n"}, Subjects: []string{"User alice", "User bob"}, Bob: []string{"n"}},
		},
		"subjects in another order": {
			given: []any{admin, roleBinding("n", "b", "ClusterRole/admin", alice, bob)},
			event: func(x *Index) { apply(x, roleBinding("n", "b", "ClusterRole/admin", bob, alice, bob)) },
			want:  want{None: true, Alice: []string{"n"}, Bob: []string{"n"}},
		},
		"binding to another role": {
			given: []any{admin, clusterRole("none", getRule("pods")), roleBinding("n", "b", "ClusterRole/admin", alice)},
			event: func(x *Index) { apply(x, roleBinding("n", "b", "ClusterRole/none", alice)) },
			want:  want{Names: []string{"n"}, Subjects: []string{"User alice"}},
		},
		"deletion of what never was": {
			given: []any{admin},
			event: func(x *Index) { remove(x, roleBinding("n", "b", "ClusterRole/admin", alice), clusterRole("r")) },
			want:  want{None: true},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			index := NewIndex(questions...)
			apply(index, tt.given...)
			before := index.Snapshot(getNamespaces)
			var changes []Change
			index.Subscribe(getNamespaces, func(c Change) { changes = append(changes, c) })
			tt.event(index)

			after := index.Snapshot(getNamespaces)
			got := want{None: before == after, Alice: names(after, "alice"), Bob: names(after, "bob")}
			for _, c := range changes {
				got.Names = append(got.Names, c.Names...)
				got.Subjects = append(got.Subjects, slices.Sorted(slices.Values(texts(c.Subjects)))...)
				if c.Before != before || c.After != after {
					t.Error("the change is not from what was to what is")
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("change (-want +got):\n%s", diff)
			}
			if wantChanges := map[bool]int{false: 1}[tt.want.None]; len(changes) != wantChanges {
				t.Errorf("%d changes, want %d", len(changes), wantChanges)
			}
		})
	}
}

// RoleBindings say nothing of what is cluster-scoped, but for namespaces.
func TestRoleBindingsGrantNamespacesOnly(t *testing.T) {
	t.Parallel()
	index := NewIndex(questions...)
	for _, question := range []Question{getNodes, listViews} {
		index.Subscribe(question, func(c Change) { t.Errorf("%s: %v", question.Resource, c.Names) })
	}
	all := rbacv1.PolicyRule{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}
	apply(index, clusterRole("all", all), roleBinding("n", "b", "ClusterRole/all", userSubject("alice")))
	if diff := cmp.Diff([]string{"n"}, names(index.Snapshot(getNamespaces), "alice")); diff != "" {
		t.Errorf("namespaces (-want +got):\n%s", diff)
	}
}

func TestAudience(t *testing.T) {
	t.Parallel()
	index := NewIndex(questions...)
	apply(index,
		clusterRole("admin", getRule("namespaces")),
		roleBinding("n", "b", "ClusterRole/admin", userSubject("alice"), groupSubject("dev")),
		clusterRoleBinding("b", "ClusterRole/admin", groupSubject("dev")),
	)
	s := index.Snapshot(getNamespaces)
	for name, want := range map[string][]string{
		"n": {"Group dev", "Group system:masters", "User alice", "Group dev"}, // dev by both
		"m": {"Group dev", "Group system:masters"},
	} {
		if diff := cmp.Diff(want, texts(slices.Collect(s.Audience(name)))); diff != "" {
			t.Errorf("audience of %s (-want +got):\n%s", name, diff)
		}
		for range s.Audience(name) {
			break // may be left early
		}
	}
	if s.every.Len() != 2 || (*Set)(nil).Len() != 0 || (*Set)(nil).Has(NewUser("alice")) || (*Set)(nil).HasAny([]Subject{NewUser("alice")}) {
		t.Error("sets")
	}
}

func TestUnknownQuestion(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("an answer to a question that was not asked")
		}
	}()
	NewIndex(getNodes).Snapshot(getNamespaces)
}
