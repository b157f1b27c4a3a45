// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"pgregory.net/rapid"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
)

// held is one thing that a subject may do. The name is * for every object.
type held struct {
	subject    rbacv1.Subject
	namespace  string
	permission permission
	name       string
}

// rbacState is what RBAC says at some time, as plan sees it.
type rbacState map[place]state

// do makes a step, as the API server would.
func (c rbacState) do(t *rapid.T, s step) {
	present := c[s.at]
	switch {
	case s.removeBinding:
		require.NotNil(t, present.binding, "%s: there is none", s)
		present.binding = nil
	case s.removeRole:
		require.NotNil(t, present.role, "%s: there is none", s)
		present.role = nil
	case s.subjects != nil:
		present.binding, present.bindingDrifted = s.subjects.Clone(), false
	default:
		g := maps.Clone(s.grants)
		present.role, present.roleDrifted = &g, false
	}
	if present.role == nil && present.binding == nil {
		delete(c, s.at)
		return
	}
	c[s.at] = present
}

// held returns what subjects hold.
func (c rbacState) held() sets.Set[held] {
	all := sets.New[held]()
	for at, s := range c {
		if s.role == nil {
			continue
		}
		for subject := range s.binding {
			for p, n := range *s.role {
				if n.all {
					all.Insert(held{subject, at.namespace, p, "*"})
				}
				for name := range n.set {
					all.Insert(held{subject, at.namespace, p, name})
				}
			}
		}
	}
	return all
}

// beyond returns what of a is not in b, where * holds every name.
func beyond(a, b sets.Set[held]) []held {
	var more []held
	for h := range a {
		everything := h
		everything.name = "*"
		if !b.Has(h) && !b.Has(everything) {
			more = append(more, h)
		}
	}
	return more
}

// world is a Tenant with the objects and ProxySettings around it.
type world struct {
	tenant   *capsulev1beta2.Tenant
	settings []capsulev1beta2.ProxySubject
	objects  map[*kind][]metav1.ObjectMeta
	policy   policy
	// sources are what makes owners besides the Tenant.
	sources tenant.Sources
}

func (w world) owners() []capsulev1beta2.CoreOwnerSpec { return tenant.Owners(w.tenant, w.sources) }

// groups returns who is given what, and which names are selected.
func (w world) groups() ([]group, [][]names) {
	groups, _ := w.policy.tenantGroups(w.tenant, w.owners(), w.settings)
	selected := make([][]names, len(groups))
	for i, g := range groups {
		for _, q := range g.requests {
			n := names{all: q.selection.all, set: sets.New[string]()}
			for j := range w.objects[q.kind] {
				if object := &w.objects[q.kind][j]; !n.all && q.selection.selects(object) {
					n.set.Insert(object.Name)
				}
			}
			selected[i] = append(selected[i], n)
		}
	}
	return groups, selected
}

// wanted returns the units that the world compiles to, beside what is present.
func (w world) wanted(present rbacState, limit int) map[place]unit {
	units := map[place]unit{}
	groups, selected := w.groups()
	for i, g := range groups {
		maps.Copy(units, g.units(selected[i], g.partsIn(present), limit))
	}
	return units
}

func clusterOf(units map[place]unit) rbacState {
	c := rbacState{}
	for at, u := range units {
		g := maps.Clone(u.grants)
		c[at] = state{role: &g, binding: u.subjects.Clone()}
	}
	return c
}

