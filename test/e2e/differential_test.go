// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

var (
	edits = flag.Int("edits", 100, "how many random edits of RBAC the differential test makes")
	seed  = flag.Uint64("seed", 0, "seed of the differential test; 0 for a random one")
)

const (
	// Objects of every kind bear the same names, so that a rule that speaks of
	// several kinds, or a RoleBinding in the namespace of that name, could show them.
	differentialNamespaces = 24
	differentialObjects    = 7
	initialEdits           = 200
)

// identity is a user as requests and reviews name it.
type identity struct {
	user string
	// groups are those that impersonation sets; the API server adds others.
	groups []string
	// all are the groups of the user that the API server makes of it.
	all []string
}

func identities() []identity {
	var ids []identity
	for i := range 14 {
		var groups []string
		for g := range 8 {
			if (i>>(g%4))&1 == 1 && (i+g)%3 == 0 {
				groups = append(groups, fmt.Sprintf("group-%d", g))
			}
		}
		ids = append(ids, identity{
			user: fmt.Sprintf("user-%d", i), groups: groups,
			all: append(slices.Clone(groups), "system:authenticated"),
		})
	}
	for g := range 8 { // nobody but a member of one group
		groups := []string{fmt.Sprintf("group-%d", g)}
		ids = append(ids, identity{user: fmt.Sprintf("member-%d", g), groups: groups, all: append(slices.Clone(groups), "system:authenticated")})
	}
	for i := range 8 {
		ns := differentialName(i % 4)
		ids = append(ids, identity{
			user: fmt.Sprintf("system:serviceaccount:%s:sa-%d", ns, i),
			all:  []string{"system:serviceaccounts", "system:serviceaccounts:" + ns, "system:authenticated"},
		})
	}
	return ids
}

func differentialName(i int) string { return fmt.Sprintf("diff-%02d", i) }

// TestListEqualsSubjectAccessReview makes random edits of RBAC and holds, after
// each, that for every user the views list exactly the objects that a
// SubjectAccessReview says the user may get. What costs are the reviews: an edit
// is followed by those of the kinds that its rules speak of, and of another one,
// by turns; the last by all.
func TestListEqualsSubjectAccessReview(t *testing.T) {
	d := newDifferential(t)
	// A cluster in which something is granted already: most edits then matter.
	for range initialEdits {
		d.edit(t)
	}
	d.compare(t, "before the first edit", d.kinds)
	made := 0
	// Edits that grant nothing to anybody would let the test pass: some have to
	// change what somebody may get of each kind, for which chance may need some more.
	for ; made < *edits || len(d.ineffective()) > 0 && made < 3**edits; made++ {
		what, rules := d.edit(t)
		concerned := d.concerned(rules)
		if other := d.kinds[made%len(d.kinds)]; !slices.Contains(concerned, other) {
			concerned = append(concerned, other)
		}
		d.compare(t, fmt.Sprintf("after edit %d, %s", made, what), concerned)
	}
	d.compare(t, "in the end", d.kinds)
	for _, k := range d.kinds {
		t.Logf("%s: %d comparisons, %d of them found changes; %d reviews, %d lists, %d gets", k, k.comparisons, k.effective, k.reviews, k.lists, k.gets)
	}
	t.Logf("seed %d: %d edits; %s of edits, %s of comparisons", d.seed, made, d.editing.Round(time.Second), d.comparing.Round(time.Second))
	require.Empty(t, d.ineffective(), "too few edits changed anything")
}

type differential struct {
	seed       uint64
	random     *rand.Rand
	admin      kubernetes.Interface
	identities []identity
	kinds      []*comparedKind

	editing, comparing time.Duration
}

// comparedKind is a kind with what the comparisons of it found.
type comparedKind struct {
	kind
	objects int                          // how many names of the test there are
	stored  metadata.ResourceInterface   // the native resource
	views   []metadata.ResourceInterface // one for each identity
	last    access

	comparisons, effective, reviews, lists, gets int
}

func newDifferential(t *testing.T) *differential {
	t.Helper()
	config := system.AdminConfig(t)
	config.ContentType = runtime.ContentTypeProtobuf
	admin, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	d := &differential{seed: *seed, admin: admin, identities: identities()}
	if d.seed == 0 {
		d.seed = rand.Uint64()
	}
	t.Logf("seed %d", d.seed)
	d.random = rand.New(rand.NewPCG(d.seed, 0))
	native, err := metadata.NewForConfig(system.AdminConfig(t))
	require.NoError(t, err)
	for _, k := range kinds() {
		compared := &comparedKind{kind: k, objects: differentialObjects, stored: native.Resource(k.native)}
		if k.String() == "namespaces" {
			compared.objects = differentialNamespaces
		}
		d.kinds = append(d.kinds, compared)
	}
	for _, id := range d.identities {
		config := rest.CopyConfig(system.AdminConfig(t))
		config.Impersonate.UserName = id.user
		config.Impersonate.Groups = id.groups
		client, err := metadata.NewForConfig(config)
		require.NoError(t, err)
		for _, k := range d.kinds {
			k.views = append(k.views, client.Resource(k.view))
		}
	}
	t.Cleanup(func() { d.cleanUp(context.WithoutCancel(t.Context())) })
	for _, k := range d.kinds {
		for i := range k.objects {
			_, err := k.client(t).Create(t.Context(), k.object(differentialName(i), nil), metav1.CreateOptions{})
			require.NoError(t, err)
		}
	}
	return d
}

// concerned returns the kinds that rules may show: those that they name, be it by
// a subresource, of whatever group.
func (d *differential) concerned(rules []rbacv1.PolicyRule) []*comparedKind {
	return slices.DeleteFunc(slices.Clone(d.kinds), func(k *comparedKind) bool {
		return !slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool {
			every := slices.Contains(rule.APIGroups, k.native.Group) || slices.Contains(rule.APIGroups, rbacv1.APIGroupAll)
			return slices.ContainsFunc(rule.Resources, func(resource string) bool {
				return resource == k.String() || resource == k.String()+"/status" || resource == rbacv1.ResourceAll && every
			})
		})
	})
}

// ineffective returns the kinds of which too few comparisons found changes.
func (d *differential) ineffective() []*comparedKind {
	return slices.DeleteFunc(slices.Clone(d.kinds), func(k *comparedKind) bool {
		least := *edits / 25
		if k.String() == "namespaces" {
			least = *edits / 10
		}
		return k.effective > least
	})
}

func (d *differential) cleanUp(ctx context.Context) {
	rbac := d.admin.RbacV1()
	selector := metav1.ListOptions{LabelSelector: differentialLabel}
	_ = rbac.ClusterRoleBindings().DeleteCollection(ctx, metav1.DeleteOptions{}, selector)
	_ = rbac.ClusterRoles().DeleteCollection(ctx, metav1.DeleteOptions{}, selector)
	for _, k := range d.kinds {
		for i := range k.objects {
			_ = k.stored.Delete(ctx, differentialName(i), metav1.DeleteOptions{})
		}
	}
}

// pick returns a random element.
func pick[T any](d *differential, from ...T) T { return from[d.random.IntN(len(from))] }

// some returns between least and most random, distinct elements.
func some(d *differential, least, most int, from ...string) []string {
	chosen := sets.New[string]()
	for range least + d.random.IntN(most-least+1) {
		chosen.Insert(pick(d, from...))
	}
	return sets.List(chosen)
}
