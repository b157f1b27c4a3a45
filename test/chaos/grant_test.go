// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// everyName stands for all names, those to come included.
	everyName = "*"
	// bound stands for all verbs of a ClusterRole that a RoleBinding names.
	bound = "(bound)"
)

// giver is one life of the object that something is given by.
type giver struct {
	kind, name string
	uid        types.UID
}

func (g giver) String() string { return fmt.Sprintf("%s %s (%s)", g.kind, g.name, g.uid) }

// grant is one thing that somebody may do.
type grant struct {
	giver   giver
	subject rbacv1.Subject
	// namespace is empty for the whole cluster.
	namespace string
	verb      string
	group     string
	resource  string
	name      string
}

func (g grant) String() string {
	by := "somebody"
	if g.giver != (giver{}) {
		by = g.giver.String()
	}
	return fmt.Sprintf("by %s: %s %s may %s %s.%s %s in %q", by, g.subject.Kind, g.subject.Name, g.verb, g.resource, g.group, g.name, g.namespace)
}

// everything returns the grant of which g is a part.
func (g grant) everything() grant {
	g.name = everyName
	return g
}

// byWhomever returns the grant without its giver.
func (g grant) byWhomever() grant {
	g.giver = giver{}
	return g
}

// grants are a set.
type grants map[grant]struct{}

func (s grants) has(g grant) bool {
	_, ok := s[g]
	return ok
}

// minus returns what of s is not in other.
func (s grants) minus(other grants) []grant {
	var rest []grant
	for g := range s {
		if !other.has(g) {
			rest = append(rest, g)
		}
	}
	return rest
}

// describe returns a list in order, a line each, not too many.
func describe(list []grant) string {
	const enough = 20
	slices.SortFunc(list, func(a, b grant) int { return cmp.Compare(a.String(), b.String()) })
	var b strings.Builder
	for i, g := range list {
		if i == enough {
			fmt.Fprintf(&b, "  and %d more\n", len(list)-i)
			break
		}
		fmt.Fprintf(&b, "  %s\n", g)
	}
	return b.String()
}

// giverOf returns whom an object of RBAC says that it was compiled from.
func giverOf(object metav1.Object) giver {
	owner := metav1.GetControllerOfNoCopy(object)
	if owner == nil {
		return giver{}
	}
	return giver{owner.Kind, owner.Name, owner.UID}
}