var (
	drawSubject = rapid.Custom(func(t *rapid.T) capsulev1beta2.UserSpec {
		kind := rapid.SampledFrom([]capsulev1beta2.OwnerKind{capsulev1beta2.UserOwner, capsulev1beta2.GroupOwner, capsulev1beta2.ServiceAccountOwner}).Draw(t, "kind")
		name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
		if kind == capsulev1beta2.ServiceAccountOwner {
			name = "system:serviceaccount:ns:" + name
		}
		return capsulev1beta2.UserSpec{Kind: kind, Name: name}
	})
	drawSettings = rapid.Custom(func(t *rapid.T) []capsulev1beta2.ProxyOperations {
		return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) capsulev1beta2.ProxyOperations {
			return capsulev1beta2.ProxyOperations{
				Kind:       rapid.SampledFrom(services[:]).Draw(t, "service"),
				Operations: rapid.SliceOfN(rapid.SampledFrom(operations[:]), 1, 3).Draw(t, "operations"),
			}
		}), 0, 3).Draw(t, "settings")
	})
	drawAllowed = rapid.Custom(func(t *rapid.T) *capsulev1beta2.DefaultAllowedList {
		if rapid.IntRange(0, 3).Draw(t, "unrestricted") == 0 {
			return nil
		}
		list := &capsulev1beta2.DefaultAllowedList{}
		list.Allowed = rapid.SliceOfN(drawName, 0, 3).Draw(t, "allowed")
		list.AllowedRegex = rapid.SampledFrom([]string{"", "[abc]", "^d", "("}).Draw(t, "regex")
		list.Default = rapid.SampledFrom([]string{"", "e"}).Draw(t, "default")
		if rapid.Bool().Draw(t, "selects") {
			list.MatchLabels = drawLabels.Draw(t, "matchLabels")
		}
		return list
	})
	drawName   = rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"})
	drawLabels = rapid.MapOfN(rapid.SampledFrom([]string{"k", "l"}), rapid.SampledFrom([]string{"v", "w"}), 0, 2)
)

// drawWorld returns a Tenant oil in some world.
func drawWorld(t *rapid.T) world {
	oil := &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "oil", UID: "oil"}}
	for range rapid.IntRange(0, 3).Draw(t, "owners") {
		o := capsulev1beta2.OwnerSpec{ProxySettings: drawSettings.Draw(t, "owner's settings")}
		o.UserSpec = drawSubject.Draw(t, "owner")
		oil.Spec.Owners = append(oil.Spec.Owners, o)
	}
	if rapid.Bool().Draw(t, "selects nodes") {
		oil.Spec.NodeSelector = drawLabels.Draw(t, "nodeSelector")
	}
	oil.Spec.StorageClasses = drawAllowed.Draw(t, "storage")
	oil.Spec.PriorityClasses = drawAllowed.Draw(t, "priority")
	w := world{tenant: oil, objects: map[*kind][]metav1.ObjectMeta{}, policy: policy{writeOperations: rapid.Bool().Draw(t, "write")}}
	for range rapid.IntRange(0, 2).Draw(t, "TenantOwners") {
		o := &capsulev1beta2.TenantOwner{}
		o.Labels = map[string]string{capsulev1beta2.ManagedTenantLabel: rapid.SampledFrom([]string{"oil", "gas"}).Draw(t, "of")}
		o.Spec.UserSpec = drawSubject.Draw(t, "TenantOwner")
		w.sources.TenantOwners = append(w.sources.TenantOwners, o)
	}
	w.sources.Config = &capsulev1beta2.CapsuleConfigurationSpec{Administrators: rapid.SliceOfN(drawSubject, 0, 2).Draw(t, "administrators")}
	for range rapid.IntRange(0, 2).Draw(t, "proxysettings") {
		s := capsulev1beta2.ProxySubject{ProxySettings: drawSettings.Draw(t, "settings")}
		s.UserSpec = drawSubject.Draw(t, "subject")
		w.settings = append(w.settings, s)
	}
	for i := range kinds {
		for _, name := range rapid.SliceOfNDistinct(drawName, 0, 6, rapid.ID).Draw(t, "objects") {
			labels := drawLabels.Draw(t, "labels")
			if kinds[i].service == capsulev1beta2.PersistentVolumesProxy {
				labels[capsulev1beta2.TenantLabel] = rapid.SampledFrom([]string{"oil", "gas"}).Draw(t, "tenant")
			}
			w.objects[&kinds[i]] = append(w.objects[&kinds[i]], metav1.ObjectMeta{Name: name, Labels: labels})
		}
	}
	return w
}

// TestPlan changes Tenants and the world around them, again and again, with the
// writer dying at any step.
func TestPlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.SampledFrom([]int{2, 5, maxNames}).Draw(t, "limit")
		present := rbacState{}
		consistent := true
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			w := drawWorld(t)
			wanted := w.wanted(present, limit)
			before, after := present.held(), clusterOf(wanted).held()
			given := before.Union(after)
			steps := plan(maps.Clone(present), wanted)
			lives := len(steps)
			if rapid.Bool().Draw(t, "dies") {
				lives = rapid.IntRange(0, len(steps)).Draw(t, "after")
			}
			for i, s := range steps[:lives] {
				present.do(t, s)
				now := present.held()
				if more := beyond(now, given); len(more) > 0 {
					t.Fatalf("after step %d of %v somebody holds what neither state gives: %v", i, steps, more)
				}
				if lost := beyond(common(before, after), now); consistent && len(lost) > 0 {
					t.Fatalf("after step %d of %v somebody lost what both states give: %v", i, steps, lost)
				}
			}
			consistent = lives == len(steps)
			if consistent {
				if diff := cmp.Diff(clusterOf(wanted).describe(), present.describe()); diff != "" {
					t.Fatalf("after all steps (-want +got):\n%s", diff)
				}
				if again := plan(maps.Clone(present), w.wanted(present, limit)); len(again) > 0 {
					t.Fatalf("what is right is written again: %v", again)
				}
			}
		}
	})
}

