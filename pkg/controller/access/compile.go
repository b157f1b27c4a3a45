// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// maxNames is how many names a role holds before another one takes what comes.
const maxNames = 1000

const (
	tenantPrefix = "capsule:tenant:"

	tenantsResource = "tenants"
)

// What operations allow.
var (
	readVerbs   = []string{"get", "list", "watch"}
	getVerbs    = []string{"get"}
	updateVerbs = []string{"update", "patch"}
	deleteVerbs = []string{"delete"}
)

// place is where a role and its binding, which share their name, are: in a
// namespace, or in none, as a ClusterRole.
type place struct{ namespace, name string }

func (p place) compare(o place) int {
	return cmp.Or(cmp.Compare(p.namespace, o.namespace), cmp.Compare(p.name, o.name))
}

// unit is a role and who is bound to it.
type unit struct {
	grants   grants
	subjects sets.Set[rbacv1.Subject]
}

// group is a set of subjects who are given the same.
type group struct {
	// name is the name of its first role. One name always stands for the same
	// requests: what they select may change, not what is asked.
	name     string
	subjects sets.Set[rbacv1.Subject]
	requests []request
	// fixed are grants of names that are known.
	fixed grants
}

// request is for verbs on what is selected of a kind.
type request struct {
	kind      *kind
	selection *selection
	// read are verbs that may be given without names, write are not.
	read, write []string
}

// tenantGroups returns who is given what by a Tenant with these owners and by the
// ProxySettings in its namespaces, and what of it cannot be understood.
func (p policy) tenantGroups(
	t *capsulev1beta2.Tenant, owners []capsulev1beta2.CoreOwnerSpec, settings []capsulev1beta2.ProxySubject,
) ([]group, field.ErrorList) {
	subjects := map[rights]sets.Set[rbacv1.Subject]{}
	var used rights
	for subject, r := range p.subjectRights(t, owners, settings) {
		if subjects[r] == nil {
			subjects[r] = sets.New[rbacv1.Subject]()
		}
		subjects[r].Insert(subject)
		used |= r
	}
	if len(subjects) > bits.OnesCount32(uint32(used)) {
		subjects = separately(subjects)
	}
	var errs field.ErrorList
	selections := map[*kind]*selection{}
	for i := range kinds {
		if k := &kinds[i]; used.anyOf(k.service) {
			s, err := k.selected(t)
			selections[k], errs = s, append(errs, err...)
		}
	}
	groups := make([]group, 0, len(subjects))
	for _, r := range slices.Sorted(maps.Keys(subjects)) {
		groups = append(groups, group{
			name:     tenantPrefix + t.Name + ":" + strconv.FormatUint(uint64(r), 16),
			subjects: subjects[r],
			requests: r.requests(selections),
			fixed:    r.itself(t),
		})
	}
	return groups, errs
}

// separately returns who has each single right. There are never more bindings of a
// Tenant than rights, however many different sets of them ProxySettings give.
func separately(subjects map[rights]sets.Set[rbacv1.Subject]) map[rights]sets.Set[rbacv1.Subject] {
	each := map[rights]sets.Set[rbacv1.Subject]{}
	for all, who := range subjects {
		for ; all != 0; all &= all - 1 {
			r := all & -all
			each[r] = each[r].Union(who)
		}
	}
	return each
}

// requests returns what r asks of each kind, in the order of the kinds.
func (r rights) requests(selections map[*kind]*selection) []request {
	var requests []request
	for i := range kinds {
		k := &kinds[i]
		if !r.anyOf(k.service) {
			continue
		}
		q := request{kind: k, selection: selections[k]}
		if r.has(k.service, capsulev1beta2.ListOperation) {
			q.read = readVerbs
		}
		if r.has(k.service, capsulev1beta2.UpdateOperation) {
			q.write = append(q.write, updateVerbs...)
		}
		if r.has(k.service, capsulev1beta2.DeleteOperation) {
			q.write = append(q.write, deleteVerbs...)
		}
		requests = append(requests, q)
	}
	return requests
}

