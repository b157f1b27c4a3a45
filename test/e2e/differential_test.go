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

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	tenancy "tenancy.capsule.io/generated/clientset/versioned"
)

var (
	edits = flag.Int("edits", 100, "how many random edits of RBAC the differential test makes")
	seed  = flag.Uint64("seed", 0, "seed of the differential test; 0 for a random one")
)

const (
	differentialNamespaces = 41
	initialEdits           = 150
	// settleWithin is how long the API server and the view may disagree after an
	// edit: both follow RBAC by watches of their own.
	settleWithin = 10 * time.Second
	// parallelReviews is how many requests are in flight.
	parallelReviews = 24
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
		ns := namespaceName(i % 4)
		ids = append(ids, identity{
			user: fmt.Sprintf("system:serviceaccount:%s:sa-%d", ns, i),
			all:  []string{"system:serviceaccounts", "system:serviceaccounts:" + ns, "system:authenticated"},
		})
	}
	return ids
}

func namespaceName(i int) string { return fmt.Sprintf("diff-%02d", i) }

// TestListEqualsSubjectAccessReview makes random edits of RBAC and holds, after
// each, that for every user the view lists exactly the namespaces that a
// SubjectAccessReview says the user may get.
func TestListEqualsSubjectAccessReview(t *testing.T) {
	d := newDifferential(t)
	// A cluster in which something is granted already: most edits then matter.
	for range initialEdits {
		d.edit(t)
	}
	before := d.compare(t, "before the first edit")
	effective := 0
	// Edits that grant nothing to anybody would let the test pass: at least a fifth
	// has to change something, for which chance may need some more.
	for i := 0; i < *edits || effective <= *edits/5 && i < 3**edits; i++ {
		what := d.edit(t)
		after := d.compare(t, fmt.Sprintf("after edit %d, %s", i, what))
		if !cmp.Equal(before, after) {
			effective++
		}
		before = after
	}
	t.Logf("seed %d: at least %d edits, %d of them changed what somebody may get, %d reviews, %d lists, 0 differences in the end; %s of edits, %s of comparisons",
		d.seed, *edits, effective, d.reviews, d.lists, d.editing.Round(time.Second), d.comparing.Round(time.Second))
	require.Greater(t, effective, *edits/5, "too few edits changed anything")
}

type differential struct {
	seed       uint64
	random     *rand.Rand
	admin      kubernetes.Interface
	identities []identity
	views      []tenancy.Interface // one for each identity
	reviews    int
	lists      int

	editing, comparing time.Duration
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
	for _, id := range d.identities {
		config := system.AdminConfig(t)
		config.Impersonate.UserName = id.user
		config.Impersonate.Groups = id.groups
		client, err := tenancy.NewForConfig(config)
		require.NoError(t, err)
		d.views = append(d.views, client)
	}
	for i := range differentialNamespaces {
		d.createNamespace(t, namespaceName(i))
	}
	t.Cleanup(func() { d.cleanUp(context.WithoutCancel(t.Context())) })
	return d
}

func (d *differential) createNamespace(t *testing.T, name string) {
	t.Helper()
	_, err := d.admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	require.NoError(t, err)
}

// access is, by user, the sorted names of the namespaces that it may get.
type access map[string][]string

// compare asks for every user what a review allows and what the view lists, and
// asks again where they differ, until they agree or it has taken too long.
func (d *differential) compare(t *testing.T, when string) access {
	t.Helper()
	start := time.Now()
	defer func() { d.comparing += time.Since(start) }()
	result := access{}
	open := make([]int, len(d.identities))
	for i := range open {
		open[i] = i
	}
	var diff string
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, settleWithin, true, func(ctx context.Context) (bool, error) {
		names, err := d.existing(ctx)
		if err != nil {
			return false, err
		}
		reviews, err := d.review(ctx, open, names)
		if err != nil {
			return false, err
		}
		var still []int
		for n, i := range open {
			id, allowed := d.identities[i], reviews[n]
			listed, err := d.list(ctx, i)
			if err != nil {
				return false, err
			}
			if diff = cmp.Diff(allowed, listed); diff != "" {
				diff = fmt.Sprintf("%s of %v (-allowed +listed):\n%s", id.user, id.groups, diff)
				still = append(still, i)
				continue
			}
			result[id.user] = allowed
		}
		open = still
		return len(open) == 0, nil
	})
	require.NoError(t, err, "%s: seed %d: %s", when, d.seed, diff)
	d.compareGets(t, result, when)
	return result
}

func (d *differential) existing(ctx context.Context) ([]string, error) {
	list, err := d.admin.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names, nil
}

// review returns, for each of the users, which names a review allows it to get:
// for the namespace N it names N twice, as the API server does when it authorizes
// the request.
func (d *differential) review(ctx context.Context, users []int, names []string) ([][]string, error) {
	allowed := make([]bool, len(users)*len(names))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelReviews)
	for n := range allowed {
		id, name := d.identities[users[n/len(names)]], names[n%len(names)]
		group.Go(func() error {
			review, err := d.admin.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
				Spec: authorizationv1.SubjectAccessReviewSpec{
					User: id.user, Groups: id.all,
					ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "get", Version: "v1", Resource: "namespaces", Namespace: name, Name: name},
				},
			}, metav1.CreateOptions{})
			if err == nil {
				allowed[n] = review.Status.Allowed
			}
			return err
		})
	}
	err := group.Wait()
	d.reviews += len(allowed)
	result := make([][]string, len(users))
	for n := range result {
		result[n] = []string{}
		for i, name := range names {
			if allowed[n*len(names)+i] {
				result[n] = append(result[n], name)
			}
		}
	}
	return result, err
}

func (d *differential) list(ctx context.Context, i int) ([]string, error) {
	list, err := d.views[i].TenancyV1alpha1().TenantNamespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	d.lists++
	names := []string{}
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names, nil
}

// compareGets holds, for a few users and names, that a get of the view finds what
// the list holds and nothing else.
func (d *differential) compareGets(t *testing.T, result access, when string) {
	t.Helper()
	for range 5 {
		i := d.random.IntN(len(d.identities))
		name := namespaceName(d.random.IntN(differentialNamespaces))
		_, err := d.views[i].TenancyV1alpha1().TenantNamespaces().Get(t.Context(), name, metav1.GetOptions{})
		if slices.Contains(result[d.identities[i].user], name) {
			require.NoError(t, err, "%s: get of %s by %s", when, name, d.identities[i].user)
		} else {
			require.True(t, apierrors.IsNotFound(err), "%s: get of %s by %s: %v", when, name, d.identities[i].user, err)
		}
	}
}

func (d *differential) cleanUp(ctx context.Context) {
	rbac := d.admin.RbacV1()
	selector := metav1.ListOptions{LabelSelector: differentialLabel}
	_ = rbac.ClusterRoleBindings().DeleteCollection(ctx, metav1.DeleteOptions{}, selector)
	_ = rbac.ClusterRoles().DeleteCollection(ctx, metav1.DeleteOptions{}, selector)
	for i := range differentialNamespaces {
		_ = d.admin.CoreV1().Namespaces().Delete(ctx, namespaceName(i), metav1.DeleteOptions{})
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