// common returns what both hold, where * holds every name.
func common(a, b sets.Set[held]) sets.Set[held] {
	both := sets.New[held]()
	for _, pair := range [][2]sets.Set[held]{{a, b}, {b, a}} {
		for h := range pair[0] {
			if len(beyond(sets.New(h), pair[1])) == 0 {
				both.Insert(h)
			}
		}
	}
	return both
}

// describe returns c as text that can be compared.
func (c rbacState) describe() map[string]string {
	d := map[string]string{}
	for at, s := range c {
		var subjects []string
		for subject := range s.binding {
			subjects = append(subjects, subject.String())
		}
		slices.Sort(subjects)
		rules := "none"
		if s.role != nil {
			rules = fmt.Sprint(s.role.rules())
		}
		d[at.namespace+"/"+at.name] = rules + " to " + strings.Join(subjects, ", ")
	}
	return d
}

func TestPlanIsOneWriteForAPureChange(t *testing.T) {
	alice := rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "alice"}
	bob := rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "bob"}
	at := place{name: "capsule:tenant:oil:1"}
	one := func(subjects []rbacv1.Subject, nodes ...string) map[place]unit {
		g := grants{}
		g.add("", "nodes", readVerbs, names{set: sets.New(nodes...)})
		return map[place]unit{at: {grants: g, subjects: sets.New(subjects...)}}
	}
	for name, tc := range map[string]struct {
		from, to map[place]unit
		want     []string
	}{
		"nothing": {
			from: one([]rbacv1.Subject{alice}, "a"), to: one([]rbacv1.Subject{alice}, "a"),
		},
		"a name comes": {
			from: one([]rbacv1.Subject{alice}, "a"), to: one([]rbacv1.Subject{alice}, "a", "b"),
			want: []string{"ClusterRole capsule:tenant:oil:1"},
		},
		"a name goes": {
			from: one([]rbacv1.Subject{alice}, "a", "b"), to: one([]rbacv1.Subject{alice}, "a"),
			want: []string{"ClusterRole capsule:tenant:oil:1"},
		},
		"a subject comes": {
			from: one([]rbacv1.Subject{alice}, "a"), to: one([]rbacv1.Subject{alice, bob}, "a"),
			want: []string{"ClusterRoleBinding capsule:tenant:oil:1"},
		},
		"a subject goes": {
			from: one([]rbacv1.Subject{alice, bob}, "a"), to: one([]rbacv1.Subject{alice}, "a"),
			want: []string{"ClusterRoleBinding capsule:tenant:oil:1"},
		},
		"all comes: role before binding": {
			to:   one([]rbacv1.Subject{alice}, "a"),
			want: []string{"ClusterRole capsule:tenant:oil:1", "ClusterRoleBinding capsule:tenant:oil:1"},
		},
		"all goes: binding before role": {
			from: one([]rbacv1.Subject{alice}, "a"),
			want: []string{"deletion of ClusterRoleBinding capsule:tenant:oil:1", "deletion of ClusterRole capsule:tenant:oil:1"},
		},
		"another subject and another name: nobody holds both": {
			from: one([]rbacv1.Subject{alice}, "a", "c"), to: one([]rbacv1.Subject{bob}, "b", "c"),
			want: []string{
				"ClusterRole capsule:tenant:oil:1",        // without a
				"ClusterRoleBinding capsule:tenant:oil:1", // with bob
				"ClusterRoleBinding capsule:tenant:oil:1", // without alice
				"ClusterRole capsule:tenant:oil:1",        // with b
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, s := range plan(clusterOf(tc.from), tc.to) {
				got = append(got, s.String())
			}
			assert.Equal(t, tc.want, got)
		})
	}
}