// itself returns what r allows on the Tenant.
func (r rights) itself(t metav1.Object) grants {
	g := grants{}
	name := names{set: sets.New(t.GetName())}
	switch {
	case r.has(capsulev1beta2.TenantProxy, capsulev1beta2.ListOperation):
		g.add(capsulev1beta2.SchemeGroupVersion.Group, tenantsResource, readVerbs, name)
	case r&getTenant != 0:
		g.add(capsulev1beta2.SchemeGroupVersion.Group, tenantsResource, getVerbs, name)
	}
	return g
}

// object names an object of a kind.
type object struct {
	kind *kind
	name string
}

// units returns the roles of a group, given which names its requests select, in
// their order, in which part of the group's roles names are already, and how many
// names a role may hold.
func (g group) units(selected []names, parts map[object]int, limit int) map[place]unit {
	units := map[place]unit{}
	at := func(namespace string, part int) grants {
		p := place{namespace, g.part(part)}
		if _, ok := units[p]; !ok {
			units[p] = unit{grants: grants{}, subjects: g.subjects}
		}
		return units[p].grants
	}
	maps.Copy(at("", 0), g.fixed)
	partOf := g.assign(selected, parts, limit)
	for i, q := range g.requests {
		if selected[i].all {
			q.grant(at, 0, selected[i])
			continue
		}
		split := map[int]sets.Set[string]{}
		for name := range selected[i].set {
			part := partOf[object{q.kind, name}]
			if split[part] == nil {
				split[part] = sets.New[string]()
			}
			split[part].Insert(name)
		}
		for part, set := range split {
			q.grant(at, part, names{set: set})
		}
	}
	return units
}

// grant adds what q asks for to the roles of a part.
func (q request) grant(at func(namespace string, part int) grants, part int, n names) {
	if n.empty() {
		return
	}
	at("", part).add(q.kind.group, q.kind.resource, q.read, n)
	if len(q.read) > 0 {
		for _, c := range q.kind.companions {
			at(c.namespace, part).add(c.group, c.resource, getVerbs, n)
		}
	}
	if !n.all {
		at("", part).add(q.kind.group, q.kind.resource, q.write, n)
	}
}

// part returns the name of the roles of a part.
func (g group) part(part int) string {
	if part == 0 {
		return g.name
	}
	return g.name + "." + strconv.Itoa(part)
}

// assign returns the part of each selected name: the one that it is in, or the
// first that has room. A name keeps its part, so that no name is without its
// grant while others come and go.
func (g group) assign(selected []names, parts map[object]int, limit int) map[object]int {
	assigned := map[object]int{}
	var fresh []object
	sizes := map[int]int{}
	for i, q := range g.requests {
		for _, name := range sets.List(selected[i].set) {
			o := object{q.kind, name}
			if _, done := assigned[o]; done {
				continue
			}
			part, known := parts[o]
			if !known {
				fresh = append(fresh, o)
				continue
			}
			assigned[o] = part
			sizes[part]++
		}
	}
	part := 0
	for _, o := range fresh {
		if _, done := assigned[o]; done {
			continue
		}
		for sizes[part] >= limit {
			part++
		}
		assigned[o] = part
		sizes[part]++
	}
	return assigned
}

// partsIn returns in which part of the group's roles names are.
func (g group) partsIn(present map[place]state) map[object]int {
	parts := map[object]int{}
	for at, s := range present {
		part, ok := g.partNumber(at)
		if !ok || s.role == nil {
			continue
		}
		for _, q := range g.requests {
			for p, n := range *s.role {
				if p.group == q.kind.group && p.resource == q.kind.resource {
					for name := range n.set {
						parts[object{q.kind, name}] = part
					}
				}
			}
		}
	}
	return parts
}

// partNumber is the inverse of part.
func (g group) partNumber(at place) (int, bool) {
	if at.namespace != "" {
		return 0, false
	}
	if at.name == g.name {
		return 0, true
	}
	suffix, ok := strings.CutPrefix(at.name, g.name+".")
	if !ok {
		return 0, false
	}
	part, err := strconv.Atoi(suffix)
	return part, err == nil && part > 0
}
